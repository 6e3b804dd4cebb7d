// The vocabulary of operations that models are written in. Shapes: N batch, T tokens, D width, H heads, d head width.
// Tensors hold their last dimension contiguously; (N, T, D) views of a longer sequence are fine.
//
// Whole sub-layers are single operations (norm and modulation; projection, head norm and rotary; product, gate and
// residual), because on a CPU a small operation costs more to start and to move than to compute. The reference of
// each is a few lines of plain tensor code in reference/.
//
// Precision: products take their inputs in the dtype of the weight and sum in fp32. `out` names the dtype of a
// result; the residual stream may be wider (fp32) than the products' inputs (bf16).
#pragma once
#include "ops/op.h"
#include "ops/weight.h"

namespace cairn::ops {

enum class Activation { kNone, kGelu, kGeluTanh, kQuickGelu, kSilu };

// One token stream entering joint attention: x (N, T, D) in the dtype of the weights, projections to (N, T, H d), keys
// and values to fewer heads where groups of queries share them, and weights (d) of the RMS norms of queries and keys,
// undefined for none.
struct QkvStream {
  Tensor x;
  const Weight &q, &k, &v;
  Tensor q_norm, k_norm;
};
inline c10::DeviceType device_type_of(at::ArrayRef<QkvStream> s) { return s[0].x.device().type(); }

inline double weight_bytes(const QkvStream& s) { return weight_bytes(s.q) + weight_bytes(s.k) + weight_bytes(s.v); }

// Queries, keys and values, each (N, T, H, d), in the dtype of the streams.
struct Qkv {
  Tensor q, k, v;
};

// Modulation (adaLN: Peebles and Xie, Scalable Diffusion Models with Transformers) is one tensor (N, parts, D), fp32;
// operations name its parts by index.

namespace reference {
Tensor linear(at::TensorList x, const Weight& w, Activation act, Dtype out);
Tensor linear_add(const Tensor& residual, at::TensorList x, const Weight& w, const Tensor& modulation, int64_t gate);
Tensor linear_glu(const Tensor& x, const Weight& gate, const Weight& up, Activation act);
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, Dtype out);
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, Dtype out);
Tensor norm_modulate(const Tensor& x, const Tensor& modulation, int64_t shift, int64_t scale, double eps, Dtype out);
Qkv qkv(at::ArrayRef<QkvStream> streams, const Tensor& rope, int64_t head_dim, double eps);
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal, double scale);
Tensor concat(at::TensorList x);
Tensor embedding(const Tensor& ids, const Tensor& table, Dtype out);
Tensor rope_table(const Tensor& table, Dtype dtype);
}  // namespace reference

// act(concat(x, -1) W^T + b). Each x (N, T, D_i), widths adding up to w.in(); the result (N, T, w.out()) in `out`.
inline Op<Tensor(at::TensorList x, const Weight& w, Activation act, Dtype out)> linear{"linear", reference::linear};

// residual + gate * (concat(x, -1) W^T + b). residual (N, T, w.out()), any float dtype, gives the result's dtype; the
// gate is part `gate` of modulation (N, parts, w.out()) fp32, or 1 when modulation is undefined.
inline Op<Tensor(const Tensor& residual, at::TensorList x, const Weight& w, const Tensor& modulation, int64_t gate)>
    linear_add{"linear_add", reference::linear_add};

// act(x Wg^T) * (x Wu^T), in the dtype of x (gated linear units: Shazeer 2020).
inline Op<Tensor(const Tensor& x, const Weight& gate, const Weight& up, Activation act)> linear_glu{
    "linear_glu", reference::linear_glu};

// Over the last dimension; weight and bias (D) of any float dtype, undefined for none.
inline Op<Tensor(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, Dtype out)> layer_norm{
    "layer_norm", reference::layer_norm};
inline Op<Tensor(const Tensor& x, const Tensor& weight, double eps, Dtype out)> rms_norm{"rms_norm",
                                                                                         reference::rms_norm};

// layer_norm(x) * (1 + scale) + shift, with shift and scale parts of modulation (N, parts, D) fp32. x (N, T, D).
inline Op<Tensor(const Tensor& x, const Tensor& modulation, int64_t shift, int64_t scale, double eps, Dtype out)>
    norm_modulate{"norm_modulate", reference::norm_modulate};

// A table of cosines and sines (2, T, d) as qkv of the same device takes it, for heads of that dtype: worked out once a
// step instead of once a layer.
inline Op<Tensor(const Tensor& table, Dtype dtype)> rope_table{"rope_table", reference::rope_table};

// Projects each stream to heads, RMS-norms and rotates queries and keys, and joins the streams' tokens in order.
// rope: rope_table's of (2, T, d) fp32 for the joint T tokens, cosines then sines with the sign of even positions
// turned, so that rotating x is x * cos + swap_pairs(x) * sin (adjacent pairs, RoFormer); undefined for none.
inline Op<Qkv(at::ArrayRef<QkvStream> streams, const Tensor& rope, int64_t head_dim, double eps)> qkv{"qkv",
                                                                                                      reference::qkv};

// softmax(scale q k^T + bias) v. q (N, T, H, d), k and v (N, S, H, d); the result (N, T, H d) in the dtype of q.
// bias: fp32, broadcastable to (N, H, T, S), undefined for none. causal: query t sees keys up to t.
inline Op<Tensor(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal, double scale)>
    attention{"attention", reference::attention};

// Token sequences (N, T_i, D) one after the other: (N, sum T_i, D).
inline Op<Tensor(at::TensorList x)> concat{"concat", reference::concat};

// Rows of a table (rows, D) by ids (T) int64, each below `rows`: (T, D).
inline Op<Tensor(const Tensor& ids, const Tensor& table, Dtype out)> embedding{"embedding", reference::embedding};

// Installs the kernels of the processor at hand (chosen by its instruction set). Idempotent, cheap.
void install_cpu();

}  // namespace cairn::ops
