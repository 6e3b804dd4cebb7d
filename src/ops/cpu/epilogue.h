// What follows a product, on a few rows of sums in the first-level cache: activation, gate and residual, gated linear
// unit, or head norm and rotation.
#pragma once
#include "ops/cpu/simd.h"

namespace cairn::ops::cpu::CAIRN_ISA {

// Batch and token of up to six rows that follow each other.
struct Place {
  static constexpr int kRows = 6;
  Place(const Product& p, int64_t row, int rows) {
    int64_t b = p.batches == 1 ? 0 : row / p.tokens, t = row - b * p.tokens;
    for (int r = 0; r < rows; ++r, ++t) {
      if (t == p.tokens) t = 0, ++b;
      batch[r] = b;
      token[r] = t;
    }
  }
  int64_t batch[kRows], token[kRows];
};

template <class T>
inline T* row_of(const Rows& rows, const Place& at, int r) {
  return static_cast<T*>(rows.data) + at.batch[r] * rows.batch_stride + at.token[r] * rows.row_stride;
}

template <class T>
void finish_activate(const Epilogue& e, const Place& at, int rows, const float* y, int64_t pitch, int64_t first) {
  const int64_t columns = lesser(kPanel, e.out.width - first);
  with_activation(e.act, [&](auto act) {
    for (int r = 0; r < rows; ++r) {
      T* to = row_of<T>(e.out, at, r) + first;
      for (int64_t c = 0; c < columns; c += kLanes)
        store(to + c, activate<decltype(act)::value>(load(y + r * pitch + c)), columns - c);
    }
  });
}

template <class T>
void finish_add(const Epilogue& e, const Place& at, int rows, const float* y, int64_t pitch, int64_t first) {
  const int64_t columns = lesser(kPanel, e.out.width - first);
  for (int r = 0; r < rows; ++r) {
    T* to = row_of<T>(e.out, at, r) + first;
    const T* residual = row_of<const T>(e.residual, at, r) + first;
    const float* gate = e.gate ? e.gate + at.batch[r] * e.gate_stride + first : nullptr;
    for (int64_t c = 0; c < columns; c += kLanes) {
      const f32v add = load(y + r * pitch + c), old = load(residual + c, columns - c);
      store(to + c, gate ? old + load(gate + c, columns - c) * add : old + add, columns - c);
    }
  }
}

template <class T>
void finish_glu(const Epilogue& e, const Place& at, int rows, const float* y, int64_t pitch, int64_t first) {
  const int64_t columns = lesser(kPanel, e.out.width - first);
  with_activation(e.act, [&](auto act) {
    for (int r = 0; r < rows; ++r) {
      T* to = row_of<T>(e.out, at, r) + first;
      const float *gate = y + r * pitch, *up = gate + kPanel;
      for (int64_t c = 0; c < columns; c += kLanes)
        store(to + c, activate<decltype(act)::value>(load(gate + c)) * load(up + c), columns - c);
    }
  });
}

template <class T>
void finish_heads(const Epilogue& e, const Place& at, int rows, const float* y, int64_t pitch, int64_t first,
                  int64_t columns) {
  const int64_t d = e.head_dim;
  for (int r = 0; r < rows; ++r)
    for (int64_t h = 0; h < columns; h += d) {
      const float* head = y + r * pitch + h;
      float scale = 1;
      if (e.norm) {
        f32v squares{};
        for (int64_t c = 0; c < d; c += kLanes) squares += load(head + c) * load(head + c);
        scale = 1 / __builtin_sqrtf(sum(squares) / static_cast<float>(d) + e.eps);
      }
      T* to = row_of<T>(e.out, at, r) + first + h;
      for (int64_t c = 0; c < d; c += kLanes) {
        f32v x = load(head + c);
        if (e.norm) x = x * scale * load(e.norm + c);
        if (e.cos) x = x * load(e.cos + at.token[r] * d + c) + swap_pairs(x) * load(e.sin + at.token[r] * d + c);
        store(to + c, x);
      }
    }
}

// y (rows, pitch) holds `panels` panels of sums, whose first is column `first` of the result (for gate and up, of
// `first` / 2).
inline void finish(const Epilogue& e, const Place& at, int rows, const float* y, int64_t pitch, int64_t first,
                   int64_t panels) {
  with_type(e.out.type, [&](auto value) {
    using T = decltype(value);
    switch (e.kind) {
      case Epilogue::kActivate:
        for (int64_t p = 0; p < panels; ++p) finish_activate<T>(e, at, rows, y + p * kPanel, pitch, first + p * kPanel);
        return;
      case Epilogue::kAdd:
        for (int64_t p = 0; p < panels; ++p) finish_add<T>(e, at, rows, y + p * kPanel, pitch, first + p * kPanel);
        return;
      case Epilogue::kGlu:
        return finish_glu<T>(e, at, rows, y, pitch, first / 2);
      case Epilogue::kHeads:
        return finish_heads<T>(e, at, rows, y, pitch, first, lesser(panels * kPanel, e.out.width - first));
    }
  });
}

}  // namespace cairn::ops::cpu::CAIRN_ISA
