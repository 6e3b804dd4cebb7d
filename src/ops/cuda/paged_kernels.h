// Launchers of kernels over keys and values that live in blocks. Where a number of a cache lies: cache.data +
// block * block_stride + offset * row_stride + group * group_stride, all in elements; a group's numbers are contiguous.
// All pointers are the device's, `stream` is a cudaStream_t.
#pragma once
#include "ops/cuda/kernel.h"

namespace cairn::ops::cuda {

struct Cache {
  void* data = nullptr;
  Type type = Type::f32;
  int64_t blocks = 0, block_size = 0, groups = 0, width = 0;
  int64_t block_stride = 0, row_stride = 0, group_stride = 0;
};
// A cache (blocks, block size, groups, width) without gaps.
inline Cache plain_cache(void* data, Type type, int64_t blocks, int64_t block_size, int64_t groups, int64_t width) {
  return {data, type, blocks, block_size, groups, width, block_size * groups * width, groups * width, width};
}

// Rows of groups * width numbers to the places `slots` (tokens), block * block_size + offset. A token whose slot is
// none of the cache's is left out: graphs pad steps with -1.
Status write_cache(const Rows& rows, int64_t tokens, const Cache& to, const int64_t* slots, void* stream);

// The sequences of a step: rows [first_row[s], first_row[s + 1]) of it are the last tokens of sequence s, which has
// keys[s] tokens in all, those included, in the blocks of row s of `tables`. Nothing is read of a table beyond them.
// Sequences without rows cost next to nothing, so a graph may be wider than the step.
struct PagedBatch {
  int64_t count = 0, most_rows = 0, most_keys = 0;  // the host's bounds for all of them
  const int32_t* tables = nullptr;                  // (count, table_width)
  int64_t table_width = 0;
  const int32_t* keys = nullptr;       // (count)
  const int32_t* first_row = nullptr;  // (count + 1)
};

// Causal attention of q (rows, heads, d) over k and v: head h reads group h / (heads / groups); out (rows, heads, e) in
// the dtype of q, which is that of the caches. window: how many tokens a token sees, itself included; 0 is all.
// softcap: scores s become softcap * tanh(s / softcap) (Gemma 2). d and e at most 1024. v may be a view of k's first
// numbers (multi-head latent attention, DeepSeek-V2): what is read twice comes from the cache of the processor.
struct Paged {
  Rows q{};  // a token's heads lie together: heads * d numbers
  int64_t rows = 0, heads = 0;
  Cache k{}, v{};
  PagedBatch batch{};
  float scale = 1, softcap = 0;
  int64_t window = 0;
  void* out = nullptr;
};
// Online softmax in fp32 (Milakov and Gimelshein 2018). Sequences of few rows are split over pieces of keys, whose
// results are merged in a second kernel (Flash-Decoding, Dao et al. 2023); where the pieces end depends on nothing but
// the place of a key, so that a row's sum is the same in any company. Others go through tensor cores in tiles
// (FlashAttention-2, Dao 2023) where the dtype and the sizes allow it, the heads of a group as rows of one tile.
// workspace: as many floats as paged_workspace says.
int64_t paged_workspace(const Paged& p);
Status paged_attention(const Paged& p, float* workspace, void* stream);

}  // namespace cairn::ops::cuda
