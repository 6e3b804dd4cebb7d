// The decoders of a tokenizer.json: the spelling of tokens in the vocabulary -> text.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace cairn::text {

// Changes the list of tokens, or joins it to fewer.
using Decoder = std::function<Result<void>(std::vector<std::string>&)>;

// The entry "decoder", with sequences flattened; null gives none: tokens are then joined with spaces.
Result<std::vector<Decoder>> parse_decoders(const Json* j);

}  // namespace cairn::text
