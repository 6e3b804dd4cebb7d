// What the kernel of paged attention takes: plain structs of pointers, sizes and strides (in elements), no tensors.
#pragma once
#include "ops/cpu/kernels.h"
#include "ops/paged_sequence.h"

namespace cairn::ops::cpu {

// Causal attention of queries over blocks of keys and values; see ops/paged.h. `share` queries a key head.
struct PagedAttention {
  struct Cache {
    const void* data;
    int64_t block, token, head;
  };
  Cache k, v;
  const void* q;
  int64_t q_token, q_head;
  void* out;  // (tokens, heads * value_width), contiguous
  Type type;
  int64_t groups, share, key_width, value_width, block_size;
  const PagedSequence* spans;
  int64_t count;
  float scale, softcap;
  int64_t window;
};

}  // namespace cairn::ops::cpu
