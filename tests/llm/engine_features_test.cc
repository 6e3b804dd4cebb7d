// What a request may ask beside tokens: grammars, log probabilities and vectors of its prompt; and speculation, which
// nobody may notice.
#include <gmock/gmock.h>

#include "llm/engine_helpers.h"
#include "llm/runner.h"
#include "text/grammar/grammar.h"
#include "text/tokenizer.h"

namespace cairn::llm {
namespace {

using testing::HasSubstr;
using text::grammar::Kind;

const text::Tokenizer& tokenizer() {
  static const auto t = or_throw(text::Tokenizer::load(std::string(CAIRN_SOURCE_DIR) + "/weights/cairn-tiny-lm"));
  return t;
}
std::string text_of(const std::vector<int32_t>& tokens) {
  return or_throw(tokenizer().decode(std::vector<int64_t>(tokens.begin(), tokens.end()), true));
}
std::shared_ptr<const text::grammar::CompiledGrammar> grammar(Kind kind, const std::string& text) {
  static const auto tokens = or_throw(text::grammar::TokenSet::of(tokenizer()));
  return or_throw(text::grammar::CompiledGrammar::compile({kind, text}, tokens));
}
Generate with_grammar(uint32_t seed, Kind kind, const std::string& text) {
  Generate g = some_request(seed, 12, 120);
  g.sampling.temperature = 1;
  g.sampling.ignore_eos = false;
  g.grammar = grammar(kind, text);
  return g;
}
Engine::Options ended() {
  Engine::Options o;
  o.ends = {4091, 4089};
  return o;
}

constexpr const char* kSchema =
    R"({"type":"object","properties":{"name":{"type":"string","maxLength":12},"age":{"type":"integer","minimum":0,
    "maximum":150}},"required":["name","age"],"additionalProperties":false})";

TEST(Constrained, AnswersFitTheirGrammarWhateverTheSeed) {
  const auto engine = engine_of(ended());
  std::vector<std::shared_ptr<Collector>> objects, codes;
  std::vector<Engine::Ticket> tickets;
  for (uint32_t i = 0; i < 24; ++i) {
    objects.push_back(std::make_shared<Collector>());
    codes.push_back(std::make_shared<Collector>());
    tickets.push_back(or_throw(engine->submit(with_grammar(i, Kind::kJsonSchema, kSchema), objects.back())));
    tickets.push_back(or_throw(engine->submit(with_grammar(i, Kind::kRegex, "[A-F]{3}-[0-9]{2}"), codes.back())));
  }
  for (uint32_t i = 0; i < 24; ++i) {
    const std::string object = text_of(objects[i]->wait()), code = text_of(codes[i]->wait());
    const auto json = Json::parse(object);
    ASSERT_TRUE(json) << object;
    EXPECT_TRUE(json->find("name")->as_string());
    EXPECT_LE(json->find("age")->number(), 150);
    EXPECT_EQ(code.size(), 6u) << code;
    EXPECT_EQ(code[3], '-');
    EXPECT_EQ(codes[i]->ended().reason, Done::Reason::kStop);
  }
}

TEST(Constrained, NeighboursDoNotNotice) {
  const auto engine = engine_of(ended());
  auto free = std::make_shared<Collector>(), bound = std::make_shared<Collector>();
  const auto t1 = or_throw(engine->submit(with_grammar(5, Kind::kJsonSchema, kSchema), bound));
  const auto t2 = or_throw(engine->submit(some_request(6, 40, 40), free));
  EXPECT_EQ(free->wait(), alone(some_request(6, 40, 40), ended()));
  EXPECT_EQ(bound->wait(), alone(with_grammar(5, Kind::kJsonSchema, kSchema), ended()));
}

TEST(Constrained, BeingSentBackLosesNothing) {
  Engine::Options tight = ended();
  tight.blocks = 14;
  tight.scheduler.schedule_conservativeness = 0.05;
  const auto engine = engine_of(tight);
  std::vector<std::shared_ptr<Collector>> sinks;
  std::vector<Engine::Ticket> tickets;
  const auto request = [](uint32_t i) { return with_grammar(i, Kind::kRegex, "([a-z]{3} ){24}"); };
  for (uint32_t i = 0; i < 6; ++i) {
    sinks.push_back(std::make_shared<Collector>());
    tickets.push_back(or_throw(engine->submit(request(i), sinks.back())));
  }
  for (uint32_t i = 0; i < 6; ++i) EXPECT_EQ(sinks[i]->wait(), alone(request(i), ended())) << i;
  EXPECT_GT(engine->stats().retractions, 0);
}

// Logits behind all tokens of a prompt, in one forward.
Tensor plain(const std::vector<int32_t>& prompt, Tensor* hidden = nullptr) {
  const KvCache cache(tiny()->kv_shape(), 64, 16, kBF16);
  const auto n = static_cast<int64_t>(prompt.size());
  Batch b{.tokens = empty({n}, Dtype::Long), .positions = empty({n}, Dtype::Long), .slots = empty({n}, Dtype::Long)};
  std::vector<int32_t> blocks(64);
  for (int32_t i = 0; i < 64; ++i) blocks[static_cast<size_t>(i)] = i;
  for (int64_t i = 0; i < n; ++i) {
    static_cast<int64_t*>(b.tokens.mutable_data_ptr())[i] = prompt[static_cast<size_t>(i)];
    static_cast<int64_t*>(b.positions.mutable_data_ptr())[i] = i;
    static_cast<int64_t*>(b.slots.mutable_data_ptr())[i] = i;
  }
  b.sequences.push_back({.row = 0, .rows = n, .keys = n, .blocks = blocks.data()});
  const Inference no_gradients;
  const Tensor h = tiny()->forward(b, cache);
  if (hidden) *hidden = h.to(kF32);
  return tiny()->logits(h);
}

TEST(PromptScores, AreThoseOfAPlainForwardInChunksAndBehindACache) {
  Engine::Options o;
  o.scheduler.chunked_prefill_size = 48;
  const auto engine = engine_of(o);
  Generate g = some_request(2, 150, 3);
  const Tensor logits = plain(g.prompt).log_softmax(-1);
  g.top_logprobs = 2;
  for (const int64_t start : {0, 0, 70, 149}) {
    g.logprob_start = start;
    auto sink = std::make_shared<Collector>();
    const auto ticket = or_throw(engine->submit(g, sink));
    EXPECT_EQ(sink->wait().size(), 3u);
    const int64_t first = std::max<int64_t>(start, 1);
    ASSERT_EQ(static_cast<int64_t>(sink->scores.size()), 150 - first);
    for (int64_t p = first; p < 150; ++p) {
      const Choice& c = sink->scores[static_cast<size_t>(p - first)];
      EXPECT_EQ(c.token, g.prompt[static_cast<size_t>(p)]);
      EXPECT_NEAR(c.logprob, logits[p - 1][c.token].item<float>(), 1e-4);
      ASSERT_EQ(c.top.size(), 2u);
      EXPECT_EQ(c.top[0].first, logits[p - 1].argmax().item<int64_t>());
    }
  }
  g.sampling.max_new_tokens = 0;  // only the scores
  g.logprob_start = 0;
  auto sink = std::make_shared<Collector>();
  const auto ticket = or_throw(engine->submit(g, sink));
  EXPECT_TRUE(sink->wait().empty());
  EXPECT_EQ(sink->scores.size(), 149u);
  g.logprob_start = 150;
  EXPECT_THAT(engine->submit(g, sink).error().what, HasSubstr("150"));
}

TEST(Embeddings, AreThoseOfAPlainForward) {
  Engine::Options o;
  o.scheduler.chunked_prefill_size = 32;
  const auto engine = engine_of(o);
  for (int round = 0; round < 2; ++round)  // the second time from the cache
    for (uint32_t seed : {1u, 2u, 3u})
      for (const auto how : {Generate::Embed::kLast, Generate::Embed::kMean}) {
        Generate g = some_request(seed, 90 + seed, 0);
        g.embed = how;
        Tensor hidden;
        plain(g.prompt, &hidden);
        const Tensor wanted = how == Generate::Embed::kLast ? hidden[hidden.size(0) - 1] : hidden.mean(0);
        auto sink = std::make_shared<Collector>();
        const auto ticket = or_throw(engine->submit(g, sink));
        EXPECT_TRUE(sink->wait().empty());
        ASSERT_EQ(static_cast<int64_t>(sink->vector.size()), wanted.numel());
        for (int64_t i = 0; i < wanted.numel(); ++i)
          EXPECT_NEAR(sink->vector[static_cast<size_t>(i)], wanted[i].item<float>(), 1e-4);
      }
}

TEST(Speculation, ChangesNoAnswer) {
  Engine::Options o = ended();
  o.speculation.algorithm = "NGRAM";
  o.speculation.min_match = 1;
  const auto request = [](uint32_t i) {
    Generate g = i % 4 == 3 ? with_grammar(i, Kind::kRegex, "(ab|cd){20}") : some_request(i, 20, 60);
    // Repetitions in the prompt, and answers that repeat themselves.
    for (int k = 0; k < 30; ++k) g.prompt.push_back(g.prompt[static_cast<size_t>(k % 7)]);
    return g;
  };
  const auto engine = engine_of(o);
  std::vector<std::shared_ptr<Collector>> sinks;
  std::vector<Engine::Ticket> tickets;
  for (uint32_t i = 0; i < 16; ++i) {
    sinks.push_back(std::make_shared<Collector>());
    tickets.push_back(or_throw(engine->submit(request(i), sinks.back())));
  }
  for (uint32_t i = 0; i < 16; ++i) EXPECT_EQ(sinks[i]->wait(), alone(request(i), ended())) << i;
  EXPECT_GT(engine->stats().drafted, 0);
  EXPECT_GT(engine->stats().accepted, 0);
  Engine::Options tight = o;
  tight.blocks = 24;
  const auto small = engine_of(tight);
  for (uint32_t i = 0; i < 8; ++i) {
    sinks[i] = std::make_shared<Collector>();
    tickets.push_back(or_throw(small->submit(request(i), sinks[i])));
  }
  for (uint32_t i = 0; i < 8; ++i) EXPECT_EQ(sinks[i]->wait(), alone(request(i), ended())) << i;
}

TEST(Speculation, TakesFewerStepsWhereTextsRepeat) {
  Engine::Options o;
  o.speculation.algorithm = "NGRAM";
  Generate g;
  for (int i = 0; i < 60; ++i) g.prompt.push_back(100 + i % 5);
  g.sampling.temperature = 0;
  g.sampling.max_new_tokens = 100;
  g.sampling.ignore_eos = true;
  const auto engine = engine_of(o);
  auto sink = std::make_shared<Collector>();
  const auto ticket = or_throw(engine->submit(g, sink));
  EXPECT_EQ(sink->wait(), alone(g));
  EXPECT_LT(engine->stats().steps, 80) << "for 100 tokens";
}

}  // namespace
}  // namespace cairn::llm
