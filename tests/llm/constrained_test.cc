// Answers that a grammar constrains: valid whatever is drawn, and nobody's business but their own.

#include "base/json.h"
#include "llm/helpers.h"
#include "text/json_oracle.h"
#include "text/random_schema.h"
#include "text/tokenizer.h"

namespace cairn::llm {
namespace {

using testing::HasSubstr;
using text::grammar::CompiledGrammar;
using text::grammar::Kind;

const text::Tokenizer& tokenizer() {
  static const text::Tokenizer t =
      or_throw(text::Tokenizer::load(std::string(CAIRN_SOURCE_DIR) + "/weights/cairn-tiny-lm"));
  return t;
}

std::shared_ptr<const CompiledGrammar> grammar_of(Kind kind, const std::string& text) {
  static const auto tokens = or_throw(text::grammar::TokenSet::of(tokenizer()));
  return or_throw(CompiledGrammar::compile({kind, text}, tokens));
}

constexpr const char* kSchema = R"({
  "type": "object",
  "properties": {
    "name": {"type": "string", "maxLength": 12},
    "age": {"type": "integer", "minimum": 0, "maximum": 130},
    "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 3},
    "ok": {"type": "boolean"}
  },
  "required": ["name", "age", "tags", "ok"],
  "additionalProperties": false
})";

Generate asks(uint32_t seed, std::shared_ptr<const CompiledGrammar> grammar, int64_t most = 400) {
  Generate g = some_request(seed, 20, most);
  g.sampling.temperature = 1;
  g.sampling.ignore_eos = false;
  g.sampling.repetition_penalty = 1;
  g.grammar = std::move(grammar);
  return g;
}

std::string text_of(std::vector<int32_t> tokens) {
  if (!tokens.empty() && tokens.back() == 4091) tokens.pop_back();
  return or_throw(tokenizer().decode(std::vector<int64_t>(tokens.begin(), tokens.end())));
}

Engine::Options with_end() {
  Engine::Options o;
  o.ends = {4091};
  return o;
}

TEST(Constrained, JsonOfASchemaIsValidWhateverIsDrawn) {
  const Json schema = or_throw(Json::parse(kSchema));
  const auto grammar = grammar_of(Kind::kJsonSchema, kSchema);
  const auto engine = engine_of(with_end());
  std::vector<std::shared_ptr<Collector>> sinks;
  std::vector<Engine::Ticket> tickets;
  for (uint32_t seed = 0; seed < 60; ++seed) {
    sinks.push_back(std::make_shared<Collector>());
    tickets.push_back(or_throw(engine->submit(asks(seed, grammar), sinks.back())));
  }
  size_t ended = 0;
  for (const auto& sink : sinks) {
    const std::string text = text_of(sink->wait());
    if (sink->ended().reason != Done::Reason::kStop) continue;  // blanks may go on for ever
    const auto value = Json::parse(text);
    ASSERT_TRUE(value) << text;
    EXPECT_TRUE(text::Oracle(schema).valid(*value)) << text;
    ++ended;
  }
  EXPECT_GT(ended, 50u);
}

TEST(Constrained, JsonOfRandomSchemasIsValid) {
  const auto engine = engine_of(with_end());
  size_t ended = 0;
  for (uint32_t seed = 1; seed < 40; ++seed) {
    const Json schema = text::RandomSchema(seed).whole();
    const auto tokens = or_throw(text::grammar::TokenSet::of(tokenizer()));
    const auto grammar = CompiledGrammar::compile({Kind::kJsonSchema, schema.dump()}, tokens);
    if (!grammar) continue;  // nothing satisfies it
    auto sink = std::make_shared<Collector>();
    const auto ticket = or_throw(engine->submit(asks(seed, *grammar, 200), sink));
    if (sink->error() || sink->ended().reason != Done::Reason::kStop) continue;
    const std::string text = text_of(sink->wait());
    const auto value = Json::parse(text);
    ASSERT_TRUE(value) << seed << " " << text;
    EXPECT_TRUE(text::Oracle(schema).valid(*value)) << seed << " " << text;
    ++ended;
  }
  EXPECT_GT(ended, 20u);
}

TEST(Constrained, NeighboursAreUnchangedAndRetractionKeepsThePlace) {
  Engine::Options tight = with_end();
  tight.blocks = 24;
  const auto engine = engine_of(tight);
  const auto grammar = grammar_of(Kind::kRegex, "([a-f]{1,3}[0-9] ){60}end");
  std::vector<std::shared_ptr<Collector>> sinks;
  std::vector<Engine::Ticket> tickets;
  const auto request = [&](uint32_t i) { return i % 2 ? asks(i, grammar, 120) : some_request(i, 30, 120); };
  for (uint32_t i = 0; i < 8; ++i) {
    sinks.push_back(std::make_shared<Collector>());
    tickets.push_back(or_throw(engine->submit(request(i), sinks.back())));
  }
  for (uint32_t i = 0; i < 8; ++i) EXPECT_EQ(sinks[i]->wait(), alone(request(i), with_end())) << i;
  EXPECT_GT(engine->stats().retractions, 0);
}

TEST(Constrained, EndsWhereNothingElseMayFollow) {
  const auto engine = engine_of();  // without end tokens
  auto sink = std::make_shared<Collector>();
  const auto ticket = or_throw(engine->submit(asks(3, grammar_of(Kind::kRegex, "(yes|no), [0-9]{3}")), sink));
  const std::string text = text_of(sink->wait());
  EXPECT_THAT(text, testing::MatchesRegex("(yes|no), [0-9][0-9][0-9]"));
  EXPECT_EQ(sink->ended().reason, Done::Reason::kStop);
  EXPECT_FALSE(sink->ended().matched);
}

TEST(Constrained, AnEndTokenIsChosenOnlyWhereTheTextMayEnd) {
  const auto engine = engine_of(with_end());
  for (uint32_t seed = 0; seed < 20; ++seed) {
    Generate g = asks(seed, grammar_of(Kind::kRegex, "[0-9]{4}(x[0-9]{4})*"), 60);
    g.sampling.logit_bias = {{4091, 100}};
    auto sink = std::make_shared<Collector>();
    const auto ticket = or_throw(engine->submit(g, sink));
    EXPECT_THAT(text_of(sink->wait()), testing::MatchesRegex("[0-9][0-9][0-9][0-9]"));
    EXPECT_EQ(sink->ended().matched, 4091);
  }
}

TEST(Constrained, HoldsBehindATokenOnly) {
  const auto engine = engine_of(with_end());
  Generate g = asks(5, grammar_of(Kind::kRegex, "[0-9]{3}"), 40);
  g.grammar_after = 17;
  auto never = std::make_shared<Collector>(), at_once = std::make_shared<Collector>();
  Generate free = g;
  free.grammar = nullptr, free.grammar_after.reset();
  free.sampling.logit_bias = g.sampling.logit_bias = {{17, -1e6}};
  const auto t1 = or_throw(engine->submit(g, never));
  EXPECT_EQ(never->wait(), alone(free, with_end()));
  g.sampling.logit_bias = {{17, 100}};
  const auto t2 = or_throw(engine->submit(g, at_once));
  auto tokens = at_once->wait();
  ASSERT_EQ(tokens.front(), 17);
  tokens.erase(tokens.begin());
  EXPECT_THAT(text_of(tokens), testing::MatchesRegex("[0-9][0-9][0-9]"));
}

TEST(Constrained, ADeadEndFailsItsRequestAlone) {
  // A vocabulary that can spell "a" and nothing else.
  std::vector<std::string> bytes(4096);
  bytes[100] = "a";
  const auto tokens = text::grammar::TokenSet::of(bytes);
  const auto grammar = or_throw(CompiledGrammar::compile({Kind::kRegex, "aab"}, tokens));
  const auto engine = engine_of(with_end());
  auto dead = std::make_shared<Collector>(), other = std::make_shared<Collector>();
  const auto t1 = or_throw(engine->submit(some_request(2, 40, 40), other));
  const auto t2 = or_throw(engine->submit(asks(1, grammar), dead));
  ASSERT_TRUE(dead->error());
  EXPECT_THAT(dead->error()->what, HasSubstr("grammar allows no further token"));
  EXPECT_EQ(other->wait(), alone(some_request(2, 40, 40), with_end()));
}

}  // namespace
}  // namespace cairn::llm
