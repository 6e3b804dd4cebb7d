#include "device/device.h"
#include "llm/causal_lm.h"

namespace cairn::llm {

KvCache::KvCache(const KvShape& s, int64_t blocks, int64_t block_size, Dtype dtype, c10::Device device)
    : blocks_(blocks), block_size_(block_size) {
  const auto of_width = [&](int64_t parts, int64_t width) {
    return lazy_zeros({parts, s.layers, blocks + 1, block_size, s.heads, width}, dtype, device);
  };
  const bool alike = s.key_width == s.value_width;
  const Tensor first = of_width(alike ? 2 : 1, s.key_width);
  const Tensor keys = first[0], values = alike ? first[1] : s.value_width ? of_width(1, s.value_width)[0] : keys;
  for (int64_t i = 0; i < s.layers; ++i) {
    keys_.push_back(keys[i]);
    values_.push_back(values[i]);
  }
  device::synchronize(device);  // zeros are there before the first step, on another stream, writes among them
}

int64_t KvCache::bytes_per_block(const KvShape& s, int64_t block_size, Dtype dtype) {
  return s.layers * block_size * s.heads * (s.key_width + s.value_width) *
         static_cast<int64_t>(c10::elementSize(dtype));
}

}  // namespace cairn::llm
