// Tokens that are looked for in the text itself, before and after it is normalized, and never reach the model.
#pragma once
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "text/normalizer.h"
#include "text/trie.h"
#include "text/vocabulary.h"

namespace cairn::text {

struct AddedToken {
  std::string content;
  Id id = 0;
  bool special = false, normalized = false, single_word = false, lstrip = false, rstrip = false;
};

// A stretch of text: an added token, or (id -1) text for the model.
struct Segment {
  size_t begin, end;
  Id id;
};

class AddedTokens {
 public:
  // The entry "added_tokens". A token that the model knows keeps the model's id.
  static Result<AddedTokens> parse(const Json* j, const Vocabulary& model, const std::vector<Normalizer>& normalizers);

  // Cuts raw text at the tokens that are matched before normalizing, or normalized text at the others. Longest match
  // first at each place. Segments may be empty or overlap where a token takes spaces that another one claims, as
  // upstream's do.
  std::vector<Segment> split(std::string_view text, bool normalized) const;

  const AddedToken* find(Id id) const {
    const auto it = by_id_.find(id);
    return it == by_id_.end() ? nullptr : &tokens_[it->second];
  }
  std::optional<Id> id_of(std::string_view content) const;
  size_t size() const { return size_; }  // the highest id and one

 private:
  std::vector<AddedToken> tokens_;
  std::unordered_map<Id, size_t> by_id_;
  Trie raw_, normalized_;  // values are indices into tokens_
  size_t size_ = 0;
};

}  // namespace cairn::text
