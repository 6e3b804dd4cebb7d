// The launcher of the kernel that chooses tokens. It does what llm::Sampler does, in the same order, and chooses the
// same token for the same uniform number, but for what rounding moves: the sampler sums weights in fp64, the kernel in
// whole multiples of 2^-44 of the highest weight (so that no order of threads changes a sum). A token of less weight
// than that is never drawn here; one of the sampler's draws in some 10^7 falls so near a border that it may go either
// way.
#pragma once
#include "ops/cuda/kernel.h"
#include "ops/sample_row.h"

namespace cairn::ops::cuda {

struct SamplingLaunch {
  float* logits = nullptr;  // (count, vocabulary), row_stride apart; penalties and masks are written into them
  int64_t count = 0, vocabulary = 0, row_stride = 0;  // vocabulary below 2^19
  const SampleRow* rows = nullptr;                    // (count)
  const Touch* touches = nullptr;
  const uint32_t* allowed = nullptr;  // masks, a bit a token, allowed_words a row; missing words allow nothing
  int64_t allowed_words = 0;
  Sampled* out = nullptr;  // (count)
};
// A block a row. No sort: the border of top-k and top-p and the drawn token are found by their digits, eight bits of
// the logit at a time, in histograms of counts and weights (radix selection).
Status sample(const SamplingLaunch& s, void* stream);

}  // namespace cairn::ops::cuda
