// Arithmetic on streams for step caches, one pass each.
#include <algorithm>

#include "ops/cuda/cache_kernels.h"
#include "ops/cuda/device_code.cuh"

namespace cairn::ops::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__device__ inline void load_change(const Rows& after, const Rows& before, int64_t row, int64_t i, int64_t left,
                                   bool vectors, float (&x)[kChunk]) {
  load8(static_cast<const T*>(after.data) + row_start(after, row) + i, left, vectors, x);
  if (!before.data) return;
  float y[kChunk];
  load8(static_cast<const T*>(before.data) + row_start(before, row) + i, left, vectors, y);
#pragma unroll
  for (int j = 0; j < kChunk; ++j) x[j] -= y[j];
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    residual_kernel(Rows after, Rows before, int64_t rows, int64_t width, int64_t stride, T* out, bool vectors) {
  const int64_t kept = (width + stride - 1) / stride;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    if (stride == 1) {
      for (int64_t i = int64_t{threadIdx.x} * kChunk; i < width; i += int64_t{blockDim.x} * kChunk) {
        float x[kChunk];
        load_change<T>(after, before, row, i, width - i, vectors, x);
        store8(out + row * kept + i, width - i, vectors, x);
      }
      continue;
    }
    for (int64_t i = threadIdx.x; i < kept; i += blockDim.x) {
      float x[kChunk];
      load_change<T>(after, before, row, i * stride, 1, false, x);
      out[row * kept + i] = from_float<T>(x[0]);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) taylor_kernel(Taylor t, bool vectors) {
  for (int64_t row = blockIdx.x; row < t.rows; row += gridDim.x)
    for (int64_t i = int64_t{threadIdx.x} * kChunk; i < t.width; i += int64_t{blockDim.x} * kChunk) {
      const int64_t at = row * t.width + i, left = t.width - i;
      float level[kChunk], old[kChunk];
      load_change<T>(t.after, t.before, row, i, left, vectors, level);
      for (int64_t l = 0; l < t.count; ++l) {
        const bool last = l + 1 == t.count;
        if (!last) load8(t.levels[l], t.types[l], at, left, vectors, old);
        store8(t.levels[l], t.types[l], at, left, vectors, level);
        if (last) break;
#pragma unroll
        for (int j = 0; j < kChunk; ++j) level[j] = (level[j] - old[j]) / t.gap;
      }
    }
}

__global__ void __launch_bounds__(kThreads) weighted_sum_kernel(WeightedSum w, bool vectors) {
  const int64_t part = blockIdx.y;
  for (int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kChunk; i < w.size;
       i += int64_t{gridDim.x} * kThreads * kChunk) {
    const int64_t at = part * w.size + i, left = w.size - i;
    float sum[kChunk] = {}, x[kChunk];
    if (w.base) load8(w.base, w.base_type, at, left, vectors, sum);
    for (int64_t j = 0; j < w.count; ++j) {
      load8(w.terms[j], w.types[j], at, left, vectors, x);
      const float weight = w.weights[part * w.count + j];
#pragma unroll
      for (int n = 0; n < kChunk; ++n) sum[n] += weight * x[n];
    }
    store8(w.out, w.out_type, at, left, vectors, sum);
  }
}

dim3 grid_of(int64_t rows) { return dim3(static_cast<unsigned>(std::min<int64_t>(rows, 1 << 20))); }

}  // namespace

Status residual(const Rows& after, const Rows& before, int64_t rows, int64_t width, int64_t stride, void* out,
                void* stream) {
  if (rows < 0 || width < 0 || stride < 1) return "residual: negative sizes, or no stride";
  if (rows == 0 || width == 0) return nullptr;
  if (!after.data || !out) return "residual: no stream, or no place for the result";
  if (before.data && before.type != after.type) return "residual: the streams differ in dtype";
  const bool vectors = aligned(after) && aligned(before) && aligned(out) && width % kChunk == 0;
  return with_type(after.type, [&](auto t) {
    using T = decltype(t);
    return launch(residual_kernel<T>, grid_of(rows), dim3(threads_for_width(ceil_div(width, stride), 1, kThreads)), 0,
                  stream, after, before, rows, width, stride, static_cast<T*>(out), vectors);
  });
}

Status taylor_update(const Taylor& t, void* stream) {
  if (t.rows < 0 || t.width < 0 || t.count < 1 || t.count > kMostTerms) return "taylor_update: 1 to 16 levels";
  if (t.rows == 0 || t.width == 0) return nullptr;
  if (!t.after.data) return "taylor_update: no stream";
  if (t.before.data && t.before.type != t.after.type) return "taylor_update: the streams differ in dtype";
  bool vectors = aligned(t.after) && aligned(t.before) && t.width % kChunk == 0;
  for (int64_t l = 0; l < t.count; ++l) {
    if (!t.levels[l]) return "taylor_update: a level without memory";
    vectors = vectors && aligned(t.levels[l]);
  }
  return with_type(t.after.type, [&](auto x) {
    return launch(taylor_kernel<decltype(x)>, grid_of(t.rows), dim3(threads_for_width(t.width, 1, kThreads)), 0, stream,
                  t, vectors);
  });
}

Status weighted_sum(const WeightedSum& w, void* stream) {
  if (w.count < 1 || w.count > kMostTerms || w.parts < 0 || w.size < 0) return "weighted_sum: 1 to 16 terms";
  if (w.parts * w.count > kMostWeights) return "weighted_sum: more than 256 weights";
  if (w.parts == 0 || w.size == 0) return nullptr;
  if (!w.out) return "weighted_sum: no place for the result";
  bool vectors = aligned(w.base) && aligned(w.out) && w.size % kChunk == 0;
  for (int64_t j = 0; j < w.count; ++j) {
    if (!w.terms[j]) return "weighted_sum: a term is missing";
    vectors = vectors && aligned(w.terms[j]);
  }
  const int64_t blocks = std::min<int64_t>(ceil_div(w.size, kThreads * kChunk), 1 << 16);
  return launch(weighted_sum_kernel, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(w.parts)),
                dim3(kThreads), 0, stream, w, vectors);
}

}  // namespace cairn::ops::cuda
