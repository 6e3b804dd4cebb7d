#include "ops/cuda/cuda.h"
#include "ops/cuda/tensors.h"

namespace cairn::ops::cuda {

Tensor group_norm(const Tensor& x, const GroupNorm& norm, Dtype out) {
  const auto from = type_of(x.scalar_type()), to = type_of(out);
  const auto weight = vector_of(norm.weight), bias = vector_of(norm.bias);
  if (!from || !to || !weight || !bias || !weight->data || !bias->data || x.dim() != 4 || !x.is_contiguous())
    return reference::group_norm(x, norm, out);
  Tensor y = made(x, x.sizes(), out);
  const GroupNormRows g{.x = x.const_data_ptr(),
                        .x_type = *from,
                        .y = y.data_ptr(),
                        .y_type = *to,
                        .pictures = x.size(0),
                        .pixels = x.size(1) * x.size(2),
                        .channels = x.size(3),
                        .groups = norm.groups,
                        .weight = *weight,
                        .bias = *bias,
                        .eps = static_cast<float>(norm.eps),
                        .silu = norm.silu};
  if (y.numel() == 0) return y;
  Tensor sums = workspace(x, group_norm_workspace(g), Dtype::Double);
  launched(group_norm(g, sums.data_ptr<double>(), stream_of(x)));
  return y;
}

// The convolution is libtorch's: a picture whose channels lie last is what cuDNN calls NHWC.
Tensor norm_conv(const Tensor& x, const GroupNorm& norm, const Weight& w, const ConvShape& shape,
                 const Tensor& residual) {
  const Tensor h = norm.defined() ? group_norm(x, norm, w.dtype()) : x;
  return reference::norm_conv(h, {}, w, shape, residual);
}

}  // namespace cairn::ops::cuda
