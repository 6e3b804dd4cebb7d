// The meaning of every operation of ops.h, in plain tensor code that runs on any device.
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>

#include "ops/ops.h"

namespace cairn::ops::reference {
namespace {

Tensor joined(at::TensorList x) { return x.size() == 1 ? x[0] : at::cat(x, -1); }

Tensor activate(const Tensor& y, Activation act) {
  switch (act) {
    case Activation::kNone:
      return y;
    case Activation::kGelu:
      return at::gelu(y);
    case Activation::kGeluTanh:
      return at::gelu(y, "tanh");
    case Activation::kQuickGelu:
      return y * at::sigmoid(y * 1.702);
    case Activation::kSilu:
      return at::silu(y);
  }
  return y;
}

// Norms and sums happen in fp32 (fp64 inputs stay fp64, for conformance tests).
Tensor wide(const Tensor& x) { return x.scalar_type() == Dtype::Double ? x : x.to(kF32); }

Tensor product(const Tensor& x, const Weight& w) { return at::linear(x.to(w.dtype()), w.weight(), w.bias()); }

// Adjacent pairs exchanged: (a, b, c, d) -> (b, a, d, c).
Tensor swap_pairs(const Tensor& x) {
  const Tensor pairs = x.unflatten(-1, {-1, 2});
  return at::stack({pairs.select(-1, 1), pairs.select(-1, 0)}, -1).flatten(-2);
}

}  // namespace

Tensor linear(at::TensorList x, const Weight& w, Activation act, Dtype out) {
  return activate(product(joined(x), w), act).to(out);
}

Tensor linear_add(const Tensor& residual, at::TensorList x, const Weight& w, const Tensor& modulation, int64_t gate) {
  const Tensor y = wide(product(joined(x), w));
  const Tensor gated = modulation.defined() ? modulation.narrow(1, gate, 1) * y : y;
  return (wide(residual) + gated).to(residual.scalar_type());
}

Tensor linear_glu(const Tensor& x, const Weight& gate, const Weight& up, Activation act) {
  return (activate(product(x, gate), act) * product(x, up)).to(x.scalar_type());
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, Dtype out) {
  const Tensor h = wide(x);
  const auto as = [&](const Tensor& t) { return t.defined() ? t.to(h.scalar_type()) : t; };
  return at::layer_norm(h, {x.size(-1)}, as(weight), as(bias), eps).to(out);
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, Dtype out) {
  const Tensor h = wide(x);
  const Tensor y = h * at::rsqrt(h.pow(2).mean(-1, true) + eps);
  return (weight.defined() ? y * weight.to(h.scalar_type()) : y).to(out);
}

Tensor norm_modulate(const Tensor& x, const Tensor& modulation, int64_t shift, int64_t scale, double eps, Dtype out) {
  const Tensor y = layer_norm(x, {}, {}, eps, modulation.scalar_type());
  return (y * (modulation.narrow(1, scale, 1) + 1.0) + modulation.narrow(1, shift, 1)).to(out);
}

Qkv qkv(at::ArrayRef<QkvStream> streams, const Tensor& rope, int64_t head_dim, double eps) {
  std::vector<Tensor> q, k, v;
  for (const QkvStream& s : streams) {
    const auto heads = [&](const Weight& w) { return product(s.x, w).unflatten(-1, {-1, head_dim}); };
    const auto normed = [&](const Tensor& y, const Tensor& norm) {
      return norm.defined() ? rms_norm(y, norm, eps, rope.defined() ? wide(y).scalar_type() : y.scalar_type()) : y;
    };
    q.push_back(normed(heads(s.q), s.q_norm));
    k.push_back(normed(heads(s.k), s.k_norm));
    v.push_back(heads(s.v));
  }
  const auto rotated = [&](const std::vector<Tensor>& parts) {
    const Tensor x = at::cat(parts, 1);
    if (!rope.defined()) return x;
    const Tensor table = rope.unsqueeze(2);  // (2, T, 1, d)
    return (wide(x) * table[0] + swap_pairs(wide(x)) * table[1]).to(streams[0].x.scalar_type());
  };
  return {rotated(q), rotated(k), at::cat(v, 1)};
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal, double scale) {
  const auto heads_first = [](const Tensor& t) { return t.transpose(1, 2); };
  std::optional<Tensor> mask;
  if (bias.defined()) mask = bias.to(q.scalar_type());
  const Tensor y =
      at::scaled_dot_product_attention(heads_first(q), heads_first(k), heads_first(v), mask, 0.0, causal, scale);
  return y.transpose(1, 2).flatten(2);
}

Tensor embedding(const Tensor& ids, const Tensor& table, Dtype out) { return table.index_select(0, ids).to(out); }

Tensor rope_table(const Tensor& table, Dtype) { return table; }

Tensor concat(at::TensorList x) { return at::cat(x, 1); }

}  // namespace cairn::ops::reference
