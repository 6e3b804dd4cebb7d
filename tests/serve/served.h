// A server with cairn-tiny-lm, for the tests of this folder.
#pragma once
#include <optional>

#include "device/under_test.h"
#include "models/language.h"
#include "serve/app.h"
#include "serve/client.h"

namespace cairn::serve {

inline const std::string kTinyLm = CAIRN_SOURCE_DIR "/weights/cairn-tiny-lm";

class Served {
 public:
  explicit Served(Dtype dtype = kF32, llm::SchedulerConfig scheduler = {}, LanguageModelOptions options = {}) {
    options.name = "tiny";
    options.folder = kTinyLm;
    llm::Engine::Options engine;
    engine.scheduler = scheduler;
    engine.blocks = 65536 / llm::default_block_size(device_under_test());
    auto model = value(models::load_language_model(kTinyLm, dtype, device_under_test()));
    auto started = value(LanguageModel::start(std::move(model), options, engine, app.metrics()));
    language = started.get();
    app.add(std::move(started));
    ServerOptions http;
    http.port = 0;
    server.emplace(value(Server::start(http, app.router())));
  }

  Client client() const { return Client((*server)->port()); }
  Json post(const std::string& path, const Json& body, int status = 200) const {
    Client c = client();
    const Answer a = c.post(path, body.dump());
    EXPECT_EQ(a.status, status) << a.body;
    return value(Json::parse(a.body.empty() ? "null" : a.body));
  }
  // The events of a stream, the last one's [DONE] checked and left out.
  std::vector<Json> stream(const std::string& path, const Json& body) const {
    Client c = client();
    return events(c.post(path, body.dump()));
  }
  static std::vector<Json> events(const Answer& a) {
    EXPECT_EQ(a.status, 200) << a.body;
    EXPECT_TRUE(a.whole);
    std::vector<Json> out;
    bool done = false;
    for (const std::string_view line : split(a.body, '\n')) {
      if (line.empty()) continue;
      EXPECT_FALSE(done) << line;
      EXPECT_TRUE(line.starts_with("data: ")) << line;
      if (line == "data: [DONE]")
        done = true;
      else
        out.push_back(value(Json::parse(line.substr(6))));
    }
    EXPECT_TRUE(done);
    return out;
  }
  llm::EngineStats stats() const { return language->engine().stats(); }
  // Nothing runs, and all blocks are free or hold cached prefixes.
  bool idle() const {
    const auto s = stats();
    return s.running == 0 && s.waiting == 0 && s.free_blocks + s.cached_blocks == s.blocks;
  }

  App app{App::Options{}};
  LanguageModel* language = nullptr;
  std::optional<std::unique_ptr<Server>> server;
};

inline const Json& step(const Json& j, const char* key) {
  const Json* found = j.find(key);
  if (!found) throw std::runtime_error(std::string("no ") + key + " in " + j.dump());
  return *found;
}
inline const Json& step(const Json& j, int index) {
  if (!j.as_array() || static_cast<size_t>(index) >= j.as_array()->size())
    throw std::runtime_error("no element " + std::to_string(index) + " in " + j.dump());
  return (*j.as_array())[static_cast<size_t>(index)];
}
// A member of a member: at(answer, "choices", 0, "text").
template <class... Path>
const Json& at(const Json& j, Path... path) {
  const Json* at = &j;
  ((at = &step(*at, path)), ...);
  return *at;
}
template <class... Path>
std::string text_at(const Json& j, Path... path) {
  const Json& found = at(j, path...);
  return found.as_string() ? *found.as_string() : found.dump();
}

}  // namespace cairn::serve
