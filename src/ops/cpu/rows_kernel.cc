// Kernels that read each row once: norms, and copies of inputs into another type.
#include "ops/cpu/simd.h"
#include "ops/cpu/tables.h"

namespace cairn::ops::cpu::CAIRN_ISA {
namespace {

template <class T>
T* row_at(const Rows& rows, int64_t batch, int64_t token) {
  return static_cast<T*>(rows.data) + batch * rows.batch_stride + token * rows.row_stride;
}

// `n` lanes from column c of a vector of either type.
f32v load_any(const void* p, Type type, int64_t c, int64_t n) {
  return type == Type::kF32 ? load(static_cast<const float*>(p) + c, n) : load(static_cast<const bf16*>(p) + c, n);
}
const void* offset(const void* p, Type type, int64_t elements) {
  return p ? static_cast<const char*>(p) + elements * (type == Type::kF32 ? 4 : 2) : nullptr;
}

// The sum of f over a row, in four chains: one would wait for its own additions.
template <class X, class F>
float total(const X* x, int64_t width, F f) {
  f32v s[4] = {};
  int64_t c = 0;
  for (; c + 4 * kLanes <= width; c += 4 * kLanes)
    for (int j = 0; j < 4; ++j) s[j] += f(load(x + c + j * kLanes));
  for (; c < width; c += kLanes) {
    const f32v y = f(load(x + c, width - c));
    s[0] += iota() < static_cast<int>(lesser(width - c, kLanes)) ? y : f32v{};
  }
  return sum((s[0] + s[1]) + (s[2] + s[3]));
}

template <class X, class O>
void norm_row(const Norm& n, const X* x, O* to, const void* mul, const void* add) {
  const int64_t width = n.x.width, whole = width / kLanes * kLanes;
  const float count = static_cast<float>(width);
  const float mean = n.centre ? total(x, width, [](f32v v) { return v; }) / count : 0;
  const float squares = total(x, width, [&](f32v v) { return (v - mean) * (v - mean); });
  const float inv = 1 / __builtin_sqrtf(squares / count + n.eps);
  const auto finish = [&](int64_t c, int64_t lanes) {
    f32v y = (load(x + c, lanes) - mean) * inv;
    if (mul) y *= load_any(mul, n.mul_type, c, lanes) + n.mul_plus;
    if (add) y += load_any(add, n.add_type, c, lanes);
    store(to + c, y, lanes);
  };
  for (int64_t c = 0; c < whole; c += kLanes) finish(c, kLanes);
  if (whole < width) finish(whole, width - whole);
}

// Rows [from, to) of a matrix are this worker's.
struct Range {
  Range(int64_t rows, Worker w) : from(rows * w.id / w.count), to(rows * (w.id + 1) / w.count) {}
  int64_t from, to;
};

}  // namespace

void norm(const Norm& n, Worker worker) {
  with_type(n.x.type, [&](auto in) {
    with_type(n.out.type, [&](auto out) {
      const Range range(n.batches * n.tokens, worker);
      for (int64_t row = range.from; row < range.to; ++row) {
        const int64_t b = row / n.tokens, t = row % n.tokens;
        norm_row(n, row_at<const decltype(in)>(n.x, b, t), row_at<decltype(out)>(n.out, b, t),
                 offset(n.mul, n.mul_type, b * n.mul_stride), offset(n.add, n.add_type, b * n.add_stride));
      }
    });
  });
}

void copy(const Copy& k, Worker worker) {
  with_type(k.from.type, [&](auto in) {
    with_type(k.to.type, [&](auto out) {
      const Range range(k.batches * k.tokens, worker);
      for (int64_t row = range.from; row < range.to; ++row) {
        const auto* x = row_at<const decltype(in)>(k.from, row / k.tokens, row % k.tokens);
        auto* to = row_at<decltype(out)>(k.to, row / k.tokens, row % k.tokens);
        for (int64_t c = 0; c < k.to.width; c += kLanes)
          store(to + c, c < k.from.width ? load(x + c, k.from.width - c) : f32v{}, k.to.width - c);
      }
    });
  });
}

}  // namespace cairn::ops::cpu::CAIRN_ISA
