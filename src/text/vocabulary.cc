#include "text/vocabulary.h"

namespace cairn::text {

Result<void> Vocabulary::add(std::string token, int64_t id) {
  if (id < 0 || id >= kMostIds) return corrupt("token \"" + token + "\" has the impossible id " + std::to_string(id));
  const std::string_view text = texts_.emplace_back(std::move(token));
  ids_.insert_or_assign(text, static_cast<Id>(id));
  if (static_cast<size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<size_t>(id) + 1);
  tokens_[static_cast<size_t>(id)] = text;
  return {};
}

Result<Vocabulary> Vocabulary::from_json(const Json& j) {
  Vocabulary v;
  const auto* object = j.as_object();
  if (!object) return corrupt(std::string("the vocabulary must be an object, not ") + j.kind());
  v.ids_.reserve(object->size());
  v.tokens_.reserve(object->size());
  for (const auto& [token, id] : *object) {
    if (!id.as_int()) return corrupt("token \"" + token + "\" has no integer id");
    TRY_VOID(v.add(token, *id.as_int()));
  }
  return v;
}

}  // namespace cairn::text
