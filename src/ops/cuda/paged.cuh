// What the kernels of paged attention share.
#pragma once
#include "ops/cuda/device_code.cuh"
#include "ops/cuda/paged_kernels.h"

namespace cairn::ops::cuda {

// Keys of one piece of a split sequence, and rows of a sequence up to which it is split.
inline constexpr int64_t kPiece = 256, kFewRows = 4;

// Where the numbers of a key (or value) of a group begin.
template <class T>
__device__ inline const T* cached(const Cache& c, const int32_t* table, int64_t key, int64_t group) {
  const int64_t block = table[key / c.block_size], offset = key % c.block_size;
  return static_cast<const T*>(c.data) + block * c.block_stride + offset * c.row_stride + group * c.group_stride;
}

// The keys that a token at `position` sees: [first, position].
__device__ inline int64_t first_seen(const Paged& p, int64_t position) {
  return p.window > 0 && position >= p.window ? position - p.window + 1 : 0;
}

__device__ inline float scored(const Paged& p, float product) {
  const float s = product * p.scale;
  return p.softcap > 0 ? p.softcap * tanhf(s / p.softcap) : s;
}

inline bool aligned(const Cache& c) {
  return aligned(c.data) && c.block_stride % kChunk == 0 && c.row_stride % kChunk == 0 && c.group_stride % kChunk == 0;
}

// The two ways; paged_attention chooses between them. They do sequences of more than `over` rows and at most `few`.
Status paged_few(const Paged& p, int64_t over, int64_t few, int64_t pieces, float* workspace, void* stream);
bool can_tile(const Paged& p);
Status paged_tiled(const Paged& p, int64_t over, void* stream);

}  // namespace cairn::ops::cuda
