#include "ops/cuda/device_code.cuh"
#include "ops/cuda/row_kernels.h"

namespace cairn::ops::cuda {
namespace {

constexpr int kHeadsABlock = 4;

// A warp a head of a token, whose lanes hold eight numbers each: pairs that rotate together never leave a lane.
template <class In, class Out>
__global__ void __launch_bounds__(kHeadsABlock* kWarp) heads_kernel(Heads h, int64_t all_heads, bool vectors) {
  const int64_t place = int64_t{blockIdx.x} * kHeadsABlock + threadIdx.x / kWarp;
  if (place >= h.batch * h.tokens * all_heads) return;  // the whole warp
  const int64_t row = place / all_heads;
  int64_t head = place % all_heads;
  int which = 0;
  while (head >= h.parts[which].heads) head -= h.parts[which++].heads;
  const HeadPart part = h.parts[which];
  const int64_t i = threadIdx.x % kWarp * kChunk, left = h.d - i;
  float x[kChunk];
  load8(static_cast<const In*>(part.x.data) + row_start(part.x, row) + head * h.d + i, left, vectors, x);
  if (part.normed) {
    float squares = 0;
#pragma unroll
    for (int j = 0; j < kChunk; ++j) squares += x[j] * x[j];
    const float scale = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(h.d) + h.eps);
    float weight[kChunk];
    load8(part.weight.data, part.weight.type, i, left, vectors, weight);
#pragma unroll
    for (int j = 0; j < kChunk; ++j) x[j] *= scale * weight[j];
  }
  const int64_t token = row % h.tokens + h.offset;
  if (part.rotated) {
    float cosines[kChunk], sines[kChunk];
    load8(h.rope + token * h.d + i, left, vectors, cosines);
    load8(h.rope + (h.all_tokens + token) * h.d + i, left, vectors, sines);
#pragma unroll
    for (int j = 0; j < kChunk; j += 2) {
      const float even = x[j] * cosines[j] + x[j + 1] * sines[j];
      x[j + 1] = x[j + 1] * cosines[j + 1] + x[j] * sines[j + 1];
      x[j] = even;
    }
  }
  const int64_t to = ((row / h.tokens * h.all_tokens + token) * part.heads + head) * h.d + i;
  store8(static_cast<Out*>(part.out) + to, left, vectors, x);
}

}  // namespace

Status heads(const Heads& h, void* stream) {
  if (h.count < 1 || h.count > 3) return "heads: one to three parts";
  if (h.d < 1 || h.d > kWarp * kChunk) return "heads: a head has 1 to 256 numbers";
  if (h.batch < 0 || h.tokens < 0 || h.offset < 0 || h.offset + h.tokens > h.all_tokens)
    return "heads: the stream does not fit into the joint sequence";
  int64_t all_heads = 0;
  bool vectors = h.d % kChunk == 0 && aligned(h.rope);
  for (int64_t p = 0; p < h.count; ++p) {
    const HeadPart& part = h.parts[p];
    if (!part.x.data || !part.out || part.heads < 1) return "heads: a part without input, output or heads";
    if (part.normed && !part.weight.data) return "heads: a norm needs its weight";
    if (part.rotated && (!h.rope || h.d % 2)) return "heads: rotating needs a table and pairs";
    if (part.x.type != h.parts[0].x.type) return "heads: the parts differ in dtype";
    all_heads += part.heads;
    vectors = vectors && aligned(part.x) && aligned(part.out) && aligned(part.weight.data);
  }
  const int64_t blocks = ceil_div(h.batch * h.tokens * all_heads, kHeadsABlock);
  if (blocks == 0) return nullptr;
  if (blocks > kMostBlocks) return "heads: too many tokens for one launch";
  return with_type(h.parts[0].x.type, [&](auto in) {
    return with_type(h.out, [&](auto out) {
      return launch(heads_kernel<decltype(in), decltype(out)>, dim3(static_cast<unsigned>(blocks)),
                    dim3(kHeadsABlock * kWarp), 0, stream, h, all_heads, vectors);
    });
  });
}

}  // namespace cairn::ops::cuda
