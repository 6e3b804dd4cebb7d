// Operations of convolutional autoencoders. Pictures are (N, height, width, channels), contiguous.
#pragma once
#include "ops/op.h"
#include "ops/weight.h"

namespace cairn::ops {

// A group norm: weight and bias (C), `groups` groups, then SiLU when `silu`.
struct GroupNorm {
  Tensor weight, bias;
  int64_t groups = 32;
  double eps = 1e-6;
  bool silu = false;
  bool defined() const { return weight.defined(); }
};

// How a convolution walks: steps of `stride`, zeros added before and after each spatial dimension.
struct ConvShape {
  int64_t stride = 1, pad_before = 1, pad_after = 1;
};

namespace reference {
Tensor group_norm(const Tensor& x, const GroupNorm& norm, Dtype out);
Tensor norm_conv(const Tensor& x, const GroupNorm& norm, const Weight& w, const ConvShape& shape,
                 const Tensor& residual);
Tensor upsample_conv(const Tensor& x, const Weight& w);
}  // namespace reference

// Group norm over channels and pixels of each picture, then SiLU if asked, in dtype `out`.
inline Op<Tensor(const Tensor& x, const GroupNorm& norm, Dtype out)> group_norm{"group_norm", reference::group_norm};

// conv(silu(group_norm(x))) + residual: norm undefined skips it, residual undefined adds nothing. The weight is
// (out, in, kh, kw); products take inputs in its dtype. The result is fp32 (the residual stream of the autoencoder).
inline Op<Tensor(const Tensor& x, const GroupNorm& norm, const Weight& w, const ConvShape& shape,
                 const Tensor& residual)>
    norm_conv{"norm_conv", reference::norm_conv};

// 3x3 convolution (padding 1) of the picture doubled in height and width by repetition. fp32 result.
inline Op<Tensor(const Tensor& x, const Weight& w)> upsample_conv{"upsample_conv", reference::upsample_conv};

void install_cpu_vision();

}  // namespace cairn::ops
