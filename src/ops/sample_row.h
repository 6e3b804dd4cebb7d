// How one token is chosen; for ops/sampling.h, for the sampler of processors and for kernels, which know no tensors.
#pragma once
#include <cstdint>

namespace cairn::ops {

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

  // All by likelihood, from the likeliest on, else in order of ids.
  bool cuts() const { return top_k >= 0 || top_p < 1 || min_p > 0; }
};

struct Sampled {
  static constexpr int32_t kChosen = 0, kNoneMayFollow = 1, kNotNumbers = 2;
  int32_t token = 0, state = 0;
  float logprob = 0;  // after temperature; of a greedy choice at temperature 1
};

}  // namespace cairn::ops
