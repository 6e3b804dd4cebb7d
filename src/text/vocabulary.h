// Tokens and their ids, both ways.
#pragma once
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace cairn::text {

using Id = int32_t;
constexpr int64_t kMostIds =
    1 << 22;  // more than any published vocabulary, and a bound on what a bad file can make us allocate

class Vocabulary {
 public:
  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;  // views into texts_ survive a move, but not a copy
  Vocabulary& operator=(Vocabulary&&) = default;

  // Of a token that comes twice the last id counts. Ids outside [0, kMostIds) are an error.
  Result<void> add(std::string token, int64_t id);
  // {"token": id, …}
  static Result<Vocabulary> from_json(const Json& j);

  std::optional<Id> find(std::string_view token) const {
    const auto it = ids_.find(token);
    return it == ids_.end() ? std::nullopt : std::optional<Id>(it->second);
  }
  // Empty when there is none.
  std::string_view token(int64_t id) const {
    return id >= 0 && static_cast<size_t>(id) < tokens_.size() ? tokens_[static_cast<size_t>(id)] : std::string_view();
  }
  // How many distinct tokens; and the highest id and one.
  size_t count() const { return ids_.size(); }
  size_t size() const { return tokens_.size(); }
  const std::unordered_map<std::string_view, Id>& all() const { return ids_; }

 private:
  std::deque<std::string> texts_;
  std::unordered_map<std::string_view, Id> ids_;
  std::vector<std::string_view> tokens_;
};

}  // namespace cairn::text
