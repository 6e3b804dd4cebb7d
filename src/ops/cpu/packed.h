// Weights and tensors as the kernels take them.
#pragma once
#include <optional>

#include "ops/cpu/kernels.h"
#include "ops/weight.h"

namespace cairn::ops::cpu {

// The panels of a linear layer, made in parallel at the first use and kept with the weight. fp32 or bf16 weights.
const Packed& packed(const Weight& w);

// Whether all panels together are more than the last-level cache holds.
bool panels_are_far();

std::optional<Type> type_of(Dtype dtype);

// A tensor (N, T, width) or (T, width) whose rows are contiguous; nothing where the kernels do not take it.
std::optional<Rows> rows_of(const Tensor& t);

// Part `index` of modulation (N, parts, D), or null when it is undefined; advances by modulation's row from batch to
// batch, by 0 where N is 1.
struct Part {
  const float* data = nullptr;
  int64_t stride = 0;
};
Part part_of(const Tensor& modulation, int64_t index, int64_t batches);

// Element i of a vector in fp32 or bf16.
float element(const Tensor& t, int64_t i);

}  // namespace cairn::ops::cpu
