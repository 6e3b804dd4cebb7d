// Token ids of a running request -> text, piece by piece.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace cairn::text {

// Gives out text as soon as later tokens cannot change it: no half characters, and no byte tokens (<0xE2>) before their
// run ends. All pieces joined are what Tokenizer::decode makes of all ids. One for each request; the tokenizer is
// shared.
class Detokenizer {
 public:
  // `context`: ids that came before (the end of the prompt), whose text is not given out; with them a first word keeps
  // the blank before it, which decoders otherwise take off.
  Detokenizer(Tokenizer tokenizer, bool skip_special, std::span<const int64_t> context = {});

  Result<std::string> push(int64_t id);
  // What is still held back: once, at the end.
  Result<std::string> finish();

 private:
  Result<std::string> take(bool last);
  bool is_byte(int64_t id) const;
  Result<bool> is_skipped(int64_t id) const;

  Tokenizer tokenizer_;
  bool skip_special_;
  bool byte_fallback_ = false;
  // The window that is decoded: tokens whose text was given out, as the context of the decoder, and those after them.
  std::vector<int64_t> window_;
  size_t settled_ = 0;  // tokens of the window that were complete the last time
  size_t given_ = 0;    // bytes of the window's text that were given out
};

}  // namespace cairn::text
