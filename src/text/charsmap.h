// sentencepiece's compiled character map: a double-array trie from code points to their replacements.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/buffer.h"

namespace cairn::text {

class Charsmap {
 public:
  // u32 size of the trie in bytes, the trie (darts-clone units), then the replacements, each ended by NUL.
  static Result<Charsmap> parse(std::string_view bytes);
  // Rewrites each grapheme of up to five bytes as a whole when the map has a prefix of it, else each code point:
  // what the tokenizers library does, which is not quite sentencepiece's longest match.
  void apply(Buffer& buffer) const;

 private:
  std::optional<std::string_view> find(std::string_view key) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace cairn::text
