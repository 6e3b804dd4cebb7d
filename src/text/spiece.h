// The parts of a sentencepiece model file that matter here.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::text {

struct SentencePieceModel {
  struct Piece {
    std::string text;
    double score = 0;
    int64_t type = 1;  // 1 normal, 2 unknown, 3 control, 4 user defined, 6 byte
  };
  std::vector<Piece> pieces;
  std::string charsmap;    // precompiled; empty: no normalization
  int64_t model_type = 1;  // 1 Unigram, 2 BPE, 3 word, 4 char
  int64_t unk_id = 0;
  bool byte_fallback = false;
};

// A serialized ModelProto (sentencepiece_model.proto). Read here rather than by libsentencepiece, which ends the
// process on some broken files, normalizes by other rules than the tokenizers library, and does not give out the
// charsmap.
Result<SentencePieceModel> parse_sentencepiece(std::string_view bytes);

}  // namespace cairn::text
