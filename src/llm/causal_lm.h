// What a language model is to the engine: two const functions over a batch of tokens and a cache of keys and values.
#pragma once
#include <memory>
#include <vector>

#include "ops/paged.h"

namespace cairn::llm {

// Sizes of what a layer keeps for a token: `heads` keys of key_width numbers and as many values of value_width. MLA
// keeps one latent instead, whose first numbers serve as the value: value_width is 0; where a device wants the rope
// part apart, that takes the place of the value.
struct KvShape {
  int64_t layers = 0, heads = 0, key_width = 0, value_width = 0;
};

// The tokens of one step, those of a sequence one after the other.
struct Batch {
  Tensor tokens, positions, slots;  // (T) int64; where in the cache each token's keys go
  std::vector<ops::PagedSequence> sequences{};
  // (T), or empty for none: tokens of sequences that are longer than switch_length().
  std::vector<bool> stretched{};
  // What CausalLm::rotary() gives for it, where the model computes. Empty: the model works it out.
  std::vector<Tensor> rotary{};
  Tensor tables{}, keys{}, first{};  // of ops::Paging, undefined on a processor

  ops::Paging paging() const { return {sequences, tables, keys, first}; }

  int64_t rows() const { return tokens.size(0); }
};

// Keys and values of all layers, in blocks: (blocks + 1, block size, heads, width) each. The last block is nobody's:
// what fills up a step to a captured size writes there. All lie in one tensor (2, layers, …), where keys are as wide as
// values, else in one (layers, …) for each.
class KvCache {
 public:
  KvCache(const KvShape& shape, int64_t blocks, int64_t block_size, Dtype dtype,
          c10::Device device = c10::DeviceType::CPU);

  const Tensor& keys(int64_t layer) const { return keys_[static_cast<size_t>(layer)]; }
  const Tensor& values(int64_t layer) const { return values_[static_cast<size_t>(layer)]; }
  int64_t blocks() const { return blocks_; }
  int64_t block_size() const { return block_size_; }
  static int64_t bytes_per_block(const KvShape& shape, int64_t block_size, Dtype dtype);

 private:
  int64_t blocks_, block_size_;
  std::vector<Tensor> keys_, values_;
};

// Tokens of a block where nobody says: 16, and on an NPU the 128 that its attention over blocks wants for prompts.
inline int64_t default_block_size(c10::Device device) { return device.is_privateuseone() ? 128 : 16; }

class CausalLm {
 public:
  virtual ~CausalLm() = default;

  // Runs the tokens of a step and writes their keys and values: hidden states after the final norm, (T, D), in the
  // dtype of the weights. A token id outside the vocabulary is a Failure.
  virtual Tensor forward(const Batch& batch, const KvCache& cache) const = 0;
  // The cosines and sines of a batch's positions, as forward() reads them, on the host: (2, T, width) fp32 each. A
  // position that the model does not have is a Failure.
  virtual std::vector<Tensor> rotary(const Batch& batch) const = 0;
  // (n, D) -> logits (n, vocabulary) in fp32.
  virtual Tensor logits(const Tensor& hidden) const = 0;

  virtual KvShape kv_shape() const = 0;
  virtual int64_t vocabulary() const = 0;
  virtual int64_t max_positions() const = 0;
  virtual Dtype dtype() const = 0;
  virtual c10::Device device() const { return c10::DeviceType::CPU; }
  // Sequences longer than this must be run with Batch::stretched from their first token on (longrope); 0 where there is
  // no such length.
  virtual int64_t switch_length() const { return 0; }
};

}  // namespace cairn::llm
