#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>

#include "ops/cuda/cuda.h"
#include "ops/cuda/tensors.h"

namespace cairn::ops::cuda {
namespace {

Tensor joined(at::TensorList x) { return x.size() == 1 ? x[0] : at::cat(x, -1); }
Tensor product(const Tensor& x, const Weight& w, const Tensor& bias) {
  return at::linear(x.to(w.dtype()), w.weight(), bias);
}

}  // namespace

Tensor linear(at::TensorList x, const Weight& w, Activation act, Dtype out) {
  // The product's own epilogue adds the bias where nothing follows.
  if (act == Activation::kNone) return product(joined(x), w, w.bias()).to(out);
  const auto bias = vector_of(w.bias());
  if (!type_of(w.dtype()) || !type_of(out) || !bias) return reference::linear(x, w, act, out);
  const Tensor y = product(joined(x), w, {});
  Tensor to = made(y, y.sizes(), out);
  launched(bias_activation(*rows_of(y), row_count(y), y.size(-1), *bias, act_of(act), to.data_ptr(), *type_of(out),
                           stream_of(y)));
  return to;
}

Tensor linear_add(const Tensor& residual, at::TensorList x, const Weight& w, const Tensor& modulation, int64_t gate) {
  const auto bias = vector_of(w.bias()), gates = vector_of(modulation);
  const auto rows = rows_of(residual);
  const bool batched = !modulation.defined() || (residual.dim() == 3 && modulation.scalar_type() == kF32);
  if (!type_of(w.dtype()) || !rows || !bias || !gates || !batched)
    return reference::linear_add(residual, x, w, modulation, gate);
  const Tensor y = product(joined(x), w, {});
  const int64_t width = y.size(-1);
  const auto* from = static_cast<const float*>(gates->data);
  Tensor to = made(y, residual.sizes(), residual.scalar_type());
  launched(gated_add(*rows, *rows_of(y), row_count(y), width, *bias, from ? from + gate * width : nullptr,
                     from ? modulation.size(1) * width : 0, to.data_ptr(), stream_of(y)));
  return to;
}

Tensor linear_glu(const Tensor& x, const Weight& gate, const Weight& up, Activation act) {
  if (!type_of(gate.dtype()) || gate.dtype() != up.dtype() || !type_of(x.scalar_type()))
    return reference::linear_glu(x, gate, up, act);
  const Tensor g = product(x, gate, gate.bias()), u = product(x, up, up.bias());
  Tensor to = made(g, g.sizes(), x.scalar_type());
  launched(gated(*rows_of(g), *rows_of(u), row_count(g), g.size(-1), act_of(act), to.data_ptr(),
                 *type_of(x.scalar_type()), stream_of(g)));
  return to;
}

Qkv qkv(at::ArrayRef<QkvStream> streams, const Tensor& rope, int64_t head_dim, double eps) {
  const Tensor& first = streams[0].x;
  const auto out = type_of(first.scalar_type());
  bool usable = out && head_dim <= 256 && (!rope.defined() || head_dim % 2 == 0) &&
                (!rope.defined() || (rope.scalar_type() == kF32 && rope.is_contiguous()));
  int64_t all = 0;
  for (const QkvStream& s : streams) {
    all += s.x.size(1);
    usable = usable && s.x.dim() == 3 && type_of(s.q.dtype()) && s.q.dtype() == s.k.dtype() &&
             s.q.dtype() == s.v.dtype() && vector_of(s.q_norm) && vector_of(s.k_norm);
  }
  if (!usable) return reference::qkv(streams, rope, head_dim, eps);

  const int64_t batch = first.size(0);
  const auto room = [&](const Weight& w) {
    return made(first, {batch, all, w.out() / head_dim, head_dim}, first.scalar_type());
  };
  Qkv y{room(streams[0].q), room(streams[0].k), room(streams[0].v)};
  int64_t offset = 0;
  for (const QkvStream& s : streams) {
    const Tensor q = product(s.x, s.q, s.q.bias()), k = product(s.x, s.k, s.k.bias()),
                 v = product(s.x, s.v, s.v.bias());
    const auto part = [&](const Tensor& from, const Tensor& norm, bool rotated, Tensor& to) {
      return HeadPart{.x = *rows_of(from),
                      .heads = from.size(-1) / head_dim,
                      .weight = *vector_of(norm),
                      .normed = norm.defined(),
                      .rotated = rotated && rope.defined(),
                      .out = to.data_ptr()};
    };
    Heads h{.d = head_dim,
            .batch = batch,
            .tokens = s.x.size(1),
            .all_tokens = all,
            .offset = offset,
            .rope = rope.defined() ? rope.const_data_ptr<float>() : nullptr,
            .eps = static_cast<float>(eps),
            .out = *out};
    h.parts[0] = part(q, s.q_norm, true, y.q), h.parts[1] = part(k, s.k_norm, true, y.k);
    h.parts[2] = part(v, {}, false, y.v);
    launched(heads(h, stream_of(q)));
    offset += s.x.size(1);
  }
  return y;
}

}  // namespace cairn::ops::cuda
