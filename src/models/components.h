// One make_ function per component family; registry.cc is the table of them.
#pragma once
#include <memory>

#include "base/json.h"
#include "diffusion/autoencoder.h"
#include "diffusion/denoiser.h"
#include "diffusion/text_encoder.h"
#include "nn/weights.h"

namespace cairn::models {

// Each builds a component from its checkpoint and its config.json, and throws Failure when they do not fit.
std::unique_ptr<diffusion::TextEncoder> make_clip_text(const nn::Weights& w, const Json& config);
std::unique_ptr<diffusion::TextEncoder> make_t5_encoder(const nn::Weights& w, const Json& config);
std::unique_ptr<diffusion::Denoiser> make_flux(const nn::Weights& w, const Json& config);

}  // namespace cairn::models
