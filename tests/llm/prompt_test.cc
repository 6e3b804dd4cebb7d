// What the engine says of a prompt: equal to a plain forward, whatever is in chunks, cached or beside it.
#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "llm/helpers.h"
#include "llm/step_image.h"
#include "models/golden.h"

namespace cairn::llm {
namespace {

using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;

std::shared_ptr<const CausalLm> exact() {
  static const std::shared_ptr<const CausalLm> model = or_throw(
      models::load_language_model(std::string(CAIRN_SOURCE_DIR) + "/weights/cairn-tiny-lm", kF32, device_under_test()));
  return model;
}

std::unique_ptr<Engine> exact_engine(Engine::Options o = {}) {
  o.blocks = 512;
  return or_throw(Engine::start(exact(), std::move(o)));
}

// Hidden states (T, D) of a prompt, computed without an engine.
Tensor plain_hidden(const CausalLm& model, const std::vector<int32_t>& prompt) {
  const Inference no_gradients;
  const auto count = static_cast<int64_t>(prompt.size());
  const KvCache cache(model.kv_shape(), (count + 15) / 16, 16, model.dtype(), model.device());
  std::vector<int32_t> table;
  for (int32_t i = 0; i < (count + 15) / 16; ++i) table.push_back(i);
  Batch b{.tokens = empty({count}, Dtype::Long),
          .positions = empty({count}, Dtype::Long),
          .slots = empty({count}, Dtype::Long)};
  for (int64_t i = 0; i < count; ++i) {
    static_cast<int64_t*>(b.tokens.mutable_data_ptr())[i] = prompt[static_cast<size_t>(i)];
    static_cast<int64_t*>(b.positions.mutable_data_ptr())[i] = i;
    static_cast<int64_t*>(b.slots.mutable_data_ptr())[i] = i;
  }
  b.sequences.push_back({.row = 0, .rows = count, .keys = count, .blocks = table.data()});
  return on_host(model.forward(model.device().is_cpu() ? b : on_device(b, model, cache), cache));
}

std::vector<Json> recorded_cases() {
  std::vector<Json> out;
  const std::string text = or_throw(read_file(cairn::testing::source_path("tests/golden/lm/cases.jsonl")));
  for (size_t at = 0; at < text.size(); at = text.find('\n', at) + 1)
    out.push_back(or_throw(Json::parse(text.substr(at, text.find('\n', at) - at))));
  return out;
}
std::vector<int64_t> numbers(const Json& list) {
  std::vector<int64_t> out;
  for (const Json& v : *list.as_array()) out.push_back(*v.as_int());
  return out;
}
std::vector<int32_t> prompt_of(const Json& recorded) {
  const auto ids = numbers(*recorded.find("ids"));
  return {ids.begin(), ids.end()};
}

Generate scoring(std::vector<int32_t> prompt, int64_t start = 0) {
  Generate g;
  g.prompt = std::move(prompt);
  g.sampling.max_new_tokens = 0;
  g.logprob_start = start;
  return g;
}

std::vector<Choice> judged_by(Engine& engine, const Generate& g) {
  auto sink = std::make_shared<Collector>();
  const auto ticket = or_throw(engine.submit(g, sink));
  return sink->prompt();
}

// To the bit on a processor; the products of a device round by their sizes.
const float kOff = device_under_test().is_cpu() ? 0 : 2e-4f;

void expect_same(const std::vector<Choice>& a, const std::vector<Choice>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].token, b[i].token) << i;
    EXPECT_NEAR(a[i].logprob, b[i].logprob, kOff) << i;
    for (const auto& [x, y] : {std::pair(&a[i].top, &b[i].top), {&a[i].asked, &b[i].asked}}) {
      ASSERT_EQ(x->size(), y->size());
      for (size_t j = 0; j < x->size(); ++j) {
        EXPECT_EQ((*x)[j].first, (*y)[j].first) << i;
        EXPECT_NEAR((*x)[j].second, (*y)[j].second, kOff) << i;
      }
    }
  }
}

TEST(PromptLogprobs, AreThoseOfAPlainForwardAndOfTransformers) {
  const auto engine = exact_engine();
  size_t compared = 0;
  for (const Json& c : recorded_cases()) {
    const auto ids = prompt_of(c);
    Generate g = scoring(ids);
    g.top_logprobs = 2;
    g.token_ids_logprob = {7, 4000};
    auto sink = std::make_shared<Collector>();
    const auto ticket = or_throw(engine->submit(g, sink));
    const auto got = sink->prompt();
    EXPECT_EQ(sink->ended().generated, 0);
    EXPECT_EQ(sink->ended().reason, Done::Reason::kLength);
    ASSERT_EQ(got.size(), ids.size() - 1);
    const Inference no_gradients;
    const Tensor want = exact()->logits(plain_hidden(*exact(), ids)).log_softmax(-1);
    for (size_t i = 0; i < got.size(); ++i) {
      const Tensor row = want[static_cast<int64_t>(i)];
      EXPECT_EQ(got[i].token, ids[i + 1]);
      EXPECT_NEAR(got[i].logprob, row[ids[i + 1]].item<float>(), 2e-4);
      ASSERT_EQ(got[i].top.size(), 2u);
      EXPECT_NEAR(got[i].top[0].second, row.max().item<float>(), 2e-4);
      EXPECT_GE(got[i].top[0].second, got[i].top[1].second);
      ASSERT_EQ(got[i].asked.size(), 2u);
      EXPECT_EQ(got[i].asked[1].first, 4000);
      EXPECT_NEAR(got[i].asked[1].second, row[4000].item<float>(), 2e-4);
    }
    // The recorded continuation, as a prompt: top5 has its log-probabilities.
    std::vector<int32_t> whole = ids;
    for (const int64_t id : numbers(*c.find("fp32")->find("new_ids"))) whole.push_back(static_cast<int32_t>(id));
    g = scoring(whole, static_cast<int64_t>(ids.size()));
    g.top_logprobs = 5;
    const auto continued = judged_by(*engine, g);
    const auto& top5 = *c.find("fp32")->find("top5")->as_array();
    ASSERT_EQ(continued.size(), top5.size());
    for (size_t i = 0; i < top5.size(); ++i) {
      for (size_t j = 0; j < 5; ++j)
        EXPECT_NEAR(continued[i].top[j].second, (*(*top5[i].as_array())[j].as_array())[1].number(), 2e-4);
      EXPECT_EQ(continued[i].logprob, continued[i].top[0].second);  // it was greedy
      ++compared;
    }
  }
  EXPECT_GT(compared, 500u);
}

TEST(PromptLogprobs, DoNotDependOnChunksCachesOrWhereTheyStart) {
  Engine::Options small;
  small.scheduler.chunked_prefill_size = 48;
  const auto engine = engine_of(), chunked = engine_of(small);
  const Generate asked = some_request(3, 150, 4);
  Generate g = scoring(asked.prompt);
  g.top_logprobs = 3;
  const auto want = judged_by(*engine, g);
  ASSERT_EQ(want.size(), 149u);
  expect_same(judged_by(*engine, g), want);  // all of it is cached now
  expect_same(judged_by(*chunked, g), want);
  for (const int64_t start : {0, 1, 2, 16, 17, 100, 149, 150}) {
    g.logprob_start = start;
    const auto first = static_cast<int64_t>(std::max<int64_t>(start, 1)) - 1;
    expect_same(judged_by(*engine, g), {want.begin() + first, want.end()});
  }
  // With an answer behind, which is what it is without.
  Generate both = asked;
  both.logprob_start = 0;
  both.top_logprobs = 3;
  auto sink = std::make_shared<Collector>();
  const auto ticket = or_throw(engine->submit(both, sink));
  EXPECT_EQ(sink->wait(), alone(asked));
  expect_same(sink->prompt(), want);
  EXPECT_EQ(sink->ended().cached_tokens, 0);
  both.logprob_start = -1;
  auto silent = std::make_shared<Collector>();
  const auto t2 = or_throw(engine->submit(both, silent));
  EXPECT_GE(silent->ended().cached_tokens, 144);
  EXPECT_ANY_THROW(silent->prompt());
}

TEST(PromptLogprobs, AreToldOnceBesideNeighboursAndRetractions) {
  Engine::Options tight;
  tight.blocks = 24;
  tight.scheduler.chunked_prefill_size = 32;
  const auto engine = engine_of(tight);
  std::vector<std::shared_ptr<Collector>> sinks;
  std::vector<Engine::Ticket> tickets;
  const auto request = [](uint32_t i) {
    Generate g = some_request(i, 30, 120);
    g.logprob_start = 2 * i;
    return g;
  };
  for (uint32_t i = 0; i < 8; ++i) {
    sinks.push_back(std::make_shared<Collector>());
    tickets.push_back(or_throw(engine->submit(request(i), sinks.back())));
  }
  const auto roomy = engine_of();
  for (uint32_t i = 0; i < 8; ++i) {
    EXPECT_EQ(sinks[i]->wait(), alone(request(i))) << i;
    expect_same(sinks[i]->prompt(), judged_by(*roomy, request(i)));
  }
  EXPECT_GT(engine->stats().retractions, 0);
}

TEST(PromptLogprobs, OfAnswersReportTheAskedTokens) {
  const auto engine = engine_of();
  Generate g = some_request(1, 30, 5);
  g.logprobs = true;
  g.top_logprobs = 1;
  g.token_ids_logprob = {11, 12};
  auto sink = std::make_shared<Collector>();
  const auto ticket = or_throw(engine->submit(g, sink));
  for (const Choice& c : sink->choices()) {
    ASSERT_EQ(c.asked.size(), 2u);
    EXPECT_EQ(c.asked[0].first, 11);
    EXPECT_LE(c.asked[0].second, c.top[0].second);
    EXPECT_TRUE(std::isfinite(c.asked[1].second));
  }
}

TEST(PromptLogprobs, RefuseWhatMakesNoSense) {
  const auto engine = engine_of();
  const auto refuse = [&](const Generate& g, const char* why) {
    const auto r = engine->submit(g, std::make_shared<Collector>());
    ASSERT_FALSE(r);
    EXPECT_THAT(r.error().what, HasSubstr(why));
  };
  refuse(scoring({1, 2, 3}, 4), "logprob_start is 4");
  refuse(scoring({1, 2, 3}, -2), "logprob_start is -2");
  Generate g = scoring({1, 2});
  g.token_ids_logprob = {4096};
  refuse(g, "token_ids_logprob");
  // A prompt as long as the context can be scored, but not continued.
  g = scoring(std::vector<int32_t>(static_cast<size_t>(engine->context_length()), 5));
  EXPECT_EQ(judged_by(*engine, g).size(), static_cast<size_t>(engine->context_length() - 1));
  g.sampling.max_new_tokens = 1;
  refuse(g, "shorten");
}

Generate embeds(std::vector<int32_t> prompt, Pooling pooling) {
  Generate g;
  g.prompt = std::move(prompt);
  g.sampling.max_new_tokens = 0;
  g.embed = pooling;
  return g;
}

std::vector<float> embedded_by(Engine& engine, const Generate& g) {
  auto sink = std::make_shared<Collector>();
  const auto ticket = or_throw(engine.submit(g, sink));
  return sink->embedding();
}

TEST(Embeddings, AreThoseOfTransformers) {
  const auto engine = exact_engine();
  const auto cases = recorded_cases();
  for (const auto& [pooling, name] : {std::pair{Pooling::kMean, "fp32.mean"}, std::pair{Pooling::kLast, "fp32.last"}}) {
    const Tensor want = cairn::testing::golden("lm/embeddings.safetensors", name);
    for (size_t i = 0; i < cases.size(); ++i) {
      const auto got = embedded_by(*engine, embeds(prompt_of(cases[i]), pooling));
      ASSERT_EQ(static_cast<int64_t>(got.size()), want.size(1));
      for (size_t j = 0; j < got.size(); ++j)
        ASSERT_NEAR(got[j], want[static_cast<int64_t>(i)][static_cast<int64_t>(j)].item<float>(), 1e-4)
            << i << " " << j;
    }
  }
}

TEST(Embeddings, DoNotDependOnChunksCachesOrNeighbours) {
  Engine::Options small;
  small.scheduler.chunked_prefill_size = 48;
  small.blocks = 24;  // 384 tokens for eight prompts of up to 145 and their answers
  for (const Pooling pooling : {Pooling::kMean, Pooling::kLast}) {
    const auto plain = engine_of(), crowded = engine_of(small);
    const auto request = [&](uint32_t i) {
      Generate g = some_request(i, 5 + 20 * i, 60);
      g.embed = pooling;
      return g;
    };
    std::vector<std::shared_ptr<Collector>> sinks;
    std::vector<Engine::Ticket> tickets;
    for (uint32_t i = 0; i < 8; ++i) {
      sinks.push_back(std::make_shared<Collector>());
      tickets.push_back(or_throw(crowded->submit(request(i), sinks.back())));
    }
    for (uint32_t i = 0; i < 8; ++i) {
      const auto want = embedded_by(*plain, embeds(request(i).prompt, pooling));
      EXPECT_THAT(sinks[i]->embedding(), Pointwise(FloatNear(kOff), want)) << i;
      EXPECT_EQ(sinks[i]->wait(), alone(request(i))) << i;
      EXPECT_THAT(embedded_by(*plain, embeds(request(i).prompt, pooling)), Pointwise(FloatNear(kOff), want))
          << "cached " << i;
    }
  }
}

}  // namespace
}  // namespace cairn::llm
