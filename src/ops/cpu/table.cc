#include "ops/cpu/simd.h"
#include "ops/cpu/tables.h"

#define CAIRN_TEXT_(x) #x
#define CAIRN_TEXT(x) CAIRN_TEXT_(x)

namespace cairn::ops::cpu::CAIRN_ISA {

const Kernels kernels{CAIRN_TEXT(CAIRN_ISA), kHasBf16,       products, copy, norm, attention,
                      paged_attention,       &vision_kernels};

}  // namespace cairn::ops::cpu::CAIRN_ISA
