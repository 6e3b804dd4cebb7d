// Launchers of kernels that go through rows: norms, activations, heads, gathers, group norms. Numbers are fp32, bf16 or
// f16 in any mixture; arithmetic is in fp32. All pointers are the device's, `stream` is a cudaStream_t. Results are
// contiguous unless their strides are asked for. Nothing is launched for no rows.
#pragma once
#include "ops/cuda/kernel.h"

namespace cairn::ops::cuda {

// A vector in any dtype, for weights; null for none.
struct Vector {
  const void* data = nullptr;
  Type type = Type::f32;
};

// y = (x - mean) / deviation * weight + bias, then y (1 + scale) + shift; each row alone. Without `center` the mean is
// taken for 0: the RMS norm (Zhang and Sennrich 2019), else the layer norm (Ba et al. 2016), in two passes over
// registers. With `add`, rows are x + add, rounded to the type of x and stored in `sum` (contiguous).
struct Norm {
  Rows x{};
  int64_t rows = 0, width = 0;  // width at most 32768
  void* y = nullptr;
  Type y_type = Type::f32;
  Vector weight{}, bias{};
  const float *shift = nullptr, *scale = nullptr;  // of row r at r / x.tokens * modulation_stride
  int64_t modulation_stride = 0;
  Rows add{};
  void* sum = nullptr;
  float eps = 0;
  bool center = false;
};
Status norm(const Norm& n, void* stream);

// One of the three results of a projection, on its way to attention: rows of heads * d numbers, each head RMS-normed
// with `weight` (d) when there is one, then rotated, to out (N, all tokens, heads, d).
struct HeadPart {
  Rows x{};
  int64_t heads = 0;
  Vector weight{};
  bool normed = false, rotated = false;
  void* out = nullptr;
};
// Streams that are joined call it once each, with the `offset` of their tokens in the joint sequence. rope: (2, all
// tokens, d), cosines then sines with the sign of even positions turned, for adjacent pairs (RoFormer, Su et al. 2021).
// d even, at most 256. Rotating alone: `normed` false.
struct Heads {
  HeadPart parts[3]{};
  int64_t count = 3, d = 0;
  int64_t batch = 0, tokens = 0, all_tokens = 0, offset = 0;
  const float* rope = nullptr;
  float eps = 0;
  Type out = Type::f32;
};
Status heads(const Heads& h, void* stream);

// out = act(x + bias), bias (width).
Status bias_activation(const Rows& x, int64_t rows, int64_t width, const Vector& bias, Act act, void* out,
                       Type out_type, void* stream);
// out = act(gate) * up (gated linear units, Shazeer 2020).
Status gated(const Rows& gate, const Rows& up, int64_t rows, int64_t width, Act act, void* out, Type out_type,
             void* stream);
// out = residual + gate * (y + bias), in the residual's type; gate of row r at r / residual.tokens * gate_stride, null
// for 1. `out` may be the residual itself.
Status gated_add(const Rows& residual, const Rows& y, int64_t rows, int64_t width, const Vector& bias,
                 const float* gate, int64_t gate_stride, void* out, void* stream);
// Rows to rows, with another type if wanted: concat calls it once a sequence. `to` says where and how.
Status copy_rows(const Rows& from, int64_t rows, int64_t width, const Rows& to, void* stream);
// out[t] = table[ids[t]], table (table_rows, width). A row of NaN for an id that is none.
Status embedding(const int64_t* ids, int64_t count, const void* table, Type type, int64_t table_rows, int64_t width,
                 void* out, Type out_type, void* stream);

// Group norm (Wu and He 2018) of pictures (pictures, pixels, channels), then SiLU if asked. workspace: as many doubles
// as group_norm_workspace says.
struct GroupNormRows {
  const void* x = nullptr;
  Type x_type = Type::f32;
  void* y = nullptr;
  Type y_type = Type::f32;
  int64_t pictures = 0, pixels = 0, channels = 0, groups = 0;
  Vector weight{}, bias{};
  float eps = 0;
  bool silu = false;
};
int64_t group_norm_workspace(const GroupNormRows& g);
Status group_norm(const GroupNormRows& g, double* workspace, void* stream);

}  // namespace cairn::ops::cuda
