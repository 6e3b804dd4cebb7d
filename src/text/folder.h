// The older tokenizer files, told as a tokenizer.json.
#pragma once
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace cairn::text {

// vocab.json and merges.txt: CLIP's pipeline when the folder says so (or words end in </w>), else GPT-2's.
Result<Json> from_vocab_and_merges(Json vocab, std::string_view merges, const Json& config);
// spiece.model (a serialized sentencepiece ModelProto with a Unigram model): T5's pipeline.
Result<Json> from_sentencepiece(std::string_view proto, const Json& config);

// The content of "eos_token" and the like: a string, or an object that holds it.
std::string special_token(const Json& config, std::string_view key);

}  // namespace cairn::text
