// Low-rank adapters (Hu et al. 2021) on FLUX transformers: files in diffusers/PEFT names or in kohya's.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "models/registry.h"
#include "nn/weights.h"

namespace cairn::models {

// `base` with every adapter of the files added to the weights it names: W + scale * alpha / rank * up down, in fp32.
// Adapters of text encoders are skipped with a note. Errors name the file and the key that fits no weight.
Result<std::shared_ptr<nn::WeightSource>> with_loras(std::shared_ptr<nn::WeightSource> base,
                                                     const std::vector<Lora>& loras, std::vector<std::string>& notes);

}  // namespace cairn::models
