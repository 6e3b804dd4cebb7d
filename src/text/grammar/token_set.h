// The bytes that each token of a vocabulary adds to a text, as tries that masks are found with.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace cairn::text::grammar {

// Immutable; one for each model, shared by its grammars.
class TokenSet {
 public:
  // Nodes in preorder: a walk that leaves a subtree goes on at `after`.
  struct Trie {
    std::vector<uint8_t> label;
    std::vector<uint16_t> depth;  // 1 for a first byte
    std::vector<uint32_t> after;
    std::vector<uint32_t> first_token;  // tokens[first_token[i], first_token[i + 1]) end at node i
    std::vector<uint32_t> tokens;
  };

  // Special tokens and ids without a token have no bytes: a grammar never allows them. Linear in the vocabulary, about
  // a microsecond a token.
  static Result<std::shared_ptr<const TokenSet>> of(const Tokenizer& tokenizer);
  static std::shared_ptr<const TokenSet> of(std::vector<std::string> bytes);

  size_t size() const { return bytes_.size(); }
  std::string_view bytes(int64_t id) const {
    return id >= 0 && static_cast<size_t>(id) < bytes_.size() ? bytes_[static_cast<size_t>(id)] : std::string_view();
  }
  uint32_t longest() const { return longest_; }  // bytes of a token

  // Tokens of whole characters that stand for themselves in a JSON string, as a bit mask and as a trie; and the others.
  const std::vector<uint32_t>& plain_mask() const { return plain_mask_; }
  const Trie& plain() const { return plain_; }
  const Trie& others() const { return others_; }

 private:
  explicit TokenSet(std::vector<std::string> bytes);
  std::vector<std::string> bytes_;
  std::vector<uint32_t> plain_mask_;
  Trie plain_, others_;
  uint32_t longest_ = 0;
};

}  // namespace cairn::text::grammar
