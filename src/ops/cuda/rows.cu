#include "ops/cuda/device_code.cuh"
#include "ops/cuda/row_kernels.h"

namespace cairn::ops::cuda {
namespace {

// Blocks stride over rows, threads over the chunks of a row.
template <class F>
__device__ inline void each_chunk(int64_t rows, int64_t width, F f) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x)
    for (int64_t i = int64_t{threadIdx.x} * kChunk; i < width; i += int64_t{blockDim.x} * kChunk) f(row, i, width - i);
}

template <class T, class Out>
__global__ void bias_activation_kernel(Rows x, int64_t rows, int64_t width, Vector bias, Act act, Out* out,
                                       bool vectors) {
  each_chunk(rows, width, [&](int64_t row, int64_t i, int64_t left) {
    float y[kChunk], b[kChunk] = {};
    load8(static_cast<const T*>(x.data) + row_start(x, row) + i, left, vectors, y);
    if (bias.data) load8(bias.data, bias.type, i, left, vectors, b);
#pragma unroll
    for (int j = 0; j < kChunk; ++j) y[j] = activated(y[j] + b[j], act);
    store8(out + row * width + i, left, vectors, y);
  });
}

template <class T, class Out>
__global__ void gated_kernel(Rows gate, Rows up, int64_t rows, int64_t width, Act act, Out* out, bool vectors) {
  each_chunk(rows, width, [&](int64_t row, int64_t i, int64_t left) {
    float g[kChunk], u[kChunk];
    load8(static_cast<const T*>(gate.data) + row_start(gate, row) + i, left, vectors, g);
    load8(static_cast<const T*>(up.data) + row_start(up, row) + i, left, vectors, u);
#pragma unroll
    for (int j = 0; j < kChunk; ++j) u[j] *= activated(g[j], act);
    store8(out + row * width + i, left, vectors, u);
  });
}

template <class R, class T>
__global__ void gated_add_kernel(Rows residual, Rows y, int64_t rows, int64_t width, Vector bias, const float* gate,
                                 int64_t gate_stride, R* out, bool vectors) {
  each_chunk(rows, width, [&](int64_t row, int64_t i, int64_t left) {
    float r[kChunk], x[kChunk], b[kChunk] = {}, g[kChunk];
    load8(static_cast<const R*>(residual.data) + row_start(residual, row) + i, left, vectors, r);
    load8(static_cast<const T*>(y.data) + row_start(y, row) + i, left, vectors, x);
    if (bias.data) load8(bias.data, bias.type, i, left, vectors, b);
    if (gate) {
      load8(gate + row / residual.tokens * gate_stride + i, left, vectors, g);
    } else {
#pragma unroll
      for (int j = 0; j < kChunk; ++j) g[j] = 1;
    }
#pragma unroll
    for (int j = 0; j < kChunk; ++j) r[j] += g[j] * (x[j] + b[j]);
    store8(out + row * width + i, left, vectors, r);
  });
}

template <class From, class To>
__global__ void copy_rows_kernel(Rows from, int64_t rows, int64_t width, Rows to, bool vectors) {
  each_chunk(rows, width, [&](int64_t row, int64_t i, int64_t left) {
    float x[kChunk];
    load8(static_cast<const From*>(from.data) + row_start(from, row) + i, left, vectors, x);
    store8(static_cast<To*>(const_cast<void*>(to.data)) + row_start(to, row) + i, left, vectors, x);
  });
}

template <class From, class To>
__global__ void embedding_kernel(const int64_t* ids, int64_t count, const From* table, int64_t table_rows,
                                 int64_t width, To* out, bool vectors) {
  each_chunk(count, width, [&](int64_t row, int64_t i, int64_t left) {
    const int64_t id = ids[row];
    float x[kChunk];
#pragma unroll
    for (int j = 0; j < kChunk; ++j) x[j] = NAN;
    if (id >= 0 && id < table_rows) load8(table + id * width + i, left, vectors, x);
    store8(out + row * width + i, left, vectors, x);
  });
}

// One row a block, unless there are very many.
dim3 grid_of(int64_t rows) { return dim3(static_cast<unsigned>(rows < (1 << 20) ? rows : 1 << 20)); }
dim3 block_of(int64_t width) { return dim3(threads_for_width(width, 2, 256)); }

bool nothing(int64_t rows, int64_t width) { return rows <= 0 || width <= 0; }

// f with a T and an Out for the two types.
template <class F>
Status with_types(Type in, Type out, F&& f) {
  return with_type(in, [&](auto a) { return with_type(out, [&](auto b) { return f(a, b); }); });
}

}  // namespace

Status bias_activation(const Rows& x, int64_t rows, int64_t width, const Vector& bias, Act act, void* out,
                       Type out_type, void* stream) {
  if (nothing(rows, width)) return rows < 0 || width < 0 ? "bias_activation: negative sizes" : nullptr;
  const bool vectors = aligned(x) && aligned(bias.data) && aligned(out) && width % kChunk == 0;
  return with_types(x.type, out_type, [&](auto a, auto b) {
    using Out = decltype(b);
    return launch(bias_activation_kernel<decltype(a), Out>, grid_of(rows), block_of(width), 0, stream, x, rows, width,
                  bias, act, static_cast<Out*>(out), vectors);
  });
}

Status gated(const Rows& gate, const Rows& up, int64_t rows, int64_t width, Act act, void* out, Type out_type,
             void* stream) {
  if (nothing(rows, width)) return rows < 0 || width < 0 ? "gated: negative sizes" : nullptr;
  if (gate.type != up.type) return "gated: gate and up differ in dtype";
  const bool vectors = aligned(gate) && aligned(up) && aligned(out) && width % kChunk == 0;
  return with_types(gate.type, out_type, [&](auto a, auto b) {
    using Out = decltype(b);
    return launch(gated_kernel<decltype(a), Out>, grid_of(rows), block_of(width), 0, stream, gate, up, rows, width, act,
                  static_cast<Out*>(out), vectors);
  });
}

Status gated_add(const Rows& residual, const Rows& y, int64_t rows, int64_t width, const Vector& bias,
                 const float* gate, int64_t gate_stride, void* out, void* stream) {
  if (nothing(rows, width)) return rows < 0 || width < 0 ? "gated_add: negative sizes" : nullptr;
  const bool vectors = aligned(residual) && aligned(y) && aligned(bias.data) && aligned(gate) && aligned(out) &&
                       gate_stride % kChunk == 0 && width % kChunk == 0;
  return with_types(residual.type, y.type, [&](auto a, auto b) {
    using R = decltype(a);
    return launch(gated_add_kernel<R, decltype(b)>, grid_of(rows), block_of(width), 0, stream, residual, y, rows, width,
                  bias, gate, gate_stride, static_cast<R*>(out), vectors);
  });
}

Status copy_rows(const Rows& from, int64_t rows, int64_t width, const Rows& to, void* stream) {
  if (nothing(rows, width)) return rows < 0 || width < 0 ? "copy_rows: negative sizes" : nullptr;
  const bool vectors = aligned(from) && aligned(to) && width % kChunk == 0;
  return with_types(from.type, to.type, [&](auto a, auto b) {
    return launch(copy_rows_kernel<decltype(a), decltype(b)>, grid_of(rows), block_of(width), 0, stream, from, rows,
                  width, to, vectors);
  });
}

Status embedding(const int64_t* ids, int64_t count, const void* table, Type type, int64_t table_rows, int64_t width,
                 void* out, Type out_type, void* stream) {
  if (nothing(count, width)) return count < 0 || width < 0 ? "embedding: negative sizes" : nullptr;
  const bool vectors = aligned(table) && aligned(out) && width % kChunk == 0;
  return with_types(type, out_type, [&](auto a, auto b) {
    using From = decltype(a);
    using To = decltype(b);
    return launch(embedding_kernel<From, To>, grid_of(count), block_of(width), 0, stream, ids, count,
                  static_cast<const From*>(table), table_rows, width, static_cast<To*>(out), vectors);
  });
}

}  // namespace cairn::ops::cuda
