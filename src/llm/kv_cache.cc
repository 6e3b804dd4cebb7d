#include "llm/causal_lm.h"

namespace cairn::llm {

KvCache::KvCache(const KvShape& s, int64_t blocks, int64_t block_size, Dtype dtype, c10::Device device)
    : blocks_(blocks), block_size_(block_size) {
  for (int64_t i = 0; i < s.layers; ++i) {
    keys_.push_back(lazy_zeros({blocks + 1, block_size, s.heads, s.key_width}, dtype, device));
    values_.push_back(s.value_width ? lazy_zeros({blocks + 1, block_size, s.heads, s.value_width}, dtype, device)
                                    : keys_.back());
  }
}

int64_t KvCache::bytes_per_block(const KvShape& s, int64_t block_size, Dtype dtype) {
  return s.layers * block_size * s.heads * (s.key_width + s.value_width) *
         static_cast<int64_t>(c10::elementSize(dtype));
}

}  // namespace cairn::llm
