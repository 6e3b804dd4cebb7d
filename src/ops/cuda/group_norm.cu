// Group norm in three steps: sums of pieces of a picture, their mean and deviation, and a pass over the numbers.
#include <algorithm>

#include "ops/cuda/device_code.cuh"
#include "ops/cuda/row_kernels.h"

namespace cairn::ops::cuda {
namespace {

constexpr int64_t kPixels = 256, kMostPieces = 256;  // pixels of a piece at least; pieces of a picture at most
constexpr int kThreads = 128;

// Pieces and pixels of each.
struct Pieces {
  int64_t count, pixels;
};
Pieces pieces_of(const GroupNormRows& g) {
  const int64_t pixels = std::max(kPixels, ceil_div(g.pixels, kMostPieces));
  return {ceil_div(g.pixels, pixels), pixels};
}

// Sums of x - pivot and of its square, the pivot being the group's first number: large means cost no precision.
template <class T>
__global__ void __launch_bounds__(kThreads) sums_kernel(GroupNormRows g, Pieces pieces, double* partial) {
  const int64_t group = blockIdx.x, piece = blockIdx.y, picture = blockIdx.z, each = g.channels / g.groups;
  const T* x = static_cast<const T*>(g.x) + picture * g.pixels * g.channels + group * each;
  const int64_t first = piece * pieces.pixels;
  const int64_t count = (first + pieces.pixels < g.pixels ? pieces.pixels : g.pixels - first) * each;
  const float pivot = to_float(x[0]);
  double sum = 0, squares = 0;
  for (int64_t i = threadIdx.x; i < count;) {
    float s = 0, q = 0;
    for (int n = 0; n < 16 && i < count; ++n, i += kThreads) {  // some in fp32, then in fp64
      const float y = to_float(x[(first + i / each) * g.channels + i % each]) - pivot;
      s += y;
      q += y * y;
    }
    sum += s, squares += q;
  }
  sum = block_sum(sum), squares = block_sum(squares);
  if (threadIdx.x > 0) return;
  double* to = partial + ((picture * g.groups + group) * pieces.count + piece) * 2;
  to[0] = sum, to[1] = squares;
}

// A warp a group of a picture.
template <class T>
__global__ void moments_kernel(GroupNormRows g, Pieces pieces, const double* partial, float* moments) {
  const int64_t place = blockIdx.x, picture = place / g.groups, group = place % g.groups, each = g.channels / g.groups;
  double sum = 0, squares = 0;
  for (int64_t i = threadIdx.x; i < pieces.count; i += kWarp) {
    sum += partial[(place * pieces.count + i) * 2];
    squares += partial[(place * pieces.count + i) * 2 + 1];
  }
  sum = warp_sum(sum), squares = warp_sum(squares);
  if (threadIdx.x > 0) return;
  const double count = static_cast<double>(g.pixels * each), mean = sum / count;
  const double pivot = to_float(static_cast<const T*>(g.x)[picture * g.pixels * g.channels + group * each]);
  const double variance = squares / count - mean * mean;
  moments[place * 2] = static_cast<float>(pivot + mean);
  moments[place * 2 + 1] = static_cast<float>(1.0 / sqrt((variance > 0 ? variance : 0) + double{g.eps}));
}

template <class In, class Out>
__global__ void __launch_bounds__(256) apply_kernel(GroupNormRows g, const float* moments, bool vectors) {
  const int64_t each = g.channels / g.groups, rows = g.pictures * g.pixels;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x)
    for (int64_t i = int64_t{threadIdx.x} * kChunk; i < g.channels; i += int64_t{blockDim.x} * kChunk) {
      const int64_t left = g.channels - i;
      float x[kChunk], weight[kChunk], bias[kChunk];
      load8(static_cast<const In*>(g.x) + row * g.channels + i, left, vectors, x);
      load8(g.weight.data, g.weight.type, i, left, vectors, weight);
      load8(g.bias.data, g.bias.type, i, left, vectors, bias);
      const float* of = moments + row / g.pixels * g.groups * 2;
#pragma unroll
      for (int j = 0; j < kChunk; ++j) {
        if (j >= left) continue;
        const int64_t group = static_cast<int>(i + j) / static_cast<int>(each);
        const float y = (x[j] - of[group * 2]) * of[group * 2 + 1] * weight[j] + bias[j];
        x[j] = g.silu ? activated(y, Act::silu) : y;
      }
      store8(static_cast<Out*>(g.y) + row * g.channels + i, left, vectors, x);
    }
}

}  // namespace

int64_t group_norm_workspace(const GroupNormRows& g) {
  return g.pictures * g.groups * (pieces_of(g).count * 2 + 1);  // two floats beside the sums
}

Status group_norm(const GroupNormRows& g, double* workspace, void* stream) {
  if (g.pictures < 0 || g.pixels < 0 || g.channels < 1 || g.channels > kMostBlocks || g.groups < 1 ||
      g.channels % g.groups)
    return "group_norm: channels are a multiple of the groups";
  if (g.pictures == 0 || g.pixels == 0) return nullptr;
  if (!g.x || !g.y || !g.weight.data || !g.bias.data || !workspace) return "group_norm: a pointer is missing";
  const Pieces pieces = pieces_of(g);
  const int64_t places = g.pictures * g.groups;
  if (places > kMostBlocks || g.pictures > kMostBlocksYZ) return "group_norm: too many pictures for one launch";
  auto* moments = reinterpret_cast<float*>(workspace + places * pieces.count * 2);
  const bool vectors =
      aligned(g.x) && aligned(g.y) && aligned(g.weight.data) && aligned(g.bias.data) && g.channels % kChunk == 0;
  const dim3 grid(static_cast<unsigned>(g.groups), static_cast<unsigned>(pieces.count),
                  static_cast<unsigned>(g.pictures));
  return with_type(g.x_type, [&](auto in) -> Status {
    using In = decltype(in);
    if (const Status said = launch(sums_kernel<In>, grid, dim3(kThreads), 0, stream, g, pieces, workspace)) return said;
    if (const Status said = launch(moments_kernel<In>, dim3(static_cast<unsigned>(places)), dim3(kWarp), 0, stream, g,
                                   pieces, workspace, moments))
      return said;
    const dim3 rows(static_cast<unsigned>(std::min<int64_t>(g.pictures * g.pixels, 1 << 20)));
    return with_type(g.y_type, [&](auto out) {
      return launch(apply_kernel<In, decltype(out)>, rows, dim3(threads_for_width(g.channels, 1, 256)), 0, stream, g,
                    moments, vectors);
    });
  });
}

}  // namespace cairn::ops::cuda
