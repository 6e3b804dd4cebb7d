// Choosing one token of a row of logits: most are far below a few, as those of a trained model are.
#include <benchmark/benchmark.h>

#include <random>

#include "llm/sampling.h"

namespace cairn::llm {
namespace {

std::vector<float> some_logits(int64_t vocabulary) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 2.5f);
  std::vector<float> out(static_cast<size_t>(vocabulary));
  for (float& x : out) x = normal(random);
  for (int i = 0; i < 40; ++i) out[random() % out.size()] += 22 - 0.5f * static_cast<float>(i);
  return out;
}

// Times next(), with a fresh copy of the logits, whose copying is reported by the benchmark `copy`.
void choose(benchmark::State& state, const SamplingParams& params, int64_t top = -1,
            std::vector<uint32_t> allowed = {}) {
  const auto logits = some_logits(state.range(0));
  const std::vector<int32_t> prompt(200, 7);
  Sampler sampler(params, prompt, {}, 1);
  std::vector<float> row(logits.size());
  for (auto _ : state) {
    std::copy(logits.begin(), logits.end(), row.begin());
    benchmark::DoNotOptimize(sampler.next(row, allowed, top >= 0, std::max(top, int64_t{0})));
  }
}

void copy(benchmark::State& state) {
  const auto logits = some_logits(state.range(0));
  std::vector<float> row(logits.size());
  for (auto _ : state) {
    std::copy(logits.begin(), logits.end(), row.begin());
    benchmark::DoNotOptimize(row.data());
  }
}

SamplingParams greedy() {
  SamplingParams p;
  p.temperature = 0;
  return p;
}
SamplingParams cut() {
  SamplingParams p;
  p.top_k = 50, p.top_p = 0.95, p.min_p = 0.05;
  return p;
}
SamplingParams nucleus() {
  SamplingParams p;
  p.top_p = 0.95;
  return p;
}
// A temperature at which most of the vocabulary is within the nucleus.
SamplingParams flat_nucleus() {
  SamplingParams p = nucleus();
  p.temperature = 5;
  return p;
}
SamplingParams penalties() {
  SamplingParams p;
  p.repetition_penalty = 1.1, p.frequency_penalty = 0.1;
  return p;
}
// As inside a JSON string (nearly all), and between its members (nearly none).
std::vector<uint32_t> mask(int64_t vocabulary, bool most) {
  std::vector<uint32_t> out(static_cast<size_t>(vocabulary + 31) / 32, most ? ~0u : 0u);
  for (size_t i = 0; i < out.size(); i += 40) out[i] ^= 0x10010;
  return out;
}

#define SIZES ->Arg(4096)->Arg(151936)->Unit(benchmark::kMicrosecond)
BENCHMARK(copy) SIZES;
BENCHMARK_CAPTURE(choose, greedy, greedy()) SIZES;
BENCHMARK_CAPTURE(choose, temperature, SamplingParams{}) SIZES;
BENCHMARK_CAPTURE(choose, top_p, nucleus()) SIZES;
BENCHMARK_CAPTURE(choose, top_p_flat, flat_nucleus()) SIZES;
BENCHMARK_CAPTURE(choose, top_k_top_p_min_p, cut()) SIZES;
BENCHMARK_CAPTURE(choose, penalties, penalties()) SIZES;
BENCHMARK_CAPTURE(choose, logprobs_20, SamplingParams{}, 20) SIZES;
BENCHMARK_CAPTURE(choose, greedy_logprobs_20, greedy(), 20) SIZES;
BENCHMARK_CAPTURE(choose, masked_to_most, SamplingParams{}, -1, mask(151936, true))
    ->Arg(151936)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(choose, masked_to_few, SamplingParams{}, -1, mask(151936, false))
    ->Arg(151936)
    ->Unit(benchmark::kMicrosecond);

void judge(benchmark::State& state) {
  const auto logits = some_logits(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(judged(logits, 7, 5, {}));
}
BENCHMARK(judge) SIZES;

}  // namespace
}  // namespace cairn::llm

BENCHMARK_MAIN();
