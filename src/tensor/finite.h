// Whole-tensor helpers that loading needs and that must be fast: they touch every weight once.
#pragma once
#include "tensor/tensor.h"

namespace cairn {

// No NaN and no infinity in a tensor of any real dtype (host memory).
bool all_finite(const Tensor& t);

// centre + scale * u with u uniform in [-1, 1], bf16: element i is a hash of (seed, i), the same on any machine.
Tensor hashed_uniform(at::IntArrayRef shape, uint64_t seed, double centre, double scale);

// The same distribution drawn by an accelerator, with its own generator: other numbers, in its own memory.
Tensor drawn_uniform(at::IntArrayRef shape, uint64_t seed, double centre, double scale, c10::Device device);

}  // namespace cairn
