// The launcher of the kernel that chooses tokens. It does what llm::Sampler does, in the same order, and chooses the
// same token for the same uniform number, but for what rounding moves: the sampler sums weights in fp64, the kernel in
// whole multiples of 2^-44 of the highest weight (so that no order of threads changes a sum). A token of less weight
// than that is never drawn here; one of the sampler's draws in some 10^7 falls so near a border that it may go either
// way.
#pragma once
#include "ops/cuda/kernel.h"

namespace cairn::ops::cuda {

// What is done to the logit of one token of a row before anything else: `bias` is added; for `count` generations
// frequency * count + presence is subtracted; banned makes it -infinity; repeated weakens it by the repetition penalty.
// A token occurs once a row at most.
struct Touch {
  static constexpr uint32_t kBanned = 1, kRepeated = 2;
  int32_t token = 0, count = 0;
  float bias = 0;
  uint32_t flags = 0;
};

// How a row's token is chosen. top_k below 0 and top_p of 1 or more are off, min_p of 0 is.
struct SampleRow {
  double uniform = 0;  // in [0, 1), of the request's seed and the token's number
  double temperature = 1, top_p = 1, min_p = 0, frequency = 0, presence = 0, repetition = 1;
  int64_t top_k = -1;
  int32_t first_touch = 0, touches = 0;
  int32_t allowed = -1;  // the row of its mask, or -1 where everything is
  int32_t greedy = 0;    // takes the likeliest, the first of equals
};

struct Sampled {
  static constexpr int32_t kChosen = 0, kNoneMayFollow = 1, kNotNumbers = 2;
  int32_t token = 0, state = 0;
  float logprob = 0;  // after temperature; of a greedy choice at temperature 1
};

struct Sampling {
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
Status sample(const Sampling& s, void* stream);

}  // namespace cairn::ops::cuda
