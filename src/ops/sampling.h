// Choosing tokens where their logits are.
#pragma once
#include <vector>

#include "ops/op.h"
#include "ops/sample_row.h"

namespace cairn::ops {

struct Sampling {
  std::vector<SampleRow> rows{};
  std::vector<Touch> touches{};
  std::vector<uint32_t> allowed{};  // masks, a bit a token, allowed_words a row; missing words allow nothing
  int64_t allowed_words = 0;
};

namespace reference {
std::vector<Sampled> sample(const Tensor& logits, const Sampling& how);
}  // namespace reference

// A token for each row of logits (rows, vocabulary), fp32, into which penalties and masks are written. Waits for it.
// It does what llm::Sampler does, in the same order, and chooses the same token for the same uniform number but where
// rounding moves a border across that.
inline Op<std::vector<Sampled>(const Tensor& logits, const Sampling& how)> sample{"sample", reference::sample};

}  // namespace cairn::ops
