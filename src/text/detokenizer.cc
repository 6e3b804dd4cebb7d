#include "text/detokenizer.h"

#include <algorithm>

namespace cairn::text {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";
constexpr size_t kMostBytes = 4;                   // of a character, each of them a token of its own
constexpr size_t kLongCharacter = 4 * kMostBytes;  // tokens after which an open end must be broken bytes

}  // namespace

Detokenizer::Detokenizer(Tokenizer tokenizer, bool skip_special, std::span<const int64_t> context)
    : tokenizer_(std::move(tokenizer)), skip_special_(skip_special), window_(context.begin(), context.end()) {
  const auto line = tokenizer_.id_of("<0x0A>");
  if (line) {
    const int64_t ids[] = {*line};
    byte_fallback_ = or_throw(tokenizer_.decode(ids)) == "\n";
  }
  settled_ = window_.size();
  given_ = or_throw(tokenizer_.decode(window_, skip_special_)).size();
}

bool Detokenizer::is_byte(int64_t id) const {
  const std::string_view token = tokenizer_.token_of(id);
  return byte_fallback_ && token.size() == 6 && token.starts_with("<0x") && token.ends_with('>');
}

// A special token that is left out has no text even alone; neither has a blank that a decoder takes off the front, but
// that one has none with special tokens either.
Result<bool> Detokenizer::is_skipped(int64_t id) const {
  const int64_t ids[] = {id};
  return skip_special_ && TRY(tokenizer_.decode(ids, true)).empty() && !TRY(tokenizer_.decode(ids)).empty();
}

Result<std::string> Detokenizer::push(int64_t id) {
  // Neither adds anything, and both would let the window grow; a run of byte tokens goes on behind them.
  if (tokenizer_.token_of(id).empty() || TRY(is_skipped(id))) return std::string();
  window_.push_back(id);
  if (is_byte(id)) return std::string();
  return take(false);
}

Result<std::string> Detokenizer::finish() { return take(true); }

Result<std::string> Detokenizer::take(bool last) {
  const std::string text = TRY(tokenizer_.decode(window_, skip_special_));
  // The end of the text is one U+FFFD where a character is not complete.
  const bool open = text.ends_with(kReplacement) && !last;
  const size_t end = open ? text.size() - kReplacement.size() : text.size();
  std::string out = end > given_ ? text.substr(given_, end - given_) : std::string();
  given_ = std::max(given_, end);
  if (out.empty() || (open && window_.size() < settled_ + kLongCharacter)) return out;
  // What was complete before is not needed any more; what is new becomes the context, but for a character that is open.
  window_.erase(window_.begin(), window_.begin() + static_cast<ptrdiff_t>(settled_));
  settled_ = window_.size() - (open ? kMostBytes : 0);
  given_ = TRY(tokenizer_.decode(window_, skip_special_)).size() - (open ? kReplacement.size() : 0);
  return out;
}

}  // namespace cairn::text
