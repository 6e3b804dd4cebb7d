#include "ops/cuda/device_code.cuh"
#include "ops/cuda/row_kernels.h"

namespace cairn::ops::cuda {
namespace {

constexpr int kKept = 4;  // chunks of a row that a thread holds

// A block a row. The row is read once and stays in registers.
template <class In, class Out>
__global__ void __launch_bounds__(1024) norm_kernel(Norm n, bool vectors) {
  const int64_t row = blockIdx.x, step = int64_t{blockDim.x} * kChunk, first = int64_t{threadIdx.x} * kChunk;
  const In* x = static_cast<const In*>(n.x.data) + row_start(n.x, row);
  float kept[kKept][kChunk];
  float sum = 0;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const int64_t i = first + k * step, left = n.width - i;
    if (left <= 0) break;
    load8(x + i, left, vectors, kept[k]);
    if (n.add.data) {
      float more[kChunk];
      load8(n.add.data, n.add.type, row_start(n.add, row) + i, left, vectors, more);
#pragma unroll
      for (int j = 0; j < kChunk; ++j) kept[k][j] = to_float(from_float<In>(kept[k][j] + more[j]));
      store8(static_cast<In*>(n.sum) + row * n.width + i, left, vectors, kept[k]);
    }
#pragma unroll
    for (int j = 0; j < kChunk; ++j) sum += n.center ? kept[k][j] : kept[k][j] * kept[k][j];
  }
  const float width = static_cast<float>(n.width);
  float mean = 0, variance = block_sum(sum) / width;
  if (n.center) {
    mean = variance;
    float squares = 0;
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      const int64_t i = first + k * step;
#pragma unroll
      for (int j = 0; j < kChunk; ++j)
        if (i + j < n.width) squares += (kept[k][j] - mean) * (kept[k][j] - mean);
    }
    variance = block_sum(squares) / width;
  }
  const float scale = 1.0f / sqrtf(variance + n.eps);
  const int64_t part = row / n.x.tokens * n.modulation_stride;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const int64_t i = first + k * step, left = n.width - i;
    if (left <= 0) break;
    float factor[kChunk], term[kChunk];
    float* y = kept[k];
#pragma unroll
    for (int j = 0; j < kChunk; ++j) y[j] = (y[j] - mean) * scale;
    if (n.weight.data) {
      load8(n.weight.data, n.weight.type, i, left, vectors, factor);
#pragma unroll
      for (int j = 0; j < kChunk; ++j) y[j] *= factor[j];
    }
    if (n.bias.data) {
      load8(n.bias.data, n.bias.type, i, left, vectors, term);
#pragma unroll
      for (int j = 0; j < kChunk; ++j) y[j] += term[j];
    }
    if (n.scale) {
      load8(n.scale + part + i, left, vectors, factor);
      load8(n.shift + part + i, left, vectors, term);
#pragma unroll
      for (int j = 0; j < kChunk; ++j) y[j] = y[j] * (1.0f + factor[j]) + term[j];
    }
    store8(static_cast<Out*>(n.y) + row * n.width + i, left, vectors, kept[k]);
  }
}

}  // namespace

Status norm(const Norm& n, void* stream) {
  if (n.rows < 0 || n.width < 0 || n.x.tokens < 1) return "norm: negative sizes";
  if (n.rows == 0 || n.width == 0) return nullptr;
  if (n.rows > kMostBlocks) return "norm: too many rows for one launch";
  if (n.width > int64_t{1024} * kKept * kChunk) return "norm: rows wider than 32768 numbers";
  if (!n.x.data || !n.y) return "norm: no input or no output";
  if ((n.scale == nullptr) != (n.shift == nullptr)) return "norm: scale and shift come together";
  if ((n.add.data == nullptr) != (n.sum == nullptr)) return "norm: what is added needs a place for the sum";
  const bool vectors = aligned(n.x) && aligned(n.y) && n.width % kChunk == 0 && aligned(n.weight.data) &&
                       aligned(n.bias.data) && aligned(n.scale) && aligned(n.shift) &&
                       n.modulation_stride % kChunk == 0 && aligned(n.add) && aligned(n.sum);
  const dim3 block(threads_for_width(n.width, kKept));
  return with_type(n.x.type, [&](auto in) {
    return with_type(n.y_type, [&](auto out) {
      return launch(norm_kernel<decltype(in), decltype(out)>, dim3(static_cast<unsigned>(n.rows)), block, 0, stream, n,
                    vectors);
    });
  });
}

}  // namespace cairn::ops::cuda
