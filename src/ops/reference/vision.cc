// What the operations of vision.h mean, in plain tensor code. On fp64 inputs everything is computed in fp64: the oracle
// of the tests.
#include "ops/vision.h"

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/silu.h>

namespace cairn::ops::reference {
namespace {

constexpr Dtype kF64 = c10::ScalarType::Double;

Tensor channels_first(const Tensor& x) { return x.permute({0, 3, 1, 2}); }
Tensor channels_last(const Tensor& x) { return x.permute({0, 2, 3, 1}).contiguous(); }
Dtype wide(Dtype d) { return d == kF64 ? kF64 : kF32; }

// Convolution of an (N, C, H, W) view, in the dtype of the weight.
Tensor convolve(const Tensor& x, const Weight& w, const ConvShape& s) {
  const int64_t a = s.pad_before, b = s.pad_after;
  const Tensor padded = at::constant_pad_nd(x.to(w.dtype()), {a, b, a, b});
  return at::conv2d(padded, w.weight(), w.bias().defined() ? w.bias().to(w.dtype()) : Tensor(), s.stride);
}

}  // namespace

Tensor group_norm(const Tensor& x, const GroupNorm& norm, Dtype out) {
  const Dtype t = wide(x.scalar_type());
  const Tensor y = at::group_norm(channels_first(x.to(t)), norm.groups, norm.weight.to(t), norm.bias.to(t), norm.eps);
  return channels_last((norm.silu ? at::silu(y) : y).to(out));
}

Tensor norm_conv(const Tensor& x, const GroupNorm& norm, const Weight& w, const ConvShape& shape,
                 const Tensor& residual) {
  const Tensor h = norm.defined() ? group_norm(x, norm, w.dtype()) : x;
  const Tensor y = channels_last(convolve(channels_first(h), w, shape)).to(wide(w.dtype()));
  return residual.defined() ? residual + y : y;
}

Tensor upsample_conv(const Tensor& x, const Weight& w) {
  const Tensor doubled = channels_first(x).repeat_interleave(2, 2).repeat_interleave(2, 3);
  return channels_last(convolve(doubled, w, {})).to(wide(w.dtype()));
}

}  // namespace cairn::ops::reference
