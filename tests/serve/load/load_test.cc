// Load tests against a server in this process, and against one that misbehaves.
#include "serve/load/load.h"

#include <gmock/gmock.h>

#include <mutex>

#include "serve/api/echo_app.h"
#include "serve/client.h"
#include "serve/load/report.h"

namespace cairn::serve {
namespace {

using testing::HasSubstr;

const std::atomic<bool> kGoOn{false};

std::unique_ptr<Server> echo() {
  ServerOptions options;
  options.port = 0;
  return value(Server::start(options, EchoApp().router()));
}
LoadOptions to(const Server& server, Backend backend) {
  LoadOptions o;
  o.server = Url{"127.0.0.1", server.port(), ""};
  o.backend = backend;
  o.request.model = "echo";
  return o;
}
std::vector<LoadPrompt> prompts(size_t count, bool ids) {
  std::vector<LoadPrompt> out(count);
  for (auto& p : out) {
    if (ids) p.ids = {300, 301, 302, 303};
    if (!ids) p.text = "one two three four";
    p.prompt_len = 4;
    p.output_len = 3;
  }
  return out;
}

class EveryBackend : public testing::TestWithParam<Backend> {};

TEST_P(EveryBackend, CountsTokensAndTimesOfStreams) {
  const auto server = echo();
  size_t told = 0;
  const auto run = value(run_load(to(*server, GetParam()), prompts(20, GetParam() == Backend::kSglang), kGoOn,
                                  [&](const LoadProgress& p) { EXPECT_EQ(p.done, ++told); }));
  EXPECT_EQ(told, 20u);
  for (const auto& o : run.outcomes) {
    EXPECT_TRUE(o.ok) << o.error;
    EXPECT_EQ(o.output_tokens, 3);
    EXPECT_EQ(o.prompt_tokens, 4);
    ASSERT_TRUE(o.ttft);
    EXPECT_EQ(o.itl.size(), 2u);
    EXPECT_LE(*o.ttft, o.latency);
    EXPECT_LE(o.start + o.latency, run.seconds);
    EXPECT_THAT(o.text, GetParam() == Backend::kSglang ? " 300 301 302" : "one two three");
  }
}

TEST_P(EveryBackend, ReadsWholeAnswers) {
  const auto server = echo();
  auto options = to(*server, GetParam());
  options.request.stream = false;
  const auto run = value(run_load(options, prompts(3, GetParam() == Backend::kSglang), kGoOn));
  for (const auto& o : run.outcomes) {
    EXPECT_TRUE(o.ok) << o.error;
    EXPECT_FALSE(o.ttft);
    EXPECT_EQ(o.output_tokens, 3);
  }
}

INSTANTIATE_TEST_SUITE_P(Load, EveryBackend, testing::Values(Backend::kSglang, Backend::kCompletions, Backend::kChat),
                         [](const auto& b) {
                           return b.param == Backend::kSglang ? "Sglang"
                                  : b.param == Backend::kChat ? "Chat"
                                                              : "Completions";
                         });

TEST(Load, CountsFailuresWithTheServersReason) {
  const auto server = echo();
  auto options = to(*server, Backend::kCompletions);
  options.request.model = "other";
  const auto run = value(run_load(options, prompts(5, false), kGoOn));
  for (const auto& o : run.outcomes) {
    EXPECT_FALSE(o.ok);
    EXPECT_THAT(o.error, HasSubstr("HTTP 404: there is no model \"other\""));
  }
  EXPECT_EQ(LoadMetrics(run).failed, 5u);
}

// A server whose streams stay open until `most` of them are, so that what runs at once can be counted.
struct Gate {
  std::mutex mutex;
  std::vector<Stream> open;
  size_t most = 0, peak = 0;

  Router router() {
    Router r;
    r.add({"POST", "/generate", "waits", [this](HttpRequest, std::shared_ptr<Reply> reply) {
             const std::lock_guard lock(mutex);
             open.push_back(reply->events());
             peak = std::max(peak, open.size());
             if (open.size() < most) return;
             for (auto& stream : open)
               stream.end(sse(R"({"text":"a","meta_info":{"completion_tokens":1,"finish_reason":{"type":"stop"}}})") +
                          std::string(kSseDone));
             open.clear();
           }});
    return r;
  }
};

TEST(Load, KeepsToTheMostRequestsAtATime) {
  Gate gate;
  gate.most = 4;
  ServerOptions options;
  options.port = 0;
  const auto server = value(Server::start(options, gate.router()));
  auto o = to(*server, Backend::kSglang);
  o.max_concurrency = 4;
  // More than four at a time would be seen as a higher peak; fewer would never open the gate.
  o.client.silence_timeout = 10s;
  const auto run = value(run_load(o, prompts(16, true), kGoOn));
  for (const auto& outcome : run.outcomes) EXPECT_TRUE(outcome.ok) << outcome.error;
  EXPECT_EQ(gate.peak, 4u);
}

TEST(Load, SpreadsArrivalsOverTimeAtARate) {
  const auto server = echo();
  auto o = to(*server, Backend::kSglang);
  o.request_rate = 200;
  const auto run = value(run_load(o, prompts(40, true), kGoOn)), again = value(run_load(o, prompts(40, true), kGoOn));
  double last = 0;
  for (const auto& outcome : run.outcomes) {
    EXPECT_GE(outcome.start, last);
    last = outcome.start;
  }
  EXPECT_GT(last, 0.08);  // 39 gaps of 5 ms are 0.195 s on average
  EXPECT_EQ(run.outcomes[0].start < 0.05, true);
}

TEST(Load, StopsWhenItIsTold) {
  Gate gate;
  gate.most = 1000;
  ServerOptions options;
  options.port = 0;
  const auto server = value(Server::start(options, gate.router()));
  std::atomic<bool> stop{false};
  std::thread later([&] {
    std::this_thread::sleep_for(100ms);
    stop = true;
  });
  const auto run = run_load(to(*server, Backend::kSglang), prompts(3, true), stop);
  later.join();
  ASSERT_FALSE(run);
  EXPECT_EQ(run.error().code, Code::kCancelled);
}

// The last answer and a look at the clock that come due at once, while the one before is being told of.
TEST(Load, EndsWithItsLastAnswerWhateverElseIsDue) {
  std::mutex mutex;
  std::vector<std::shared_ptr<Reply>> held;
  std::thread later;
  Router router;
  router.add({"POST", "/generate", "waits", [&](HttpRequest, std::shared_ptr<Reply> reply) {
                const std::lock_guard lock(mutex);
                held.push_back(std::move(reply));
                if (held.size() < 2) return;
                const std::string body =
                    R"({"text":"a","meta_info":{"completion_tokens":1,"finish_reason":{"type":"stop"}}})";
                held[0]->json(200, body);
                later = std::thread([last = held[1], body] {
                  std::this_thread::sleep_for(50ms);
                  last->json(200, body);
                });
              }});
  ServerOptions options;
  options.port = 0;
  const auto server = value(Server::start(options, std::move(router)));
  auto o = to(*server, Backend::kSglang);
  o.request.stream = false;
  std::atomic<bool> stop{false}, ended{false};
  std::thread impatient([&] {
    for (int i = 0; i < 500 && !ended; ++i) std::this_thread::sleep_for(10ms);
    stop = true;
  });
  const auto run = run_load(o, prompts(2, true), stop, [](const LoadProgress& p) {
    if (p.done == 1) std::this_thread::sleep_for(200ms);
  });
  ended = true;
  impatient.join();
  later.join();
  for (const auto& outcome : value(run).outcomes) EXPECT_TRUE(outcome.ok) << outcome.error;
}

TEST(Load, GivesUpOnAServerThatFallsSilent) {
  Gate gate;
  gate.most = 1000;
  ServerOptions options;
  options.port = 0;
  const auto server = value(Server::start(options, gate.router()));
  auto o = to(*server, Backend::kSglang);
  o.client.silence_timeout = 100ms;
  const auto run = value(run_load(o, prompts(2, true), kGoOn));
  for (const auto& outcome : run.outcomes) EXPECT_THAT(outcome.error, HasSubstr("fell silent"));
}

TEST(Load, SaysThatThereIsNoServer) {
  uint16_t port = 0;
  {
    const auto server = echo();
    port = server->port();
  }
  LoadOptions o;
  o.server = Url{"127.0.0.1", port, ""};
  EXPECT_THAT(value(run_load(o, prompts(1, true), kGoOn)).outcomes[0].error, HasSubstr("cannot connect"));
  EXPECT_THAT(fetch_json(o, "/v1/models").error().what, HasSubstr("cannot connect"));
}

TEST(Load, FetchesJson) {
  const auto server = echo();
  const auto models = value(fetch_json(to(*server, Backend::kSglang), "/v1/models"));
  EXPECT_EQ(models.find("data")->as_array()->front().text("id"), "echo");
  EXPECT_THAT(fetch_json(to(*server, Backend::kSglang), "/nowhere").error().what, HasSubstr("/nowhere: HTTP 404"));
}

}  // namespace
}  // namespace cairn::serve
