// Laws of the engine, on the tiny model: what a request gets does not depend on what else happens.
#include <thread>

#include "llm/helpers.h"

namespace cairn::llm {
namespace {

using testing::HasSubstr;

TEST(Engine, AnswersInABatchAreThoseAlone) {
  const auto engine = engine_of();
  std::vector<std::shared_ptr<Collector>> sinks;
  std::vector<Engine::Ticket> tickets;
  for (uint32_t i = 0; i < 12; ++i) {
    sinks.push_back(std::make_shared<Collector>());
    tickets.push_back(or_throw(engine->submit(some_request(i, 5 + 17 * i, 24), sinks.back())));
  }
  for (uint32_t i = 0; i < 12; ++i) EXPECT_EQ(sinks[i]->wait(), alone(some_request(i, 5 + 17 * i, 24))) << i;
  EXPECT_EQ(engine->stats().finished, 12);
}

TEST(Engine, PromptsInChunksAreWholePrompts) {
  Engine::Options small;
  small.scheduler.chunked_prefill_size = 48;
  for (uint32_t i = 0; i < 4; ++i)
    EXPECT_EQ(alone(some_request(i, 200 + i, 16), small), alone(some_request(i, 200 + i, 16))) << i;
}

TEST(Engine, ACachedPrefixChangesNothing) {
  const auto engine = engine_of();
  const Generate first = some_request(3, 100, 20);
  Generate second = first;
  second.prompt.resize(90);
  second.prompt.push_back(17);
  std::vector<int32_t> answers[3];
  Done done[3];
  const Generate* order[] = {&first, &first, &second};
  for (int i = 0; i < 3; ++i) {
    auto sink = std::make_shared<Collector>();
    const auto ticket = or_throw(engine->submit(*order[i], sink));
    answers[i] = sink->wait(), done[i] = sink->ended();
  }
  EXPECT_EQ(done[0].cached_tokens, 0);
  EXPECT_GE(done[1].cached_tokens, 96);
  EXPECT_GE(done[2].cached_tokens, 80);
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_EQ(answers[2], alone(second));
  ASSERT_TRUE(engine->flush_cache());
  auto sink = std::make_shared<Collector>();
  const auto ticket = or_throw(engine->submit(first, sink));
  EXPECT_EQ(sink->ended().cached_tokens, 0);
}

TEST(Engine, RequestsThatWaitForRoomGetTheSameAnswers) {
  Engine::Options tight;
  tight.blocks = 24;  // 384 tokens for eight requests of 150: some are sent back
  const auto engine = engine_of(tight);
  std::vector<std::shared_ptr<Collector>> sinks;
  std::vector<Engine::Ticket> tickets;
  for (uint32_t i = 0; i < 8; ++i) {
    sinks.push_back(std::make_shared<Collector>());
    tickets.push_back(or_throw(engine->submit(some_request(i, 30, 120), sinks.back())));
  }
  for (uint32_t i = 0; i < 8; ++i) EXPECT_EQ(sinks[i]->wait(), alone(some_request(i, 30, 120))) << i;
  EXPECT_GT(engine->stats().retractions, 0);
}

TEST(Engine, ACancelledNeighbourChangesNothingAndGivesItsBlocksBack) {
  const auto engine = engine_of();
  auto sink = std::make_shared<Collector>(), other = std::make_shared<Collector>();
  const auto ticket = or_throw(engine->submit(some_request(1, 40, 60), sink));
  {
    const auto leaving = or_throw(engine->submit(some_request(2, 300, 3000), other));
    other->wait_for_tokens(3);
  }
  EXPECT_EQ(sink->wait(), alone(some_request(1, 40, 60)));
  ASSERT_TRUE(engine->flush_cache());
  for (int i = 0; i < 200 && engine->stats().free_blocks != engine->stats().blocks; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(engine->stats().free_blocks, engine->stats().blocks);
}

TEST(Engine, EndsAtEndTokensStopsOfTheSinkAndTheLimit) {
  Engine::Options o;
  o.ends = {4091};
  const auto engine = engine_of(o);
  Generate hello;
  hello.prompt = {4090, 293, 198, 1692, 4091, 198, 4090, 294, 198};  // "Hello" in the model's chat format
  hello.sampling.temperature = 0;
  auto ended = std::make_shared<Collector>(), stopped = std::make_shared<Collector>(2),
       limited = std::make_shared<Collector>();
  auto t1 = or_throw(engine->submit(hello, ended));
  auto t2 = or_throw(engine->submit(hello, stopped));
  hello.sampling.max_new_tokens = 3;
  auto t3 = or_throw(engine->submit(hello, limited));
  EXPECT_EQ(ended->wait(), (std::vector<int32_t>{1692, 0, 1627, 955, 352, 496, 368, 1734, 30, 4091}));
  EXPECT_EQ(ended->ended().matched, 4091);
  EXPECT_EQ(stopped->wait().size(), 2u);
  EXPECT_EQ(stopped->ended().reason, Done::Reason::kStop);
  EXPECT_EQ(limited->wait().size(), 3u);
  EXPECT_EQ(limited->ended().reason, Done::Reason::kLength);
}

TEST(Engine, RefusesWhatItCannotServe) {
  const auto engine = engine_of();
  const auto refuse = [&](const Generate& g, const char* why) {
    const auto r = engine->submit(g, std::make_shared<Collector>());
    ASSERT_FALSE(r);
    EXPECT_THAT(r.error().what, HasSubstr(why));
  };
  refuse({}, "empty");
  Generate g;
  g.prompt = {5000};
  refuse(g, "vocabulary");
  g.prompt.assign(5000, 1);
  refuse(g, "shorten");
  g.prompt = {1};
  g.sampling.top_p = 0;
  refuse(g, "top_p");
}

TEST(Engine, ManyRequestsThatComeAndGoLeaveNothingBehind) {
  Engine::Options o;
  o.blocks = 64;
  const auto engine = engine_of(o);
  std::mt19937 random(5);
  std::vector<Engine::Ticket> held;
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 150; ++i) {
    auto sink = std::make_shared<Collector>();
    auto ticket =
        or_throw(engine->submit(some_request(static_cast<uint32_t>(random()), static_cast<int64_t>(1 + random() % 200),
                                             static_cast<int64_t>(1 + random() % 20)),
                                sink));
    if (random() % 3) {
      held.push_back(std::move(ticket));
      sinks.push_back(sink);
    }
  }
  for (const auto& sink : sinks) EXPECT_FALSE(sink->error());
  held.clear();
  Result<void> flushed = engine->flush_cache();
  for (int i = 0; i < 400 && !flushed; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    flushed = engine->flush_cache();
  }
  ASSERT_TRUE(flushed);
  for (int i = 0; i < 200 && engine->stats().free_blocks != engine->stats().blocks; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(engine->stats().free_blocks, engine->stats().blocks);
}

TEST(Engine, StoppingFailsWhatIsUnderWay) {
  auto engine = engine_of();
  auto sink = std::make_shared<Collector>();
  const auto ticket = or_throw(engine->submit(some_request(2, 50, 3000), sink));
  sink->wait_for_tokens(1);
  engine.reset();
  ASSERT_TRUE(sink->error());
  EXPECT_EQ(sink->error()->code, Code::kUnavailable);
}

}  // namespace
}  // namespace cairn::llm
