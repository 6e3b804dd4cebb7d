// Bytes that start with a brace are a tokenizer.json, with which a text is encoded; any others are a text for the
// tokenizers in weights/. Ids must be ids of the vocabulary, and broken UTF-8 must be refused.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/strings.h"
#include "text/tokenizer.h"

namespace {

void encode(const cairn::text::Tokenizer& tokenizer, std::string_view text) {
  const auto all = tokenizer.encode(text);
  if (!all) {
    cairn::check(!all.error().what.empty(), "an error without words");
    return;
  }
  cairn::check(cairn::valid_utf8(text), "broken UTF-8 that was encoded");
  for (const int64_t id : all->ids) {
    cairn::check(id >= 0 && static_cast<size_t>(id) < tokenizer.vocabulary_size(), "an id outside the vocabulary");
  }
  const auto text_again = tokenizer.decode(all->ids);
  cairn::check(!text_again || cairn::valid_utf8(*text_again), "decoded text that is no UTF-8");
  const auto cut = tokenizer.encode(text, {.max_length = 5, .pad_to = 7});
  cairn::check(!cut || cut->length <= 5, "more ids than the limit");
}

const std::vector<cairn::text::Tokenizer>& shipped() {
  static const auto all = [] {
    std::vector<cairn::text::Tokenizer> tokenizers;
    for (const char* folder : {"cairn-emoji/tokenizer", "cairn-emoji/tokenizer_2"}) {
      const std::string path = std::string(CAIRN_SOURCE_DIR "/weights/") + folder;
      tokenizers.push_back(cairn::or_throw(cairn::text::Tokenizer::load(path)));
    }
    return tokenizers;
  }();
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (!bytes.starts_with('{')) {
    for (const auto& tokenizer : shipped()) encode(tokenizer, bytes);
  } else if (const auto tokenizer = cairn::text::Tokenizer::from_json(bytes)) {
    encode(*tokenizer, "A rocket, on a  blue\tbackground: \xC3\xA9t\xC3\xA9 \xE2\x82\xAC 42 <unk></s>");
  }
  return 0;
}
