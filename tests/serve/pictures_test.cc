// The routes of a picture model, over sockets.
#include <gmock/gmock.h>

#include "base/base64.h"
#include "models/registry.h"
#include "serve/served.h"

namespace cairn::serve {
namespace {

using testing::HasSubstr;

class Gallery : public testing::Test {
 protected:
  Gallery() {
    auto pipeline = value(
        models::load_pipeline(CAIRN_SOURCE_DIR "/weights/cairn-emoji", {.device = device_under_test(), .loras = {}}));
    auto started = value(PictureModel::start(std::move(pipeline), "emoji", {}, app_.metrics()));
    model_ = started.get();
    app_.add(std::move(started));
    ServerOptions http;
    http.port = 0;
    server_.emplace(value(Server::start(http, app_.router())));
  }
  Client client() const { return Client((*server_)->port()); }
  Json made(const std::string& body) const {
    Client c = client();
    const Answer a = c.post("/v1/images/generations", body);
    EXPECT_EQ(a.status, 200) << a.body;
    return value(Json::parse(a.body));
  }
  static std::string file_of(const Json& answer, int index) {
    return value(from_base64(text_at(answer, "data", index, "b64_json")));
  }

  App app_{App::Options{}};
  PictureModel* model_ = nullptr;
  std::optional<std::unique_ptr<Server>> server_;
};

TEST_F(Gallery, APictureIsTheSameAloneAndAmongOthers) {
  if (!device_under_test().is_cpu()) GTEST_SKIP() << "only a processor's kernels treat rows alike to the bit";
  const std::string wanted = R"({"prompt":"rocket","seed":5,"num_inference_steps":10,"cache":"default"})";
  const std::string alone = file_of(made(wanted), 0);
  std::vector<Client> others;
  for (int i = 0; i < 5; ++i) {
    others.push_back(client());
    others.back().send_json("/v1/images/generations",
                            R"({"prompt":"owl","num_inference_steps":)" + std::to_string(6 + i) + R"(,"cache":")" +
                                PictureModel::presets()[static_cast<size_t>(i) % 2] + R"("})");
  }
  EXPECT_EQ(file_of(made(wanted), 0), alone);
  for (auto& c : others) EXPECT_EQ(c.answer().status, 200);
  const auto stats = model_->engine().stats();
  EXPECT_GT(stats.steps, stats.batches) << "some forwards were shared";
}

TEST_F(Gallery, SeveralPicturesHaveSeedsInARow) {
  if (!device_under_test().is_cpu()) GTEST_SKIP() << "only a processor's kernels treat rows alike to the bit";
  const auto two = made(R"({"prompt":"rocket","seed":5,"n":2,"num_inference_steps":4,"cache":"none"})");
  const auto second = made(R"({"prompt":"rocket","seed":6,"num_inference_steps":4,"cache":"none"})");
  EXPECT_EQ(at(two, "data", 1, "seed"), Json(6));
  EXPECT_EQ(file_of(two, 1), file_of(second, 0));
  EXPECT_NE(file_of(two, 0), file_of(two, 1));
}

TEST_F(Gallery, AClientThatLeavesIsCancelled) {
  {
    Client c = client();
    c.send_json("/v1/images/generations", R"({"prompt":"rocket","num_inference_steps":1000,"stream":true})");
    ASSERT_TRUE(c.read_until("image_generation.progress"));
  }
  EXPECT_TRUE(soon([&] { return model_->engine().stats().running == 0; }));
  EXPECT_EQ(model_->engine().stats().cancelled, 1);
}

TEST_F(Gallery, AServerThatEndsCutsWhatIsUnderWay) {
  Client c = client();
  c.send_json("/v1/images/generations", R"({"prompt":"rocket","num_inference_steps":1000,"stream":true})");
  Client brief = client();
  brief.send_json("/v1/images/generations", R"({"prompt":"rocket","num_inference_steps":2})");
  ASSERT_TRUE(c.read_until("image_generation.progress"));
  EXPECT_FALSE((*server_)->drain(1ms));
  EXPECT_TRUE(c.closed());
}

TEST_F(Gallery, BadRequestsAreRefusedByName) {
  struct Case {
    const char *body, *what;
    int status;
  };
  for (const Case& c :
       std::initializer_list<Case>{{R"({"prompt":"x","model":"dall-e-3"})", "emoji", 404},
                                   {R"({"prompt":"x","size":"100x96"})", "multiple of 16", 400},
                                   {R"({"prompt":"x","cache":"fasst"})", "did you mean fast", 400},
                                   {R"({"prompt":"x","cache":{"Fn_compute_block":1}})", "Fn_compute_blocks", 400},
                                   {R"({"prompt":"x","cache":{"Fn_compute_blocks":99}})", "blocks", 400},
                                   {R"({"prompt":"x","num_inference_steps":0})", "num_inference_steps", 400},
                                   {R"({"prompt":"x","sigmas":[0.1,0.9]})", "sigmas", 400}}) {
    Client one = client();
    const Answer a = one.post("/v1/images/generations", c.body);
    EXPECT_EQ(a.status, c.status) << c.body << a.body;
    EXPECT_THAT(a.body, HasSubstr(c.what)) << c.body;
  }
  Client other = client();
  const Answer none = other.post("/v1/completions", R"({"prompt":"x"})");
  EXPECT_EQ(none.status, 404);
  EXPECT_THAT(none.body, HasSubstr("no model here can do that"));
  Client one = client();
  const Answer a = one.post("/v1/images/edits", R"({"prompt":"x","image":"aGVsbG8="})");
  EXPECT_EQ(a.status, 400) << a.body;
  EXPECT_THAT(a.body, HasSubstr("image"));
}

TEST_F(Gallery, TheRouteOfCacheDitsServerAnswers) {
  Client c = client();
  const Answer a = c.post("/generate", R"({"prompt":"rocket","width":128,"height":128,"num_inference_steps":8,
    "num_images":2,"include_stats":true,"cache":"default"})");
  ASSERT_EQ(a.status, 200) << a.body;
  const Json answer = value(Json::parse(a.body));
  EXPECT_EQ(at(answer, "images").as_array()->size(), 2u);
  EXPECT_EQ(at(answer, "stats", "cache_stats").as_array()->size(), 2u);
}

}  // namespace
}  // namespace cairn::serve
