#include "text/grammar/token_set.h"

#include <algorithm>

#include "text/byte_level.h"
#include "text/unicode.h"

namespace cairn::text::grammar {
namespace {

constexpr size_t kLongestToken = 1024;  // bytes; longer ones are never allowed
constexpr std::string_view kReplacement = "\xef\xbf\xbd";

bool plain_json(std::string_view bytes) {
  return invalid_utf8_at(bytes) == std::string_view::npos &&
         std::ranges::all_of(bytes, [](char c) { return static_cast<uint8_t>(c) >= 0x20 && c != '"' && c != '\\'; });
}

TokenSet::Trie make_trie(const std::vector<std::string>& bytes, std::vector<uint32_t> ids) {
  std::ranges::sort(ids, [&](uint32_t a, uint32_t b) { return bytes[a] != bytes[b] ? bytes[a] < bytes[b] : a < b; });
  TokenSet::Trie t;
  std::vector<uint32_t> open;  // the nodes of the last token
  const auto close_to = [&](size_t depth) {
    for (; open.size() > depth; open.pop_back()) t.after[open.back()] = static_cast<uint32_t>(t.label.size());
  };
  std::string_view last;
  for (const uint32_t id : ids) {
    const std::string_view b = bytes[id];
    const auto differ = static_cast<size_t>(std::ranges::mismatch(last, b).in2 - b.begin());
    close_to(differ);
    for (size_t i = differ; i < b.size(); ++i) {
      open.push_back(static_cast<uint32_t>(t.label.size()));
      t.label.push_back(static_cast<uint8_t>(b[i]));
      t.depth.push_back(static_cast<uint16_t>(i + 1));
      t.after.push_back(0);
      t.first_token.push_back(static_cast<uint32_t>(t.tokens.size()));
    }
    t.tokens.push_back(id);
    last = b;
  }
  close_to(0);
  t.first_token.push_back(static_cast<uint32_t>(t.tokens.size()));
  return t;
}

// The byte that "<0x41>" stands for.
bool is_byte_token(std::string_view spelling, uint8_t& byte) {
  if (spelling.size() != 6 || !spelling.starts_with("<0x") || spelling[5] != '>') return false;
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; };
  const int high = digit(spelling[3]), low = digit(spelling[4]);
  if (high < 0 || low < 0) return false;
  byte = static_cast<uint8_t>(high * 16 + low);
  return true;
}

}  // namespace

// What a token adds is what decoding it after another token adds. A part of a character decodes to U+FFFD; its bytes
// are then read from the spelling.
Result<std::shared_ptr<const TokenSet>> TokenSet::of(const Tokenizer& tokenizer) {
  std::vector<std::string> bytes(tokenizer.vocabulary_size());
  int64_t pair[2] = {-1, 0};
  std::string before;
  for (const char* word : {"a", "A", "e", "0", "1", "\u2581a", "\u2581the", "the"}) {
    const auto id = tokenizer.id_of(word);
    if (!id) continue;
    pair[0] = *id;
    before = TRY(tokenizer.decode(std::span(pair, 1)));
    break;
  }
  if (pair[0] < 0) return invalid("constrained decoding needs a vocabulary with letters or digits");
  for (size_t id = 0; id < bytes.size(); ++id) {
    pair[1] = static_cast<int64_t>(id);
    const std::string_view spelling = tokenizer.token_of(pair[1]);
    if (spelling.empty()) continue;
    const std::string both = TRY(tokenizer.decode(pair, true));
    if (!both.starts_with(before)) continue;
    std::string added = both.substr(before.size());
    if (added.empty()) continue;
    uint8_t byte = 0;
    if (added.find(kReplacement) != std::string::npos) {
      if (is_byte_token(spelling, byte)) {
        added = std::string(1, static_cast<char>(byte));
      } else if (auto raw = from_byte_level(spelling)) {
        added = *std::move(raw);
      }
    }
    bytes[id] = std::move(added);
  }
  return of(std::move(bytes));
}

std::shared_ptr<const TokenSet> TokenSet::of(std::vector<std::string> bytes) {
  return std::shared_ptr<const TokenSet>(new TokenSet(std::move(bytes)));
}

TokenSet::TokenSet(std::vector<std::string> bytes) : bytes_(std::move(bytes)), plain_mask_((bytes_.size() + 31) / 32) {
  std::vector<uint32_t> plain, others;
  for (uint32_t id = 0; id < bytes_.size(); ++id) {
    std::string& b = bytes_[id];
    if (b.size() > kLongestToken) b.clear();
    if (b.empty()) continue;
    longest_ = std::max(longest_, static_cast<uint32_t>(b.size()));
    if (plain_json(b)) {
      plain.push_back(id);
      plain_mask_[id / 32] |= uint32_t{1} << id % 32;
    } else {
      others.push_back(id);
    }
  }
  plain_ = make_trie(bytes_, std::move(plain));
  others_ = make_trie(bytes_, std::move(others));
}

}  // namespace cairn::text::grammar
