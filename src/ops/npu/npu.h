// The operations for Ascend NPUs: torch_npu's fused operators where they take what is asked for, else the references.
#pragma once
#include "ops/paged.h"

namespace cairn::ops::npu {

Tensor linear(at::TensorList x, const Weight& w, Activation act, Dtype out);
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, Dtype out);
Tensor linear_glu(const Tensor& x, const Weight& gate, const Weight& up, Activation act);
// Cosines, then sines of one sign, in the dtype of the heads: (2, 1, T, 1, d).
Tensor rope_table(const Tensor& table, Dtype dtype);
Qkv qkv(at::ArrayRef<QkvStream> streams, const Tensor& rope, int64_t head_dim, double eps);
// By npu_fused_infer_attention_score and by npu_fusion_attention, where `takes` and there is no mask.
bool attention_takes(const Tensor& q, const Tensor& k);
Tensor infer_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal,
                       double scale);
Tensor fusion_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal,
                        double scale);
void write_kv(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache, const Tensor& slots);
Tensor paged_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Paging& paging,
                       const AttentionRule& rule);
Tensor split_latent_attention(const Tensor& q, const Tensor& q_rope, const Tensor& latents, const Tensor& ropes,
                              const Paging& paging, const AttentionRule& rule);
Routed route(const Tensor& logits, const Tensor& correction, const RouteRule& rule);
Tensor experts(const Tensor& x, const Tensor& chosen, const Tensor& weights, at::ArrayRef<Expert> list, Activation act);

}  // namespace cairn::ops::npu
