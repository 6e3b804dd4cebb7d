// From tensors to what launchers take. Bindings go to the reference where this gives nothing: other dtypes (fp64 in
// tests), or rows that lie otherwise.
#pragma once
#include <optional>

#include "ops/cuda/row_kernels.h"
#include "ops/ops.h"

namespace cairn::ops::cuda {

std::optional<Type> type_of(Dtype dtype);
Act act_of(Activation act);

// All rows of a tensor, its last dimension the width; nothing when they are not at two strides, as slices of a longer
// sequence are.
std::optional<Rows> rows_of(const Tensor& t);
inline int64_t row_count(const Tensor& t) { return t.size(-1) == 0 ? 0 : t.numel() / t.size(-1); }

// A contiguous weight, or none; nothing when its dtype is not known.
std::optional<Vector> vector_of(const Tensor& t);

// A tensor like `t` of another shape and dtype, uninitialised.
Tensor made(const Tensor& t, at::IntArrayRef shape, Dtype dtype);
// Memory for fp64 or fp32 sums beside `t`.
Tensor workspace(const Tensor& t, int64_t numbers, Dtype dtype);

// The stream on which this thread's work on the tensor's device goes: a cudaStream_t.
void* stream_of(const Tensor& t);

// A broken assumption: bindings ask for nothing that a launcher refuses, so the device itself is in trouble.
inline void launched(Status said) { check(said == nullptr, said ? said : ""); }

}  // namespace cairn::ops::cuda
