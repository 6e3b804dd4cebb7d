// Text -> token ids and back, for the tokenizers of Hugging Face folders.
//
//   auto clip = TRY(text::Tokenizer::load(model + "/tokenizer"));
//   auto e = TRY(clip.encode(prompt, {.max_length = clip.model_max_length(), .pad_to = 77}));
//   if (!e.lost.empty()) warn(e.lost);
//
// The meaning is that of the `tokenizers` library: ids are equal to its ids, not merely equivalent.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::text {

struct EncodeOptions {
  bool add_special = true;  // begin and end tokens, as the post-processor says
  size_t max_length = 0;    // ids at most, special tokens included; 0: no limit
  size_t pad_to = 0;        // pads on the right with pad_id() up to this many ids; 0: no padding
};

struct Encoding {
  std::vector<int64_t> ids;
  size_t length = 0;  // ids before the padding
  std::string lost;   // the end of the text that max_length cut off, as the user spelt it; empty when nothing was cut
};

// Immutable and cheap to copy; every method may be called from many threads at once.
class Tokenizer {
 public:
  // A folder: tokenizer.json, else vocab.json + merges.txt, else spiece.model; with tokenizer_config.json and
  // special_tokens_map.json when they are there. Errors name the file.
  static Result<Tokenizer> load(const std::string& folder);
  // The text of a tokenizer.json, and of its tokenizer_config.json when there is one.
  static Result<Tokenizer> from_json(std::string_view tokenizer_json, std::string_view config_json = "{}");

  // The bytes of a spiece.model with a Unigram model, tokenized as T5Tokenizer does.
  static Result<Tokenizer> from_sentencepiece(std::string_view model, std::string_view config_json = "{}");

  // Truncation keeps the special tokens. An empty text is valid; broken UTF-8 is an error that gives the byte.
  Result<Encoding> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // Bytes that are no UTF-8 become U+FFFD; ids without a token add nothing.
  Result<std::string> decode(std::span<const int64_t> ids, bool skip_special = false) const;

  size_t vocabulary_size() const;   // the highest id and one
  size_t model_max_length() const;  // 0 when the folder sets none
  std::optional<int64_t> pad_id() const;
  std::optional<int64_t> bos_id() const;
  std::optional<int64_t> eos_id() const;
  std::optional<int64_t> id_of(std::string_view token) const;
  // How the vocabulary writes that token ("Ġthe", "▁the", "<0x0A>"); empty when there is none.
  std::string_view token_of(int64_t id) const;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace cairn::text
