// The operations of transformer blocks at the sizes of models. GFLOPs counts two per multiply-add; of_mm is the share
// of what a 2048^3 at::mm reaches, measured in turns with the operation, since the machine may be shared; library is
// GFLOPs of at::linear (or of the reference) in the same turns. Weights rotate through more memory than caches hold, as
// they do when a model has many blocks. Every number is of the fastest run, the one that neighbours disturbed least.
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "ops/ops.h"

namespace cairn::ops {
namespace {

using Clock = std::chrono::steady_clock;

template <class F>
double seconds(F&& f) {
  const auto start = Clock::now();
  f();
  return std::chrono::duration<double>(Clock::now() - start).count();
}
double fastest(const std::vector<double>& s) { return *std::min_element(s.begin(), s.end()); }

Tensor numbers(at::IntArrayRef shape, Dtype dtype) { return Noise(1).normal(shape, dtype); }

// Runs op(i) and library(i) in turns, with at::mm now and then.
template <class Op, class Library>
void measure(benchmark::State& state, double flops, Dtype dtype, Op&& op, Library&& library) {
  const Tensor square = numbers({2048, 2048}, dtype);
  at::mm(square, square);
  std::vector<double> own, other, ceiling;
  double since = 1;
  for (auto _ : state) {
    const int i = static_cast<int>(own.size());
    own.push_back(seconds([&] { op(i); }));
    state.SetIterationTime(own.back());
    other.push_back(seconds([&] { library(i); }));
    since += own.back() + other.back();
    if (since > 0.5) {
      ceiling.push_back(seconds([&] { at::mm(square, square); }));
      since = 0;
    }
  }
  const double speed = flops / fastest(own) / 1e9, top = 2.0 * 2048 * 2048 * 2048 / fastest(ceiling) / 1e9;
  state.counters["us"] = fastest(own) * 1e6;
  state.counters["GFLOPs"] = speed;
  state.counters["library"] = flops / fastest(other) / 1e9;
  state.counters["of_mm"] = speed / top;
}

struct Layers {
  Layers(int64_t out, int64_t in, Dtype dtype) {
    const int64_t bytes = out * in * static_cast<int64_t>(c10::elementSize(dtype));
    for (int64_t n = 0; n < 1 + (48 << 20) / bytes; ++n)
      all.emplace_back(numbers({out, in}, dtype) * (1 / std::sqrt(static_cast<double>(in))), numbers({out}, dtype));
    for (const Weight& w : all) linear(numbers({1, 1, in}, dtype), w, Activation::kNone, dtype);  // packs
  }
  const Weight& operator[](int i) const { return all[static_cast<size_t>(i) % all.size()]; }
  std::vector<Weight> all;
};

void linear_bench(benchmark::State& state, Dtype dtype, int64_t rows, int64_t in, int64_t out) {
  const Layers w(out, in, dtype);
  const Tensor x = numbers({1, rows, in}, dtype);
  measure(
      state, 2.0 * static_cast<double>(rows * in * out), dtype,
      [&](int i) { linear(x, w[i], Activation::kGeluTanh, dtype); },
      [&](int i) { at::linear(x, w[i].weight(), w[i].bias()); });
}

void add_bench(benchmark::State& state, Dtype dtype, int64_t rows, int64_t in, int64_t out) {
  const Layers w(out, in, dtype);
  const Tensor x = numbers({1, rows, in}, dtype), residual = numbers({1, rows, out}, kF32),
               gates = numbers({1, 6, out}, kF32);
  measure(
      state, 2.0 * static_cast<double>(rows * in * out), dtype, [&](int i) { linear_add(residual, x, w[i], gates, 2); },
      [&](int i) { at::linear(x, w[i].weight(), w[i].bias()); });
}

void qkv_bench(benchmark::State& state, Dtype dtype, int64_t rows, int64_t width, int64_t d) {
  const Layers q(width, width, dtype), k(width, width, dtype), v(width, width, dtype);
  const Tensor x = numbers({1, rows, width}, dtype), norm = numbers({d}, dtype), rope = numbers({2, rows, d}, kF32);
  const auto streams = [&](int i) { return std::vector<QkvStream>{{x, q[i], k[i], v[i], norm, norm}}; };
  measure(
      state, 6.0 * static_cast<double>(rows * width * width), dtype, [&](int i) { qkv(streams(i), rope, d, 1e-6); },
      [&](int i) { qkv.reference()(streams(i), rope, d, 1e-6); });
}

void attention_bench(benchmark::State& state, Dtype dtype, int64_t tokens, int64_t heads, int64_t d) {
  const Tensor q = numbers({1, tokens, heads, d}, dtype);
  measure(
      state, 4.0 * static_cast<double>(tokens * tokens * heads * d), dtype,
      [&](int) { attention(q, q, q, {}, false, 0.125); },
      [&](int) { attention.reference()(q, q, q, {}, false, 0.125); });
}

// No products: GFLOPs counts 8 per element.
void norm_bench(benchmark::State& state, Dtype dtype, int64_t rows, int64_t width) {
  const Tensor x = numbers({1, rows, width}, kF32), modulation = numbers({1, 6, width}, kF32);
  measure(
      state, 8.0 * static_cast<double>(rows * width), dtype,
      [&](int) { norm_modulate(x, modulation, 0, 1, 1e-6, dtype); },
      [&](int) { norm_modulate.reference()(x, modulation, 0, 1, 1e-6, dtype); });
}

template <class... Args>
void add(const std::string& name, void (*f)(benchmark::State&, Dtype, Args...), Args... args) {
  for (Dtype dtype : {kF32, kBF16}) {
    std::string full = name;
    ((full += "/" + std::to_string(args)), ...);
    benchmark::RegisterBenchmark((full + "/" + dtype_name(dtype)).c_str(),
                                 [=](benchmark::State& s) { f(s, dtype, args...); })
        ->UseManualTime()
        ->MinTime(0.3)
        ->Unit(benchmark::kMicrosecond);
  }
}

using I = int64_t;
void add_all() {
  for (auto [rows, in, out] : {std::array<I, 3>{32, 256, 1024},
                               {64, 256, 1024},
                               {96, 256, 1024},
                               {96, 1280, 256},
                               {64, 1024, 256},
                               {1, 64, 64},
                               {1, 256, 15360},
                               {4, 256, 15360},
                               {1, 3072, 18432},
                               {1024, 256, 1792},
                               {512, 3072, 3072},
                               {1536, 3072, 3072},
                               {1536, 3072, 12288},
                               {1536, 12288, 3072},
                               {4608, 3072, 12288}}) {
    add<I, I, I>("linear", linear_bench, rows, in, out);
    if (rows > 4) add<I, I, I>("linear_add", add_bench, rows, in, out);
  }
  for (I rows : {32, 96}) add<I, I, I>("qkv", qkv_bench, rows, 256, 64);
  add<I, I, I>("qkv", qkv_bench, 1536, 3072, 128);
  for (I tokens : {96, 256, 512, 1024, 2048, 4608}) add<I, I, I>("attention", attention_bench, tokens, 4, 64);
  for (I tokens : {512, 1536, 4608}) add<I, I, I>("attention", attention_bench, tokens, 24, 128);
  add<I, I>("norm_modulate", norm_bench, 96, 256);
  add<I, I>("norm_modulate", norm_bench, 1536, 3072);
}

}  // namespace
}  // namespace cairn::ops

int main(int argc, char** argv) {
  cairn::ops::install_cpu();
  cairn::ops::add_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
