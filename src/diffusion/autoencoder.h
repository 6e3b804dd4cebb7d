// Between pictures and latents: what pipelines know of an autoencoder, and decoding in tiles.
#pragma once
#include <cstdint>
#include <functional>

#include "tensor/tensor.h"

namespace cairn::diffusion {

// Numbers of an autoencoder that pipelines need. A latent as the denoiser sees it is (z - shift_factor) *
// scaling_factor.
struct LatentSpace {
  int64_t channels = 4;  // of a latent
  int64_t scale = 8;     // pixels per latent pixel, along each side
  double scaling_factor = 1, shift_factor = 0;
  int64_t sample_size = 512;  // the side of pictures it was trained on, in pixels; also the side of a tile
};

// Immutable; calls may come from several threads. Pictures are (N, 3, H, W) with values in about [-1, 1].
class Autoencoder {
 public:
  virtual ~Autoencoder() = default;
  virtual const LatentSpace& space() const = 0;
  virtual Dtype dtype() const = 0;  // of the weights

  // Latents z (N, channels, h, w), any float dtype, to pictures (N, 3, scale h, scale w), fp32, not clamped.
  virtual Tensor decode(const Tensor& z) const = 0;
  // Pictures (N, 3, H, W), any float dtype, to the moments (N, 2 channels, H / scale, W / scale) of a diagonal
  // Gaussian, fp32: means, then logarithms of variances, as the network gives them.
  virtual Tensor encode(const Tensor& pictures) const = 0;
};

// A draw from the Gaussian of `moments` (N, 2 C, h, w): mean + exp(logvar / 2) * noise, with logvar held in [-30, 20]
// as in diffusers' DiagonalGaussianDistribution. noise (N, C, h, w); undefined gives the mean.
Tensor sample_latents(const Tensor& moments, const Tensor& noise);

// How a batch goes through an autoencoder when memory is short.
struct Portions {
  bool slicing = false;  // one picture of the batch at a time
  bool tiling = false;   // in overlapping tiles of sample_size, blended where they meet (AutoencoderKL.enable_tiling)
};
Tensor decode(const Autoencoder& vae, const Tensor& z, Portions how);
Tensor encode(const Autoencoder& vae, const Tensor& pictures, Portions how);

// Like Autoencoder::decode and encode, tile by tile, with the tiles and the blending of diffusers' AutoencoderKL:
// tiles of sample_size overlap by a quarter. A tile's norms see that tile alone, so the result differs a little from
// decoding the whole; what fits in one tile is bit-identical to decoding the whole.
Tensor tiled_decode(const Autoencoder& vae, const Tensor& z);
Tensor tiled_encode(const Autoencoder& vae, const Tensor& pictures);

}  // namespace cairn::diffusion
