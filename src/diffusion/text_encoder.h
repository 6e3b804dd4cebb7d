// Text encoders: token ids to the numbers that condition a denoiser.
#pragma once
#include "tensor/tensor.h"

namespace cairn::diffusion {

struct Encoded {
  Tensor hidden;  // (N, T, width), one vector a token
  Tensor pooled;  // (N, width), one vector a text; undefined when the encoder has none
};

class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  // ids (N, T) int64. Results in the dtype of the weights.
  virtual Encoded encode(const Tensor& ids) const = 0;
  virtual int64_t width() const = 0;
};

}  // namespace cairn::diffusion
