// The operations of the vocabulary on CUDA devices: libtorch's matrix products and convolutions with kernels of our own
// around them.
#pragma once
#include "ops/cache.h"
#include "ops/ops.h"
#include "ops/paged.h"
#include "ops/sampling.h"
#include "ops/vision.h"

namespace cairn::ops::cuda {

Tensor linear(at::TensorList x, const Weight& w, Activation act, Dtype out);
Tensor linear_add(const Tensor& residual, at::TensorList x, const Weight& w, const Tensor& modulation, int64_t gate);
Tensor linear_glu(const Tensor& x, const Weight& gate, const Weight& up, Activation act);
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, Dtype out);
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, Dtype out);
Tensor norm_modulate(const Tensor& x, const Tensor& modulation, int64_t shift, int64_t scale, double eps, Dtype out);
Qkv qkv(at::ArrayRef<QkvStream> streams, const Tensor& rope, int64_t head_dim, double eps);
Tensor concat(at::TensorList x);
Tensor embedding(const Tensor& ids, const Tensor& table, Dtype out);

void write_kv(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache, const Tensor& slots);
Tensor paged_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Paging& paging,
                       const AttentionRule& rule);

ops::Change change(const Tensor& after, const Tensor& before, const Tensor& anchor, int64_t stride, double important);
void residual(const Tensor& after, const Tensor& before, int64_t stride, Tensor& out);
void taylor_update(const Tensor& after, const Tensor& before, at::TensorList ladder, double gap);
Tensor weighted_sum(at::TensorList terms, const Tensor& base, const std::vector<double>& weights);
std::vector<double> gram(at::TensorList terms);

std::vector<Sampled> sample(const Tensor& logits, const Sampling& how);

Tensor group_norm(const Tensor& x, const GroupNorm& norm, Dtype out);
Tensor norm_conv(const Tensor& x, const GroupNorm& norm, const Weight& w, const ConvShape& shape,
                 const Tensor& residual);

}  // namespace cairn::ops::cuda
