#include "ops/cuda/cuda.h"
#include "ops/cuda/tensors.h"

namespace cairn::ops::cuda {
namespace {

constexpr int64_t kWidest = 32768;

// Fills in what all norms share; false when the kernel cannot do them.
bool fill(Norm& n, const Tensor& x, double eps, Dtype out) {
  const auto rows = rows_of(x);
  const auto type = type_of(out);
  if (!rows || !type || x.size(-1) > kWidest) return false;
  n.x = *rows, n.rows = row_count(x), n.width = x.size(-1);
  n.y_type = *type, n.eps = static_cast<float>(eps);
  return true;
}

Tensor run(Norm& n, const Tensor& x, Dtype out) {
  Tensor y = made(x, x.sizes(), out);
  n.y = y.data_ptr();
  launched(norm(n, stream_of(x)));
  return y;
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, Dtype out) {
  Norm n{.center = true};
  const auto w = vector_of(weight), b = vector_of(bias);
  if (!w || !b || !fill(n, x, eps, out)) return reference::layer_norm(x, weight, bias, eps, out);
  n.weight = *w, n.bias = *b;
  return run(n, x, out);
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, Dtype out) {
  Norm n;
  const auto w = vector_of(weight);
  if (!w || !fill(n, x, eps, out)) return reference::rms_norm(x, weight, eps, out);
  n.weight = *w;
  return run(n, x, out);
}

Tensor norm_modulate(const Tensor& x, const Tensor& modulation, int64_t shift, int64_t scale, double eps, Dtype out) {
  Norm n{.center = true};
  const bool usable = x.dim() == 3 && modulation.scalar_type() == kF32 && modulation.is_contiguous();
  if (!usable || !fill(n, x, eps, out)) return reference::norm_modulate(x, modulation, shift, scale, eps, out);
  const auto* from = modulation.const_data_ptr<float>();
  n.shift = from + shift * n.width, n.scale = from + scale * n.width;
  n.modulation_stride = modulation.size(1) * n.width;
  return run(n, x, out);
}

Tensor concat(at::TensorList x) {
  int64_t all = 0;
  bool usable = true;
  for (const Tensor& t : x) {
    usable = usable && t.dim() == 3 && rows_of(t) && t.scalar_type() == x[0].scalar_type();
    all += t.dim() == 3 ? t.size(1) : 0;
  }
  if (!usable) return reference::concat(x);
  const int64_t batch = x[0].size(0), width = x[0].size(2);
  Tensor y = made(x[0], {batch, all, width}, x[0].scalar_type());
  int64_t offset = 0;
  for (const Tensor& t : x) {
    if (t.size(1) == 0) continue;
    const Tensor to = y.narrow(1, offset, t.size(1));
    launched(copy_rows(*rows_of(t), batch * t.size(1), width,
                       {to.data_ptr(), *type_of(t.scalar_type()), t.size(1), all * width, width}, stream_of(t)));
    offset += t.size(1);
  }
  return y;
}

Tensor embedding(const Tensor& ids, const Tensor& table, Dtype out) {
  const auto from = type_of(table.scalar_type()), to = type_of(out);
  if (!from || !to || !table.is_contiguous() || !ids.is_contiguous() || ids.dim() != 1)
    return reference::embedding(ids, table, out);
  Tensor y = made(table, {ids.size(0), table.size(1)}, out);
  launched(embedding(ids.const_data_ptr<int64_t>(), ids.size(0), table.const_data_ptr(), *from, table.size(0),
                     table.size(1), y.data_ptr(), *to, stream_of(ids)));
  return y;
}

}  // namespace cairn::ops::cuda
