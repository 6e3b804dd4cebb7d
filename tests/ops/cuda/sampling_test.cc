// The kernel beside the sampler that runs on processors: the same tokens for the same uniform numbers.
#include "llm/sampling.h"
#include "ops/cuda/device_data.h"
#include "ops/cuda/sampling_kernels.h"

namespace cairn::ops::cuda {
namespace {

struct Row {
  SampleRow row;
  std::vector<Touch> touches;
  std::vector<uint32_t> allowed;
};

Sampled sample_one(std::vector<float>& logits, Row& r) {
  Sampled out;
  r.row.touches = static_cast<int32_t>(r.touches.size());
  r.row.allowed = r.allowed.empty() ? -1 : 0;
  const auto vocabulary = static_cast<int64_t>(logits.size());
  EXPECT_LAUNCHED(sample({.logits = logits.data(),
                          .count = 1,
                          .vocabulary = vocabulary,
                          .row_stride = vocabulary,
                          .rows = &r.row,
                          .touches = r.touches.data(),
                          .allowed = r.allowed.data(),
                          .allowed_words = static_cast<int64_t>(r.allowed.size()),
                          .out = &out},
                         nullptr));
  return out;
}

// A request's answer, token by token, from both.
void check(const llm::SamplingParams& params, int64_t vocabulary, double spread, unsigned seed, int tokens,
           bool masked) {
  const std::vector<int32_t> prompt{1, 2, 2}, ends{0};
  llm::Sampler sampler(params, prompt, ends, 0);
  std::mt19937 engine(seed);
  std::normal_distribution<float> of(0, static_cast<float>(spread));
  for (int n = 0; n < tokens; ++n) {
    std::vector<float> logits(static_cast<size_t>(vocabulary));
    for (float& x : logits) x = of(engine);
    if (n % 3 == 1)  // many equals
      for (float& x : logits) x = std::round(x);
    Row r;
    if (masked)
      for (int64_t i = 0; i < (vocabulary + 31) / 32; ++i)
        r.allowed.push_back(static_cast<uint32_t>(engine()) | 1u << 3);
    r.row = sampler.row();
    r.touches.assign(sampler.touches().begin(), sampler.touches().end());
    std::vector<float> ours = logits;
    const Sampled got = sample_one(ours, r);
    const auto want = sampler.next(logits, r.allowed, true, 0);
    if (!want) {
      EXPECT_EQ(got.state, Sampled::kNoneMayFollow);
      return;
    }
    ASSERT_EQ(got.state, Sampled::kChosen);
    ASSERT_EQ(got.token, want->token) << "token " << n << " of " << vocabulary;
    EXPECT_NEAR(got.logprob, want->logprob, 2e-5 * (1 + std::fabs(want->logprob)));
    for (size_t i = 0; i < logits.size(); ++i) ASSERT_EQ(ours[i], logits[i]) << i;
  }
}

TEST(CudaSampling, ChoosesWhatTheSamplerChooses) {
  unsigned seed = 0;
  for (const int64_t vocabulary : {3, 100, 2500})
    for (const double spread : {0.5, 4.0})
      for (int kind = 0; kind < 10; ++kind) {
        llm::SamplingParams p;
        p.seed = ++seed;
        if (kind == 1) p.temperature = 0;
        if (kind == 2) p.temperature = 0.6, p.top_k = 5;
        if (kind == 3) p.top_p = 0.8;
        if (kind == 4) p.min_p = 0.1, p.temperature = 1.7;
        if (kind == 5) p.top_k = 40, p.top_p = 0.9, p.min_p = 0.01;
        if (kind == 6) p.frequency_penalty = 0.7, p.presence_penalty = -0.3, p.repetition_penalty = 1.3, p.top_p = 0.95;
        if (kind == 7) p.logit_bias = {{1, 3}, {2, -2}}, p.min_new_tokens = 5;
        if (kind == 8) p.top_k = 1000000, p.top_p = 0.999;
        if (kind == 9) p.top_p = 1e-9;
        check(p, vocabulary, spread, seed, 8, kind % 2 == 0);
      }
}

TEST(CudaSampling, ALargeVocabulary) {
  llm::SamplingParams p;
  p.seed = 11;
  check(p, 60001, 3, 5, 2, false);
  p.top_p = 0.9, p.top_k = 500;
  check(p, 60001, 3, 6, 2, true);
}

TEST(CudaSampling, SaysWhyNothingIsChosen) {
  Row r;
  std::vector<float> logits{1, NAN, 2};
  EXPECT_EQ(sample_one(logits, r).state, Sampled::kNotNumbers);
  logits = {1, INFINITY, 2};
  EXPECT_EQ(sample_one(logits, r).state, Sampled::kNotNumbers);
  logits = {1, 2, 3};
  r.allowed = {0};
  EXPECT_EQ(sample_one(logits, r).state, Sampled::kNoneMayFollow);
  logits = {1, 2, 3};
  r.allowed = {2};
  EXPECT_EQ(sample_one(logits, r).token, 1);
}

TEST(CudaSampling, EveryThreadSeesWhatAnotherHasBanned) {
  for (int32_t token = 1; token < 20; ++token) {
    Row r;
    r.row.greedy = 1;
    r.touches = {{.token = token, .flags = Touch::kBanned}};
    std::vector<float> logits(40, 1);
    logits[static_cast<size_t>(token)] = 9, logits[33] = 2;
    EXPECT_EQ(sample_one(logits, r).token, 33);
  }
}

TEST(CudaSampling, DrawsByTheWeights) {
  std::vector<int> seen(3);
  for (int i = 0; i < 200; ++i) {
    Row r;
    r.row.uniform = (i + 0.5) / 200;
    if (i % 2) r.row.top_p = 0.999999;  // goes by likelihood, with nothing cut off
    std::vector<float> logits{std::log(0.25f), std::log(0.5f), std::log(0.25f)};
    ++seen[static_cast<size_t>(sample_one(logits, r).token)];
  }
  EXPECT_EQ(seen, (std::vector<int>{50, 100, 50}));
}

TEST(CudaSampling, RefusesNonsense) {
  EXPECT_NE(sample({.count = 1, .vocabulary = 1 << 19, .row_stride = 1 << 19}, nullptr), nullptr);
  EXPECT_NE(sample({.count = 1, .vocabulary = 4, .row_stride = 3}, nullptr), nullptr);
  EXPECT_NE(sample({.count = 1, .vocabulary = 4, .row_stride = 4}, nullptr), nullptr);
  EXPECT_EQ(sample({.count = 0}, nullptr), nullptr);
}

}  // namespace
}  // namespace cairn::ops::cuda
