// What a transformers folder says of how to sample from its model (generation_config.json).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace cairn::models {

// Members that the folder does not set are empty.
struct GenerationConfig {
  std::vector<int32_t> ends;  // the tokens that end an answer
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k;
};

// Reads generation_config.json, and config.json for end tokens that the former lacks. A folder without either sets
// nothing; errors name the file and the member.
Result<GenerationConfig> load_generation_config(const std::string& folder);

}  // namespace cairn::models
