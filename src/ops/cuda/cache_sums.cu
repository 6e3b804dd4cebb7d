// Sums for step caches. Blocks leave theirs in a workspace, and a last block adds them in order.
#include <algorithm>

#include "ops/cuda/cache_kernels.h"
#include "ops/cuda/device_code.cuh"

namespace cairn::ops::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp, kParts = 5;
constexpr int64_t kMostSums = 1024;  // blocks whose sums the last one adds

// Chosen rows' difference and magnitude, all rows' the same, and how many are chosen.
struct Sums {
  double of[kParts] = {};
};

__device__ inline Sums block_sums(Sums s) {
  for (double& x : s.of) x = block_sum(x);
  return s;
}

// A warp a row: a row's quotient decides whether it counts.
template <class T>
__global__ void __launch_bounds__(kThreads) change_kernel(Change c, int64_t kept, double* workspace) {
  Sums sums;
  const int lane = threadIdx.x % kWarp;
  for (int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp; row < c.rows;
       row += int64_t{gridDim.x} * kWarps) {
    const T* after = static_cast<const T*>(c.after.data) + row_start(c.after, row);
    const T* before = c.before.data ? static_cast<const T*>(c.before.data) + row_start(c.before, row) : nullptr;
    double difference = 0, magnitude = 0;
    for (int64_t i = lane; i < kept;) {
      float d = 0, m = 0;
      for (int n = 0; n < 16 && i < kept; ++n, i += kWarp) {  // some in fp32, then in fp64
        float x = to_float(after[i * c.stride]), anchor[kChunk];
        if (before) x -= to_float(before[i * c.stride]);
        load8(c.anchor, c.anchor_type, row * kept + i, 1, false, anchor);
        d += fabsf(anchor[0] - x);
        m += fabsf(anchor[0]);
      }
      difference += d, magnitude += m;
    }
    difference = warp_sum(difference), magnitude = warp_sum(magnitude);
    if (lane > 0) continue;
    sums.of[2] += difference, sums.of[3] += magnitude;
    if (difference / magnitude > c.important) {
      sums.of[0] += difference, sums.of[1] += magnitude;
      sums.of[4] += 1;
    }
  }
  __syncthreads();
  sums = block_sums(sums);
  if (threadIdx.x == 0)
    for (int i = 0; i < kParts; ++i) workspace[blockIdx.x * kParts + i] = sums.of[i];
}

__global__ void __launch_bounds__(kThreads) verdict_kernel(Change c, int64_t blocks, const double* workspace) {
  Sums sums;
  for (int64_t b = threadIdx.x; b < blocks; b += kThreads)
    for (int i = 0; i < kParts; ++i) sums.of[i] += workspace[b * kParts + i];
  sums = block_sums(sums);
  if (threadIdx.x > 0) return;
  const int from = c.important > 0 && sums.of[4] > 0 ? 0 : 2;
  c.result[0] = sums.of[from], c.result[1] = sums.of[from + 1];
  if (c.verdict) *c.verdict = sums.of[from] / sums.of[from + 1] < c.threshold ? 1 : 0;
}

// The pair of terms a <= b that comes `pair`-th.
__device__ inline void pair_terms(int64_t pair, int64_t count, int64_t& a, int64_t& b) {
  a = 0;
  while (pair >= count - a) pair -= count - a++;
  b = a + pair;
}

template <class T>
__global__ void __launch_bounds__(kThreads) gram_kernel(Gram g, double* workspace) {
  int64_t a, b;
  pair_terms(blockIdx.y, g.count, a, b);
  const int64_t row = blockIdx.z, start = row * g.size;
  const T *x = static_cast<const T*>(g.terms[a]) + start, *y = static_cast<const T*>(g.terms[b]) + start;
  double sum = 0;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < g.size; i += int64_t{gridDim.x} * kThreads)
    sum += double{to_float(x[i])} * double{to_float(y[i])};
  sum = block_sum(sum);
  if (threadIdx.x == 0) workspace[(row * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kWarp) gram_sum_kernel(Gram g, int64_t blocks, const double* workspace) {
  int64_t a, b;
  pair_terms(blockIdx.x, g.count, a, b);
  const int64_t row = blockIdx.y;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kWarp) sum += workspace[(row * gridDim.x + blockIdx.x) * blocks + i];
  sum = warp_sum(sum);
  if (threadIdx.x > 0) return;
  g.out[(row * g.count + a) * g.count + b] = sum;
  g.out[(row * g.count + b) * g.count + a] = sum;
}

int64_t change_blocks(const Change& c) { return std::clamp<int64_t>(ceil_div(c.rows, kWarps), 1, kMostSums); }
int64_t gram_blocks(const Gram& g) { return std::clamp<int64_t>(ceil_div(g.size, kThreads * 16), 1, 128); }
int64_t gram_pairs(const Gram& g) { return g.count * (g.count + 1) / 2; }

}  // namespace

int64_t change_workspace(const Change& c) { return change_blocks(c) * kParts; }

Status change(const Change& c, double* workspace, void* stream) {
  if (c.rows < 0 || c.width < 0 || c.stride < 1) return "change: negative sizes, or no stride";
  if (!c.result || !workspace) return "change: no place for the result";
  if (c.rows > 0 && c.width > 0 && (!c.after.data || !c.anchor)) return "change: no stream or no anchor";
  if (c.before.data && c.before.type != c.after.type) return "change: the streams differ in dtype";
  const int64_t blocks = change_blocks(c), kept = ceil_div(c.width, c.stride);
  const Status said = with_type(c.after.type, [&](auto t) {
    return launch(change_kernel<decltype(t)>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, stream, c, kept,
                  workspace);
  });
  return said ? said : launch(verdict_kernel, dim3(1), dim3(kThreads), 0, stream, c, blocks, workspace);
}

int64_t gram_workspace(const Gram& g) { return g.rows * gram_pairs(g) * gram_blocks(g); }

Status gram(const Gram& g, double* workspace, void* stream) {
  if (g.count < 1 || g.count > kMostTerms) return "gram: 1 to 16 terms";
  if (g.rows < 0 || g.size < 0 || g.rows > kMostBlocksYZ) return "gram: too many rows, or a negative size";
  if (g.rows == 0) return nullptr;
  if (!g.out || !workspace) return "gram: no place for the result";
  for (int64_t j = 0; j < g.count; ++j)
    if (!g.terms[j] || g.types[j] != g.types[0]) return "gram: the terms differ in dtype, or one is missing";
  const auto blocks = static_cast<unsigned>(gram_blocks(g)), pairs = static_cast<unsigned>(gram_pairs(g)),
             rows = static_cast<unsigned>(g.rows);
  const Status said = with_type(g.types[0], [&](auto t) {
    return launch(gram_kernel<decltype(t)>, dim3(blocks, pairs, rows), dim3(kThreads), 0, stream, g, workspace);
  });
  return said ? said
              : launch(gram_sum_kernel, dim3(pairs, rows), dim3(kWarp), 0, stream, g, int64_t{blocks}, workspace);
}

}  // namespace cairn::ops::cuda
