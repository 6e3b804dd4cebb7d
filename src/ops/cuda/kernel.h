// What launchers of CUDA kernels share. Plain C++ on raw pointers: neither torch nor CUDA headers.
#pragma once
#include <cstdint>

namespace cairn::ops::cuda {

enum class Type : int { f32, bf16, f16 };
enum class Act : int { none, gelu, gelu_tanh, quick_gelu, silu };

// Null when the kernel was launched (or there was nothing to do); else why it was not.
using Status = const char*;

// Rows of numbers on the device: row r begins at (r / tokens) * batch_stride + r % tokens * row_stride, so that
// (N, T, D) views of longer sequences need no copy. Strides count elements; a row is contiguous.
struct Rows {
  const void* data = nullptr;
  Type type = Type::f32;
  int64_t tokens = 1, batch_stride = 0, row_stride = 0;
};
inline Rows plain_rows(const void* data, Type type, int64_t rows, int64_t width) {
  return {data, type, rows > 0 ? rows : 1, rows * width, width};
}

inline constexpr int64_t size_of(Type t) { return t == Type::f32 ? 4 : 2; }

}  // namespace cairn::ops::cuda
