// Norms, gated products and projections to heads.
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>

#include "ops/npu/npu.h"
#include "ops/npu/operator.h"

namespace cairn::ops::npu {
namespace {

bool is_half(const Tensor& t) { return t.scalar_type() == kBF16 || t.scalar_type() == kF16; }

// Weights that lie one behind the other as the one that they are: the rows of all (nn::adjoin put them there).
Tensor together(std::initializer_list<const Weight*> weights) {
  const Weight& first = **weights.begin();
  const char* end = static_cast<const char*>(first.weight().const_data_ptr());
  int64_t rows = 0;
  for (const Weight* w : weights) {
    if (w->bias().defined() || !w->weight().is_contiguous() || w->weight().const_data_ptr() != end) return {};
    end += w->weight().nbytes();
    rows += w->out();
  }
  if (!(*(weights.end() - 1))->weight().is_alias_of(first.weight())) return {};
  return first.weight().as_strided({rows, first.in()}, {first.in(), 1}, first.weight().storage_offset());
}

Tensor normed(const Tensor& x, const Tensor& weight, double eps) {
  static const Operator op("npu::npu_rms_norm");
  return op({{"input|self", x}, {"gamma", weight.to(x.scalar_type())}, {"epsilon", eps}})[0];
}

// torch_npu's gelu computes the tanh form whichever is asked for; npu_gelu does as it is told.
Tensor exact_gelu(const Tensor& x) {
  static const Operator op("npu::npu_gelu");
  return op({{"input|self", x}, {"approximate", "none"}})[0];
}

}  // namespace

Tensor linear(at::TensorList x, const Weight& w, Activation act, Dtype out) {
  if (act != Activation::kGelu) return reference::linear(x, w, act, out);
  return exact_gelu(reference::linear(x, w, Activation::kNone, w.dtype())).to(out);
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, Dtype out) {
  // In a wider type than the weight is stored in, the reference loses nothing. Rows of less than 32 bytes are too short
  // for Ascend 310P.
  if (!weight.defined() || weight.scalar_type() != x.scalar_type() || x.scalar_type() == Dtype::Double ||
      x.size(-1) * x.element_size() < 32)
    return reference::rms_norm(x, weight, eps, out);
  return normed(x, weight, eps).to(out);
}

Tensor linear_glu(const Tensor& x, const Weight& gate, const Weight& up, Activation act) {
  if (act == Activation::kGelu)
    return (linear(x, gate, act, gate.dtype()) * linear(x, up, Activation::kNone, up.dtype())).to(x.scalar_type());
  // Ascend 310P takes halves that are multiples of 64 bytes.
  const bool even = gate.out() * static_cast<int64_t>(gate.weight().element_size()) % 64 == 0;
  const Tensor both = act == Activation::kSilu && even ? together({&gate, &up}) : Tensor();
  if (!both.defined()) return reference::linear_glu(x, gate, up, act);
  static const Operator op("npu::npu_swiglu");
  return op({{"input|self", at::linear(x.to(gate.dtype()), both)}})[0].to(x.scalar_type());
}

Tensor rope_table(const Tensor& table, Dtype dtype) {
  const int64_t tokens = table.size(1), width = table.size(2);
  Tensor out = empty({2, 1, tokens, 1, width}, dtype, table.device());
  const auto plane = [&](int64_t i) { return out.select(0, i).view({tokens, width}); };
  plane(0).copy_(table.select(0, 0));
  // Odd columns have the sine as it is, for both of their pair.
  plane(1).copy_(table.select(0, 1).slice(1, 1, width, 2).unsqueeze(2).expand({-1, -1, 2}).reshape({tokens, width}));
  return out;
}

Qkv qkv(at::ArrayRef<QkvStream> streams, const Tensor& rope, int64_t head_dim, double eps) {
  static const Operator rotary("npu::npu_rotary_mul");
  std::vector<Tensor> q, k, v;
  for (const QkvStream& s : streams) {
    const auto heads = [&](const Tensor& y) { return y.unflatten(-1, {-1, head_dim}); };
    const auto norm = [&](const Tensor& y, const Tensor& weight) {
      return weight.defined() ? normed(y.contiguous(), weight, eps) : y;
    };
    const Tensor x = s.x.to(s.q.dtype());
    if (const Tensor all = together({&s.q, &s.k, &s.v}); all.defined()) {
      const Tensor y = at::linear(x, all);
      const int64_t wide = s.q.out(), narrow = s.k.out();
      q.push_back(norm(heads(y.narrow(-1, 0, wide)), s.q_norm));
      k.push_back(norm(heads(y.narrow(-1, wide, narrow)), s.k_norm));
      v.push_back(heads(y.narrow(-1, wide + narrow, s.v.out())));
    } else {
      const auto project = [&](const Weight& w) { return heads(at::linear(x, w.weight(), w.bias())); };
      q.push_back(norm(project(s.q), s.q_norm));
      k.push_back(norm(project(s.k), s.k_norm));
      v.push_back(project(s.v));
    }
  }
  const auto joined = [](const std::vector<Tensor>& parts) { return parts.size() == 1 ? parts[0] : at::cat(parts, 1); };
  const auto rotated = [&](const std::vector<Tensor>& parts) {
    const Tensor x = joined(parts);
    if (!rope.defined()) return x;
    return rotary({{"input|self", x.contiguous()}, {"r1", rope[0]}, {"r2", rope[1]}, {"rotary_mode", "interleave"}})[0];
  };
  return {rotated(q), rotated(k), joined(v)};
}

bool attention_takes(const Tensor& q, const Tensor&) { return is_half(q) && q.size(3) % 16 == 0 && q.size(3) <= 512; }

Tensor infer_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal,
                       double scale) {
  if (bias.defined() || causal || !attention_takes(q, k)) return reference::attention(q, k, v, bias, causal, scale);
  static const Operator op("npu::npu_fused_infer_attention_score");
  return op({{"query", q.contiguous()},
             {"key", k.contiguous()},
             {"value", v.contiguous()},
             {"num_heads", q.size(2)},
             {"num_key_value_heads", k.size(2)},
             {"input_layout", "BSND"},
             {"scale", scale}})[0]
      .flatten(2);
}

Tensor fusion_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal,
                        double scale) {
  if (bias.defined() || causal || !attention_takes(q, k)) return reference::attention(q, k, v, bias, causal, scale);
  static const Operator op("npu::npu_fusion_attention");
  return op({{"query", q.contiguous()},
             {"key", k.contiguous()},
             {"value", v.contiguous()},
             {"head_num", q.size(2)},
             {"input_layout", "BSND"},
             {"scale", scale}})[0]
      .flatten(2);
}

}  // namespace cairn::ops::npu
