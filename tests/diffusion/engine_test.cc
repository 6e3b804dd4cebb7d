// Laws of the engine, on the trained model: what a request gets does not depend on what else happens.
#include "diffusion/engine.h"

#include <gmock/gmock.h>

#include <limits>
#include <map>
#include <random>

#include "diffusion/engine_helpers.h"

namespace cairn::diffusion {
namespace {

using testing::HasSubstr;

class PictureEngine : public ::testing::TestWithParam<Dtype> {
 protected:
  void SetUp() override {
    if (!device_under_test().is_cpu() && GetParam() != kF32)
      GTEST_SKIP() << "a device's products round by their sizes, and caches decide by what is near";
  }
  const Pipeline& pipe_ = emoji(GetParam());

  std::unique_ptr<Engine> engine(Engine::Options o = {}) const { return or_throw(Engine::start(pipe_, o)); }

  // What the engine made is what the request gives alone; on a processor to the bit.
  void expect_alone(const Request& r, const Pictures& got, const std::string& name) const {
    const Alone want = alone(pipe_, r);
    EXPECT_EQ(want.trace, trace_of(got.cache)) << name;
    ASSERT_EQ(want.pictures.size(), got.pictures.size()) << name;
    if (!got.latents.is_cpu()) {
      const double off = (want.latents - got.latents).norm().item<double>();
      EXPECT_LT(off, 1e-4 * want.latents.norm().item<double>()) << name;
      return;
    }
    EXPECT_TRUE(want.latents.equal(got.latents)) << name;
    for (size_t i = 0; i < want.pictures.size(); ++i) EXPECT_EQ(want.pictures[i].rgb, got.pictures[i].rgb) << name;
  }
};
INSTANTIATE_TEST_SUITE_P(Dtypes, PictureEngine, ::testing::Values(kF32, kBF16),
                         [](const auto& i) { return dtype_name(i.param); });

TEST_P(PictureEngine, RequestsTogetherGetWhatTheyGetAlone) {
  const auto e = engine({.max_running_pictures = 16});
  Submitted all(*e);
  for (uint64_t i = 0; i < kKinds; ++i) all.add(request_of_kind(i, 8 + static_cast<int64_t>(i % 3)));
  for (size_t i = 0; i < all.size(); ++i)
    expect_alone(all.requests[i], all.sinks[i]->wait(), fmt::format("kind {}", i));
  const EngineStats s = e->stats();
  EXPECT_EQ(s.finished, static_cast<int64_t>(kKinds));
  EXPECT_GT(s.skipped_steps, 0);
  EXPECT_LT(2 * s.batches, s.steps) << "they should have shared their steps";
}

TEST_P(PictureEngine, ARequestJoinsAtTheNextStepOfOthers) {
  const auto e = engine();
  Submitted all(*e);
  const auto first = all.add(request_of_kind(1, 14));
  for (uint64_t i = 2; i < 5; ++i) {
    first->wait_for_steps(static_cast<int64_t>(2 * i));
    all.add(request_of_kind(i, 5));
  }
  for (size_t i = 0; i < all.size(); ++i)
    expect_alone(all.requests[i], all.sinks[i]->wait(), fmt::format("request {}", i));
}

TEST_P(PictureEngine, ACancelledNeighbourChangesNothingAndIsForgotten) {
  const auto e = engine();
  Submitted all(*e);
  all.add(request_of_kind(1, 12));
  auto neighbour = std::make_shared<Collector>();
  auto ticket = or_throw(e->submit(request_of_kind(2, 500), neighbour));
  all.add(request_of_kind(4, 12));
  neighbour->wait_for_steps(3);
  ticket = {};
  for (size_t i = 0; i < all.size(); ++i)
    expect_alone(all.requests[i], all.sinks[i]->wait(), fmt::format("request {}", i));
  const std::weak_ptr<Collector> gone = neighbour;
  EXPECT_FALSE(neighbour->ended());
  neighbour.reset();
  all.sinks.clear();
  eventually([&] { return e->stats().running == 0; });
  EXPECT_TRUE(gone.expired());
  EXPECT_EQ(e->stats().cancelled, 1);
  EXPECT_EQ(e->stats().running_pictures, 0);
}

TEST_P(PictureEngine, TenRandomSchedulesGiveWhatRequestsGiveAlone) {
  std::mt19937 random(7);
  const auto below = [&](uint32_t n) { return static_cast<uint64_t>(random() % n); };
  for (int round = 0; round < 10; ++round) {
    const auto e = engine({.max_running_pictures = static_cast<int64_t>(2 + below(5))});
    Submitted all(*e);
    std::vector<bool> dropped;
    for (int i = 0; i < 5; ++i) {
      Request r = request_of_kind(below(kKinds), static_cast<int64_t>(4 + below(4)));
      if (below(4) == 0) r.height = 96;
      const auto sink = all.add(r);
      dropped.push_back(below(5) == 0);
      if (below(2)) sink->wait_for_steps(static_cast<int64_t>(below(4)));
      if (dropped.back()) all.tickets.back() = {};
    }
    for (size_t i = 0; i < all.size(); ++i)
      if (!dropped[i])
        expect_alone(all.requests[i], all.sinks[i]->wait(), fmt::format("round {}, request {}", round, i));
  }
}

TEST(PictureEngineAlone, ShapesTakeTurnsAStepEach) {
  const auto e = or_throw(Engine::start(emoji(kBF16), {}));
  Order order;
  Request wide = request_of_kind(0, 6), tall = request_of_kind(0, 6), same = request_of_kind(1, 6);
  wide.width = 192, tall.height = 192, same.width = 192;
  Hold hold;  // the engine thread, in the first step of the first request
  const auto first = std::make_shared<Collector>(&order, 'a', &hold), second = std::make_shared<Collector>(&order, 'b'),
             third = std::make_shared<Collector>(&order, 'a');
  const auto one = or_throw(e->submit(wide, first));
  hold.reached();
  const auto two = or_throw(e->submit(tall, second)), three = or_throw(e->submit(same, third));
  hold.release();
  for (const auto& s : {first, second, third}) s->wait();
  // "a" once alone, then the two that share a shape step together and b in between.
  EXPECT_EQ(order.letters, "abaabaabaabaabaaba");
}

// A model that fails for chosen requests, by their guidance scale.
class Faulty final : public Denoiser {
 public:
  static constexpr double kNaN = 13, kNoText = 14, kThrow = 15;

  explicit Faulty(std::shared_ptr<const Denoiser> d) : d_(std::move(d)) {}
  Prepared prepare(const Conditioning& c, const Tensor& t, double guidance, LatentSize size) const override {
    if (guidance == kNoText) throw Failure(Error{Code::kCorrupt, "no text today"});
    throws_ = throws_ || guidance == kThrow;
    Prepared p = d_->prepare(c, t, guidance, size);
    if (guidance == kNaN) p.vectors = p.vectors * std::numeric_limits<double>::quiet_NaN();
    return p;
  }
  Tensor forward(const Batch& b) const override {
    if (std::exchange(throws_, false)) throw Bug("a broken assumption");
    return d_->forward(b);
  }
  Modulation modulate(const Tensor& v) const override { return d_->modulate(v); }
  Tensor pack(const Tensor& x) const override { return d_->pack(x); }
  Tensor unpack(const Tensor& x, LatentSize s) const override { return d_->unpack(x, s); }
  Dtype dtype() const override { return d_->dtype(); }
  c10::Device device() const override { return d_->device(); }
  int64_t latent_channels() const override { return d_->latent_channels(); }
  int64_t patch() const override { return d_->patch(); }
  int64_t text_width() const override { return d_->text_width(); }
  int64_t pooled_width() const override { return d_->pooled_width(); }
  bool guidance_embeds() const override { return d_->guidance_embeds(); }
  std::vector<StackShape> stacks() const override { return d_->stacks(); }
  double flops(int64_t n, int64_t t, LatentSize s, int64_t last) const override { return d_->flops(n, t, s, last); }

 private:
  std::shared_ptr<const Denoiser> d_;
  mutable bool throws_ = false;  // at the next forward; the engine's thread alone
};

TEST_P(PictureEngine, AFailingNeighbourHurtsNobody) {
  Components parts = pipe_.parts();
  parts.denoiser = std::make_shared<Faulty>(parts.denoiser);
  const auto e = or_throw(Engine::start(Pipeline(parts), {}));
  Submitted all(*e);
  all.add(request_of_kind(1, 10));
  Request bad = request_of_kind(2, 10);
  bad.guidance_scale = Faulty::kNaN;
  const auto nan = all.add(bad);
  bad.guidance_scale = Faulty::kNoText;
  const auto mute = all.add(bad);
  all.add(request_of_kind(4, 10));
  EXPECT_THAT(nan->error().what, HasSubstr("not finite"));
  EXPECT_EQ(mute->error().what, "no text today");
  EXPECT_EQ(mute->error().code, Code::kCorrupt);
  expect_alone(all.requests[0], all.sinks[0]->wait(), "first");
  expect_alone(all.requests[3], all.sinks[3]->wait(), "last");
  EXPECT_EQ(e->stats().failed, 2);
}

TEST(PictureEngineAlone, WhatAStepThrowsFailsItsRequestsAndTheEngineGoesOn) {
  Components parts = emoji(kBF16).parts();
  parts.denoiser = std::make_shared<Faulty>(parts.denoiser);
  const auto e = or_throw(Engine::start(Pipeline(parts), {}));
  Submitted all(*e);
  Request bad = request_of_kind(2, 10);
  bad.guidance_scale = Faulty::kThrow;
  EXPECT_THAT(all.add(bad)->error().what, HasSubstr("please report it: a broken assumption"));
  EXPECT_EQ(all.add(request_of_kind(3, 4))->wait().pictures.size(), 1u);
}

TEST(PictureEngineAlone, ASinkThatThrowsLosesItsRequestAlone) {
  const auto e = or_throw(Engine::start(emoji(kBF16), {}));
  struct Thrower final : PictureSink {
    void progress(const Progress&) override { throw 1; }
    void done(Pictures) override {}
    void failed(const Error&) override {}
  };
  const auto ticket = or_throw(e->submit(request_of_kind(1, 50), std::make_shared<Thrower>()));
  Submitted all(*e);
  EXPECT_EQ(all.add(request_of_kind(3, 4))->wait().pictures.size(), 1u);
  eventually([&] { return e->stats().cancelled == 1; });
}

TEST(PictureEngineAlone, RefusesAtOnceWhatItCanNeverServe) {
  const auto e = or_throw(Engine::start(emoji(kBF16), {.max_running_pictures = 2}));
  const auto refused = [&](const std::function<void(Request&)>& change) {
    Request r = request_of_kind(0, 4);
    change(r);
    const auto ticket = e->submit(r, std::make_shared<Collector>());
    EXPECT_FALSE(ticket);
    if (ticket) return std::string();
    EXPECT_EQ(ticket.error().code, Code::kInvalidArgument);
    return ticket.error().what;
  };
  EXPECT_THAT(refused([](Request& r) { r.prompts.clear(); }), HasSubstr("no prompt"));
  EXPECT_THAT(refused([](Request& r) { r.height = 100; }), HasSubstr("height"));
  EXPECT_THAT(refused([](Request& r) { r.steps = 0; }), HasSubstr("steps"));
  EXPECT_THAT(refused([](Request& r) { r.sigmas = {2.0}; }), HasSubstr("sigmas"));
  EXPECT_THAT(refused([](Request& r) { r.images_per_prompt = 3; }), HasSubstr("at most 2 pictures"));
  EXPECT_THAT(refused([](Request& r) { r.images_per_prompt = std::numeric_limits<int64_t>::max(); }), HasSubstr("256"));
  EXPECT_THAT(refused([](Request& r) { r.cache.emplace().front = 100; }), HasSubstr("Fn_compute_blocks"));
  EXPECT_FALSE(Engine::start(emoji(kBF16), {.max_running_pictures = 0}));
}

TEST(PictureEngineAlone, AFullQueueRefusesAndAnEndingEngineFailsWhatIsLeft) {
  auto e = or_throw(Engine::start(emoji(kBF16), {.max_running_pictures = 1, .max_queued_requests = 2}));
  Submitted all(*e);
  const auto running = all.add(request_of_kind(0, 5000));
  running->wait_for_steps(1);
  all.add(request_of_kind(0, 4)), all.add(request_of_kind(0, 4));
  const auto third = e->submit(request_of_kind(0, 4), std::make_shared<Collector>());
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, Code::kExhausted);
  EXPECT_EQ(e->stats().waiting, 2);
  all.tickets[1] = {};
  eventually([&] { return e->stats().waiting == 1; });
  all.add(request_of_kind(0, 4));
  e.reset();
  for (const size_t i : {0u, 2u, 3u}) EXPECT_EQ(all.sinks[i]->error().code, Code::kUnavailable) << i;
  EXPECT_FALSE(all.sinks[1]->ended());
}

TEST(PictureEngineAlone, TellsOfStepsAndShowsPreviews) {
  const auto e = or_throw(Engine::start(emoji(kBF16), {}));
  const auto sink = std::make_shared<Collector>();
  const auto ticket = or_throw(e->submit(request_of_kind(1, 9), sink, 3));
  const Pictures got = sink->wait();
  std::string computed;
  for (const Progress& p : sink->progresses()) computed += p.computed ? '1' : '0';
  EXPECT_EQ(computed, trace_of(got.cache));
  EXPECT_THAT(computed, HasSubstr("0"));
  EXPECT_EQ(sink->progresses().back().step, 9);
  EXPECT_EQ(sink->previews(), (std::vector<int64_t>{3, 6}));
  EXPECT_EQ(got.steps, 9);
}

}  // namespace
}  // namespace cairn::diffusion
