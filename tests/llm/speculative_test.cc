// Speculation changes how many tokens a step gives, and nothing else.
#include <thread>

#include "llm/helpers.h"

namespace cairn::llm {
namespace {

Engine::Options speculating(int64_t blocks = 512) {
  Engine::Options o;
  o.blocks = blocks;
  o.speculative.algorithm = "NGRAM";
  o.speculative.min_match = 1;  // as many guesses, right and wrong, as there can be
  return o;
}

std::vector<int32_t> guess(const std::vector<int32_t>& text, int64_t min, int64_t max, int64_t most) {
  const auto p =
      proposed(text, {.algorithm = "NGRAM", .num_draft_tokens = 8, .min_match = min, .max_match = max}, most);
  return {p.begin(), p.end()};
}

// Prompts and answers that repeat themselves.
Generate repetitive(uint32_t seed, int64_t tokens) {
  Generate g = some_request(seed, 12, tokens);
  const auto once = g.prompt;
  for (int i = 0; i < 3; ++i) g.prompt.insert(g.prompt.end(), once.begin(), once.end());
  return g;
}

TEST(Ngram, FindsTheLatestOfTheLongestOccurrences) {
  EXPECT_EQ(guess({1, 2, 3, 9, 2, 3, 7, 1, 2, 3}, 1, 12, 2), (std::vector<int32_t>{9, 2}));
  EXPECT_EQ(guess({1, 2, 3, 9, 2, 3, 7, 1, 2, 3}, 1, 2, 2), (std::vector<int32_t>{7, 1}));
  EXPECT_EQ(guess({1, 2, 3, 9, 2, 3, 7, 1, 2, 3}, 4, 12, 2), (std::vector<int32_t>{}));
  EXPECT_EQ(guess({5, 5, 5}, 1, 12, 9), (std::vector<int32_t>{5}));
  EXPECT_EQ(guess({5}, 1, 12, 9), (std::vector<int32_t>{}));
  EXPECT_EQ(guess({5, 5}, 1, 12, 0), (std::vector<int32_t>{}));
}

TEST(Speculation, ChangesNoAnswerInABatchNorUnderRetraction) {
  for (const int64_t blocks : {512, 24}) {
    const auto engine = engine_of(speculating(blocks));
    std::vector<std::shared_ptr<Collector>> sinks;
    std::vector<Engine::Ticket> tickets;
    for (uint32_t i = 0; i < 10; ++i) {
      sinks.push_back(std::make_shared<Collector>());
      Generate g = i < 8 ? repetitive(i, 100) : some_request(i, 30, 120);
      tickets.push_back(or_throw(engine->submit(g, sinks.back())));
    }
    for (uint32_t i = 0; i < 10; ++i)
      EXPECT_EQ(sinks[i]->wait(), alone(i < 8 ? repetitive(i, 100) : some_request(i, 30, 120))) << i;
    EXPECT_GT(engine->stats().accepted, 0);
    EXPECT_LT(engine->stats().accepted, engine->stats().drafted);
    EXPECT_EQ(engine->stats().retractions > 0, blocks == 24);
    ASSERT_TRUE(engine->flush_cache());
    for (int i = 0; i < 200 && engine->stats().free_blocks != blocks; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(engine->stats().free_blocks, blocks);
  }
}

TEST(Speculation, EndsAndGrammarsHoldWithinAStep) {
  std::vector<std::string> bytes(4096);
  for (size_t i = 0; i < 26; ++i) bytes[100 + i] = std::string(1, static_cast<char>('a' + i));
  const auto grammar = or_throw(text::grammar::CompiledGrammar::compile(
      {text::grammar::Kind::kRegex, "(abcab){5}(x|y)(abc){9}"}, text::grammar::TokenSet::of(bytes)));
  Generate g = some_request(1, 10, 200);
  g.grammar = grammar;
  const auto engine = engine_of(speculating());
  auto sink = std::make_shared<Collector>(), stopped = std::make_shared<Collector>(13);
  const auto t1 = or_throw(engine->submit(g, sink));
  const auto want = alone(g);
  EXPECT_EQ(want.size(), 53u);
  EXPECT_EQ(sink->wait(), want);
  EXPECT_EQ(sink->ended().generated, 53);
  const auto t2 = or_throw(engine->submit(g, stopped));
  EXPECT_EQ(stopped->wait(), std::vector<int32_t>(want.begin(), want.begin() + 13));
  EXPECT_EQ(stopped->ended().generated, 13);
  EXPECT_GT(engine->stats().accepted, 10);
  EXPECT_LT(engine->stats().steps, 60);
}

TEST(Speculation, GivesSeveralTokensAStepWhereAnAnswerRepeatsItself) {
  Engine::Options o = speculating();
  o.speculative.min_match = 2;
  const auto engine = engine_of(o);
  Generate g = some_request(2, 20, 256);
  g.sampling.repetition_penalty = 1;
  auto sink = std::make_shared<Collector>();
  const auto ticket = or_throw(engine->submit(g, sink));
  EXPECT_EQ(sink->wait(), alone(g));
  EXPECT_LT(engine->stats().steps, 128);
}

TEST(Speculation, RefusesWindowsThatMakeNoSense) {
  Engine::Options o = speculating();
  o.speculative.min_match = 5, o.speculative.max_match = 4;
  EXPECT_FALSE(Engine::start(tiny(), o));
  o = speculating();
  o.speculative.algorithm = "EAGLE";
  EXPECT_FALSE(Engine::start(tiny(), o));
}

}  // namespace
}  // namespace cairn::llm
