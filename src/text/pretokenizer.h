// The pre-tokenizers of a tokenizer.json: how the normalized text is cut into the pieces that the model sees one by
// one.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "text/buffer.h"
#include "text/regex.h"

namespace cairn::text {

struct Range {
  uint32_t begin, end;
};

struct Pieces {
  Buffer buffer;
  std::vector<Range> ranges;  // in order, never empty ones, not overlapping
  bool at_start = true;       // the buffer begins where the user's text begins
};

using PreTokenizer = std::function<Result<void>(Pieces&)>;

struct PreTokenizers {
  std::vector<PreTokenizer> steps;
  // The last step is ByteLevel and was left out: the model shall take raw bytes for its alphabet.
  bool bytes = false;
};

// The entry "pre_tokenizer", with sequences flattened; null gives none. `raw_bytes` permits PreTokenizers::bytes.
Result<PreTokenizers> parse_pretokenizers(const Json* j, bool raw_bytes);

}  // namespace cairn::text
