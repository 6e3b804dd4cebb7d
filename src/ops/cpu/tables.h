// The kernels of one instruction set, for its table.
#pragma once
#include "ops/cpu/kernels.h"

namespace cairn::ops::cpu::CAIRN_ISA {

void products(const Product* jobs, int64_t count, Worker worker);
void copy(const Copy& c, Worker worker);
void norm(const Norm& n, Worker worker);
void attention(const Attention& a, Worker worker);
void paged_attention(const PagedAttention& a, Worker worker);

extern const VisionKernels vision_kernels;
extern const Kernels kernels;

}  // namespace cairn::ops::cpu::CAIRN_ISA
