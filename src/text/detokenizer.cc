#include "text/detokenizer.h"

namespace cairn::text {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

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

Result<std::string> Detokenizer::push(int64_t id) {
  if (tokenizer_.token_of(id).empty()) return std::string();  // adds nothing, and would let the window grow
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
  if (end > given_) given_ = end;
  if (open) return out;
  if (out.empty()) {
    // A special token that is left out has no text even alone; a blank that a decoder takes off the front has.
    const int64_t newest[] = {window_.empty() ? 0 : window_.back()};
    if (!last && skip_special_ && TRY(tokenizer_.decode(newest, true)).empty() &&
        !TRY(tokenizer_.decode(newest)).empty())
      window_.pop_back();
    return out;
  }
  // What was complete before is not needed any more; what is new becomes the context.
  window_.erase(window_.begin(), window_.begin() + static_cast<ptrdiff_t>(settled_));
  settled_ = window_.size();
  given_ = TRY(tokenizer_.decode(window_, skip_special_)).size();
  return out;
}

}  // namespace cairn::text
