// What becomes of requests, and of /health, when an NPU fails: faults injected into the fake CANN. A fault that stays
// is the whole process's, so ./test npu runs each of these in a process of its own.
#include <dlfcn.h>
#include <gmock/gmock.h>

#include "device/health.h"
#include "models/registry.h"
#include "serve/served.h"

namespace cairn::serve {
namespace {

using testing::HasSubstr;

class Faults : public testing::Test {
 protected:
  void SetUp() override {
    set_ = reinterpret_cast<int (*)(const char*, const char*)>(::dlsym(RTLD_DEFAULT, "fake_cann_set"));
    if (!set_) GTEST_SKIP() << "on the fake CANN";
    served_ = std::make_unique<Served>(kBF16);
    answer(200);
  }
  void fault(const char* key, const char* value) { ASSERT_EQ(set_(key, value), 0) << key; }

  Json answer(int status) const {
    return served_->post(
        "/v1/completions",
        *Json::parse(R"({"model": "tiny", "prompt": "The capital of", "max_tokens": 12, "temperature": 0})"), status);
  }
  Answer health() const {
    Client c = served_->client();
    return c.get("/health");
  }

  int (*set_)(const char*, const char*) = nullptr;
  int failed_ = 0;
  std::unique_ptr<Served> served_;
};

TEST_F(Faults, WithoutMemoryAStepFailsItsRequestsAndTheServerGoesOn) {
  const Json before = answer(200);
  for (const char* when : {"1:2", "4:2", "11:2"}) {
    fault("oom_over", "1");  // what torch_npu has cached is given out all the same
    fault("oom_after", when);
    Client c = served_->client();
    Json body = *Json::parse(R"({"model": "tiny", "max_tokens": 4, "temperature": 0})");
    body.set("prompt", std::string(3000, 'x'));
    const Answer a = c.post("/v1/completions", body.dump());
    if (a.status != 200) {
      EXPECT_EQ(a.status, 503) << a.body;
      EXPECT_THAT(a.body, HasSubstr("out of memory"));
      ++failed_;
    }
    fault("oom_over", "0");
    fault("clear", "");
    EXPECT_EQ(answer(200).find("choices")->dump(), before.find("choices")->dump());
    EXPECT_EQ(health().status, 200);
  }
  EXPECT_GT(failed_, 0);
}

TEST_F(Faults, AnOperatorThatTakesTheDeviceWithItTurnsHealthRed) {
  EXPECT_EQ(health().status, 200);
  fault("throw_op", "Matmul:7");
  Client c = served_->client();
  const Answer a = c.post("/v1/completions", R"({"model": "tiny", "prompt": "The capital of", "max_tokens": 12})");
  EXPECT_GE(a.status, 500) << a.body;
  EXPECT_THAT(a.body, testing::AnyOf(HasSubstr("tensor library"), HasSubstr("does not come back")));
  EXPECT_EQ(health().status, 503);
  EXPECT_THAT(health().body, HasSubstr("does not come back"));
  EXPECT_THAT(answer(503).dump(), HasSubstr("does not come back"));
}

TEST_F(Faults, AStreamThatStandsStillFailsItsRequestsAndTurnsHealthRed) {
  device::set_patience(std::chrono::seconds(1));
  fault("hang_stream", "1");
  EXPECT_THAT(answer(503).dump(), HasSubstr("has not answered for 1 s"));
  EXPECT_EQ(health().status, 503);
  EXPECT_THAT(answer(503).dump(), HasSubstr("has not answered"));
  served_.reset();  // ends, though a step does not
  fault("hang_stream", "0");
  std::this_thread::sleep_for(std::chrono::seconds(1));  // for the thread that was left to it
  EXPECT_FALSE(device::health()) << "it stays, as what the engines refuse does";
}

TEST_F(Faults, AStreamThatStandsStillDoesNotTakeTheEngineWithItWhereStepsDoNotOverlap) {
  served_.reset();
  device::set_patience(std::chrono::seconds(0));
  llm::SchedulerConfig scheduler;
  scheduler.disable_overlap_schedule = true;
  served_ = std::make_unique<Served>(kBF16, scheduler);
  answer(200);
  device::set_patience(std::chrono::seconds(1));
  fault("hang_stream", "1");
  EXPECT_THAT(answer(503).dump(), HasSubstr("has not answered for 1 s"));
  served_.reset();
  fault("hang_stream", "0");
  std::this_thread::sleep_for(std::chrono::seconds(1));
}

TEST(PictureFaults, AStandstillFailsRequestsUnderWayAndLaterOnes) {
  const auto set = reinterpret_cast<int (*)(const char*, const char*)>(::dlsym(RTLD_DEFAULT, "fake_cann_set"));
  if (!set) GTEST_SKIP() << "on the fake CANN";
  auto app = std::make_unique<App>(App::Options{});
  auto pipeline = value(
      models::load_pipeline(CAIRN_SOURCE_DIR "/weights/cairn-emoji", {.device = device_under_test(), .loras = {}}));
  app->add(value(PictureModel::start(std::move(pipeline), "emoji", {}, app->metrics())));
  ServerOptions http;
  http.port = 0;
  auto server = value(Server::start(http, app->router()));
  const auto made = [&] {
    Client c(server->port());
    return c.post("/v1/images/generations", R"({"prompt": "rocket", "num_inference_steps": 2, "n": 1})");
  };
  EXPECT_EQ(made().status, 200);
  device::set_patience(std::chrono::seconds(3));
  ASSERT_EQ(set("hang_stream", "1"), 0);
  const Answer standing = made(), later = made();
  for (const Answer& a : {standing, later}) {
    EXPECT_EQ(a.status, 503) << a.body;
    EXPECT_THAT(a.body, HasSubstr("has not answered for 3 s"));
  }
  server.reset();
  app.reset();
  ASSERT_EQ(set("hang_stream", "0"), 0);
  std::this_thread::sleep_for(std::chrono::seconds(2));  // for the thread that was left to it
}

}  // namespace
}  // namespace cairn::serve
