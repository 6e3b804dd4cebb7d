#include "ops/cpu/cpu.h"
#include "ops/cpu/kernels.h"

namespace cairn::ops {

void install_cpu() {
  cpu::kernels();  // an unusable CAIRN_ISA is reported here, not by the first operation
  linear.on(kCPU, cpu::linear);
  linear_add.on(kCPU, cpu::linear_add);
  linear_glu.on(kCPU, cpu::linear_glu);
  layer_norm.on(kCPU, cpu::layer_norm);
  rms_norm.on(kCPU, cpu::rms_norm);
  norm_modulate.on(kCPU, cpu::norm_modulate);
  qkv.on(kCPU, cpu::qkv);
  if (!attention.has_kernel(kCPU)) attention.on(kCPU, cpu::attention);  // select_attention may have chosen another
  embedding.on(kCPU, cpu::embedding);
}

}  // namespace cairn::ops
