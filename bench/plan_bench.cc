// What the host does for a step: planning and committing, and looking prompts up in the prefix cache.
#include <benchmark/benchmark.h>

#include <chrono>

#include "llm/plan/scheduler.h"

namespace cairn::llm {
namespace {

std::vector<Token> prompt(int64_t size, Token seed) {
  std::vector<Token> out;
  for (int64_t i = 0; i < size; ++i) out.push_back(static_cast<Token>((seed * 7919 + i * 31) % 150000));
  return out;
}

StepResult answer(const StepPlan& plan) {
  StepResult out;
  const Token token = 7;
  for (const PlanRow& row : plan.rows) out.add(std::span(&token, row.sample ? 1 : 0));
  return out;
}

// `requests` running, each with `length` tokens, one step planned ahead; counted per step, plan and commit apart.
void decode_step(benchmark::State& state) {
  const int64_t requests = state.range(0), length = state.range(1);
  kv::BlockPool pool(requests * (length / 16 + 260), 16);
  Scheduler scheduler({.context_length = 1 << 20, .max_running_requests = requests}, pool);
  for (int64_t i = 0; i < requests; ++i)
    (void)scheduler.submit({.prompt = prompt(length, static_cast<Token>(i)), .max_new_tokens = 4000});
  while (scheduler.waiting() > 0 || scheduler.find(1)->generated() < 4) {
    StepPlan plan = scheduler.plan();
    const StepResult result = answer(plan);
    (void)scheduler.commit(std::move(plan), result);
  }
  double planning = 0, committing = 0;
  const auto seconds = [](auto from) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
  };
  StepPlan ahead = scheduler.plan();
  for (auto _ : state) {
    if (scheduler.find(1)->to_generate() < 2) return state.SkipWithError("more steps than the answers have tokens");
    const auto start = std::chrono::steady_clock::now();
    StepPlan next = scheduler.plan();
    planning += seconds(start);
    state.PauseTiming();
    const StepResult result = answer(ahead);
    state.ResumeTiming();
    const auto middle = std::chrono::steady_clock::now();
    (void)scheduler.commit(std::move(ahead), result);
    committing += seconds(middle);
    ahead = std::move(next);
  }
  const auto steps = static_cast<double>(state.iterations());
  state.counters["plan_us"] = planning / steps * 1e6;
  state.counters["commit_us"] = committing / steps * 1e6;
}
BENCHMARK(decode_step)->Args({8, 1024})->Args({256, 256})->Args({256, 1024})->Args({256, 4096})->Iterations(2000);

// A prompt of which all but the last block is cached, beside 1000 others.
void match(benchmark::State& state) {
  const int64_t length = state.range(0);
  kv::BlockPool pool(1000 * 8 + length / 16 + 8, 16);
  kv::PrefixTree tree(pool, kv::Eviction::kLru);
  const kv::Hash identity = kv::Identity{"model", "bf16", "", ""}.hash();
  const auto insert = [&](const std::vector<Token>& tokens) {
    std::vector<kv::BlockRef> blocks;
    for (size_t i = 0; i < tokens.size() / 16; ++i) blocks.push_back(pool.allocate());
    tree.insert(identity, tokens, blocks);
  };
  for (Token i = 0; i < 1000; ++i) insert(prompt(128, i));
  const auto wanted = prompt(length, 5);
  insert(wanted);
  for (auto _ : state) benchmark::DoNotOptimize(tree.match(identity, wanted).tokens);
}
BENCHMARK(match)->Arg(512)->Arg(4096)->Arg(32768);

void insert(benchmark::State& state) {
  const int64_t length = state.range(0);
  kv::BlockPool pool(length / 16, 16);
  kv::PrefixTree tree(pool, kv::Eviction::kLru);
  const auto tokens = prompt(length, 5);
  for (auto _ : state) {
    std::vector<kv::BlockRef> blocks;
    for (int64_t i = 0; i < length / 16; ++i) blocks.push_back(pool.allocate());
    tree.insert({1, 2}, tokens, blocks);
    blocks.clear();
    tree.clear();
  }
}
BENCHMARK(insert)->Arg(4096);

}  // namespace
}  // namespace cairn::llm

BENCHMARK_MAIN();
