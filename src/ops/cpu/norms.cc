// Norms and attention of ops.h. What the kernels do not take goes to the reference.
#include "ops/cpu/cpu.h"
#include "ops/cpu/packed.h"
#include "ops/cpu/team.h"

namespace cairn::ops::cpu {
namespace {

// A vector of weights that the kernel can read in place.
bool readable(const Tensor& w, int64_t width) {
  if (!w.defined()) return true;
  check(w.numel() == width, "the weight of a norm has its width");
  return type_of(w.scalar_type()) && w.is_contiguous();
}
const void* data(const Tensor& w) { return w.defined() ? w.const_data_ptr() : nullptr; }
Type type(const Tensor& w) { return w.defined() ? *type_of(w.scalar_type()) : Type::kF32; }

struct Normed {
  int64_t work() const { return norm.batches * norm.tokens * norm.x.width * 4; }
  void operator()(Worker worker) const { kernels().norm(norm, worker); }

  Norm norm;
};

// Fills in the matrices of n and runs it. Nothing where the kernel does not take x.
std::optional<Tensor> run(Norm n, const Tensor& x, Dtype out) {
  const Tensor rows = x.dim() < 2 || x.dim() > 3 ? x.reshape({-1, x.size(-1)}) : x;
  const auto from = rows_of(rows);
  if (!from || !type_of(out)) return std::nullopt;
  Tensor y = empty(x.sizes(), out);
  n.x = *from;
  n.out = {y.mutable_data_ptr(), *type_of(out), from->width, rows.size(-2) * from->width, from->width};
  n.batches = rows.dim() == 3 ? rows.size(0) : 1;
  n.tokens = rows.size(-2);
  launch<Normed>([&](Normed& call) { call.norm = n; });
  return y;
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, Dtype out) {
  if (readable(weight, x.size(-1)) && readable(bias, x.size(-1))) {
    const Norm n{.centre = true,
                 .eps = static_cast<float>(eps),
                 .mul = data(weight),
                 .add = data(bias),
                 .mul_type = type(weight),
                 .add_type = type(bias)};
    if (auto y = run(n, x, out)) return *y;
  }
  return reference::layer_norm(x, weight, bias, eps, out);
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, Dtype out) {
  if (readable(weight, x.size(-1))) {
    const Norm n{.eps = static_cast<float>(eps), .mul = data(weight), .mul_type = type(weight)};
    if (auto y = run(n, x, out)) return *y;
  }
  return reference::rms_norm(x, weight, eps, out);
}

Tensor norm_modulate(const Tensor& x, const Tensor& modulation, int64_t shift, int64_t scale, double eps, Dtype out) {
  if (x.dim() == 3 && modulation.scalar_type() == kF32) {
    const Part mul = part_of(modulation, scale, x.size(0)), add = part_of(modulation, shift, x.size(0));
    check(modulation.size(2) == x.size(2), "modulation has the width of x");
    const Norm n{.centre = true,
                 .eps = static_cast<float>(eps),
                 .mul_plus = 1,
                 .mul = mul.data,
                 .add = add.data,
                 .mul_stride = mul.stride,
                 .add_stride = add.stride};
    if (auto y = run(n, x, out)) return *y;
  }
  return reference::norm_modulate(x, modulation, shift, scale, eps, out);
}

namespace {

// Rows of a table, copied one after the other.
struct Lookup {
  int64_t work() const { return to.width * tokens; }
  void operator()(Worker w) const {
    const int64_t size = table.type == Type::kF32 ? 4 : 2;
    for (int64_t t = tokens * w.id / w.count; t < tokens * (w.id + 1) / w.count; ++t) {
      Rows row = table, place = to;
      row.data = static_cast<char*>(table.data) + ids[t] * table.row_stride * size;
      place.data = static_cast<char*>(to.data) + t * to.row_stride * (to.type == Type::kF32 ? 4 : 2);
      kernels().copy({row, place, 1, 1}, Worker{0, 1});
    }
  }

  Rows table, to;
  const int64_t* ids;
  int64_t tokens;
};

struct Attended {
  int64_t work() const {
    const Attention& a = attention;
    return 2 * a.batches * a.heads * a.tokens * a.keys * a.head_dim;
  }
  void operator()(Worker worker) const { kernels().attention(attention, worker); }

  Attention attention;
};

}  // namespace

Tensor embedding(const Tensor& ids, const Tensor& table, Dtype out) {
  const auto from = rows_of(table);
  if (!from || table.dim() != 2 || !type_of(out) || ids.dim() != 1 || !ids.is_contiguous())
    return reference::embedding(ids, table, out);
  const auto* places = static_cast<const int64_t*>(ids.const_data_ptr());
  for (int64_t t = 0; t < ids.numel(); ++t) check(places[t] >= 0 && places[t] < table.size(0), "ids lie in the table");
  Tensor y = empty({ids.numel(), table.size(1)}, out);
  launch<Lookup>([&](Lookup& call) { call = {*from, *rows_of(y), places, ids.numel()}; });
  return y;
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal, double scale) {
  // A worker lays out one head's keys and values; past this, libtorch's blocked kernel needs far less memory.
  constexpr int64_t kMaxKeys = 8192;
  const auto type = type_of(q.scalar_type());
  const auto fits = [&](const Tensor& t) {
    return t.dim() == 4 && t.scalar_type() == q.scalar_type() && t.stride(3) == 1;
  };
  const int64_t keys = k.size(1), d = q.size(3);
  if (!type || !fits(q) || !fits(k) || !fits(v) || d % 16 || keys > kMaxKeys || keys == 0)
    return reference::attention(q, k, v, bias, causal, scale);
  check(k.sizes() == v.sizes() && k.size(0) == q.size(0) && k.size(2) == q.size(2) && k.size(3) == d,
        "queries, keys and values have the same batches, heads and width");
  const auto heads = [](const Tensor& t) {
    return Attention::Heads{t.const_data_ptr(), t.stride(0), t.stride(1), t.stride(2)};
  };
  Attention a{};
  a.q = heads(q), a.k = heads(k), a.v = heads(v);
  a.type = *type;
  a.batches = q.size(0), a.tokens = q.size(1), a.keys = keys, a.heads = q.size(2), a.head_dim = d;
  a.causal = causal;
  a.scale = static_cast<float>(scale);
  Tensor mask;
  if (bias.defined()) {
    mask = bias.to(kF32).expand({a.batches, a.heads, a.tokens, keys});
    if (mask.stride(3) > 1) mask = mask.contiguous();
    a.bias = static_cast<const float*>(mask.const_data_ptr());
    a.bias_batch = mask.stride(0), a.bias_head = mask.stride(1), a.bias_token = mask.stride(2),
    a.bias_key = mask.stride(3);
  }
  Tensor y = empty({a.batches, a.tokens, a.heads * d}, q.scalar_type());
  a.out = y.mutable_data_ptr();
  launch<Attended>([&](Attended& call) { call.attention = a; });
  return y;
}

}  // namespace cairn::ops::cpu
