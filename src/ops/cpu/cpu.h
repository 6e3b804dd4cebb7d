// The operations of ops.h on the processor; install_cpu() gives them to the vocabulary.
#pragma once
#include "ops/ops.h"

namespace cairn::ops::cpu {

Tensor linear(at::TensorList x, const Weight& w, Activation act, Dtype out);
Tensor linear_add(const Tensor& residual, at::TensorList x, const Weight& w, const Tensor& modulation, int64_t gate);
Tensor linear_glu(const Tensor& x, const Weight& gate, const Weight& up, Activation act);
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, Dtype out);
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, Dtype out);
Tensor norm_modulate(const Tensor& x, const Tensor& modulation, int64_t shift, int64_t scale, double eps, Dtype out);
Qkv qkv(at::ArrayRef<QkvStream> streams, const Tensor& rope, int64_t head_dim, double eps);
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal, double scale);
Tensor embedding(const Tensor& ids, const Tensor& table, Dtype out);

}  // namespace cairn::ops::cpu
