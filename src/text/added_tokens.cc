#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"

namespace cairn::text {
namespace {

constexpr Id kNextId = -1;  // older files do not say the id: it is the first one free

Result<AddedToken> read_token(const Json& j) {
  AddedToken t;
  const Json* content = j.find("content");
  const Json* id = j.find("id");
  if (!content || !content->as_string()) return corrupt("an added token has no \"content\"");
  t.content = *content->as_string();
  const int64_t number = id && id->as_int() ? *id->as_int() : kNextId;
  if ((number < 0 && number != kNextId) || number >= kMostIds)
    return corrupt("added token \"" + t.content + "\" has the impossible id " + std::to_string(number));
  t.id = static_cast<Id>(number);
  const auto flag = [&](std::string_view key, bool otherwise) {
    const Json* v = j.find(key);
    return v && v->as_bool() ? *v->as_bool() : otherwise;
  };
  t.special = flag("special", false);
  t.normalized = flag("normalized", !t.special);
  t.single_word = flag("single_word", false);
  t.lstrip = flag("lstrip", false);
  t.rstrip = flag("rstrip", false);
  return t;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  const bool left = begin == 0 || !is_word(code_point_at(text, previous_code_point(text, begin)).value);
  return left && (end == text.size() || !is_word(code_point_at(text, end).value));
}

size_t spaces_begin(std::string_view text, size_t end) {
  while (end > 0 && is_space(code_point_at(text, previous_code_point(text, end)).value))
    end = previous_code_point(text, end);
  return end;
}

size_t spaces_end(std::string_view text, size_t begin) {
  while (begin < text.size() && is_space(code_point_at(text, begin).value)) begin += code_point_at(text, begin).size;
  return begin;
}

}  // namespace

Result<AddedTokens> AddedTokens::parse(const Json* j, const Vocabulary& model,
                                       const std::vector<Normalizer>& normalizers) {
  AddedTokens out;
  if (!j || j->is_null()) return out;
  if (!j->as_array()) return corrupt("\"added_tokens\" must be a list");
  std::unordered_map<std::string, size_t> known;
  for (const Json& entry : *j->as_array()) {
    AddedToken t = TRY(read_token(entry));
    if (t.content.empty()) continue;
    if (const auto id = model.find(t.content)) t.id = *id;
    if (t.id == kNextId) t.id = static_cast<Id>(std::max(model.size(), out.size_));
    out.size_ = std::max(out.size_, static_cast<size_t>(t.id) + 1);
    const auto [it, fresh] = known.try_emplace(t.content, out.tokens_.size());
    out.by_id_[t.id] = it->second;
    if (fresh) {
      out.tokens_.push_back(std::move(t));
    } else {
      out.tokens_[it->second] = std::move(t);
    }
  }
  std::vector<std::string> contents(out.tokens_.size());
  std::vector<std::pair<std::string_view, int32_t>> raw, normalized;
  for (size_t i = 0; i < contents.size(); ++i) {
    const AddedToken& t = out.tokens_[i];
    Buffer b = Buffer::of(t.content, 0, false);
    if (t.normalized) TRY_VOID(normalize(normalizers, b));
    contents[i] = std::move(b.text);
    (t.normalized ? normalized : raw).emplace_back(contents[i], static_cast<int32_t>(i));
  }
  out.raw_ = Trie(std::move(raw));
  out.normalized_ = Trie(std::move(normalized));
  return out;
}

std::optional<Id> AddedTokens::id_of(std::string_view content) const {
  for (const auto& t : tokens_)
    if (t.content == content) return t.id;
  return std::nullopt;
}

std::vector<Segment> AddedTokens::split(std::string_view text, bool normalized) const {
  std::vector<Segment> out;
  const Trie& trie = normalized ? normalized_ : raw_;
  size_t done = 0;
  for (size_t at = 0; at < text.size() && !trie.empty();) {
    size_t length = 0;
    int32_t index = -1;
    trie.prefixes(text, at, [&](size_t n, int32_t value) { length = n, index = value; });
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& t = tokens_[static_cast<size_t>(index)];
    size_t begin = at, end = at + length;
    at = end;
    if (t.single_word && !stands_alone(text, begin, end)) continue;
    if (t.lstrip) begin = std::max(spaces_begin(text, begin), done);
    if (t.rstrip) end = spaces_end(text, end);
    if (done < begin) out.push_back({done, begin, -1});
    out.push_back({begin, end, t.id});
    done = end;
  }
  if (done < text.size()) out.push_back({done, text.size(), -1});
  return out;
}

}  // namespace cairn::text
