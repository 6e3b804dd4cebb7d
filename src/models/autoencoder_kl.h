// AutoencoderKL of diffusers: the autoencoder of latent diffusion (Rombach et al. 2022) and of FLUX.
#pragma once
#include <memory>

#include "base/json.h"
#include "diffusion/autoencoder.h"
#include "nn/weights.h"

namespace cairn::models {

// Builds encoder and decoder from a checkpoint with diffusers' names, and from its config.json. Throws Failure when the
// config makes no sense or a weight is missing or has another shape.
std::unique_ptr<diffusion::Autoencoder> make_autoencoder_kl(const nn::Weights& weights, const Json& config);

}  // namespace cairn::models
