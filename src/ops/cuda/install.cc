#include "ops/cuda/install.h"

#include "ops/cuda/cuda.h"

namespace cairn::ops {

void install_cuda() {
  constexpr auto kCUDA = c10::DeviceType::CUDA;
  linear.on(kCUDA, cuda::linear);
  linear_add.on(kCUDA, cuda::linear_add);
  linear_glu.on(kCUDA, cuda::linear_glu);
  layer_norm.on(kCUDA, cuda::layer_norm);
  rms_norm.on(kCUDA, cuda::rms_norm);
  norm_modulate.on(kCUDA, cuda::norm_modulate);
  qkv.on(kCUDA, cuda::qkv);
  concat.on(kCUDA, cuda::concat);
  embedding.on(kCUDA, cuda::embedding);
  write_kv.on(kCUDA, cuda::write_kv);
  paged_attention.on(kCUDA, cuda::paged_attention);
  latent_attention.on(kCUDA, cuda::paged_attention);
  change.on(kCUDA, cuda::change);
  residual.on(kCUDA, cuda::residual);
  taylor_update.on(kCUDA, cuda::taylor_update);
  weighted_sum.on(kCUDA, cuda::weighted_sum);
  gram.on(kCUDA, cuda::gram);
  sample.on(kCUDA, cuda::sample);
  group_norm.on(kCUDA, cuda::group_norm);
  norm_conv.on(kCUDA, cuda::norm_conv);
}

}  // namespace cairn::ops
