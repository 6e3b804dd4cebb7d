#include "text/frame.h"

#include "text/vocabulary.h"

namespace cairn::text {
namespace {

constexpr size_t kMostSpecial = 4096;

Result<int64_t> checked_id(const Json& j) {
  if (!j.as_int() || *j.as_int() < 0 || *j.as_int() >= kMostIds)
    return corrupt("the post-processor holds an impossible token id");
  return *j.as_int();
}

// ["</s>", 2]
Result<int64_t> id_of_pair(const Json& j, std::string_view key) {
  const Json* v = j.find(key);
  const auto* a = v ? v->as_array() : nullptr;
  if (!a || a->size() != 2) return corrupt("the post-processor needs \"" + std::string(key) + "\": [token, id]");
  return checked_id((*a)[1]);
}

Result<Frame> parse_template(const Json& j) {
  const Json* items = j.find("single");
  const Json* tokens = j.find("special_tokens");
  if (!items || !items->as_array()) return corrupt("TemplateProcessing has no list \"single\"");
  Frame frame;
  int texts = 0;
  for (const Json& item : *items->as_array()) {
    if (item.find("Sequence")) {
      ++texts;
      continue;
    }
    const Json* special = item.find("SpecialToken");
    const Json* entry = special && tokens ? tokens->find(special->text("id")) : nullptr;
    const Json* ids = entry ? entry->find("ids") : nullptr;
    if (!ids || !ids->as_array()) return corrupt("TemplateProcessing names a special token without ids");
    if (frame.size() > kMostSpecial) break;
    for (const Json& id : *ids->as_array()) (texts ? frame.after : frame.before).push_back(TRY(checked_id(id)));
  }
  if (texts != 1) return failure(Code::kUnsupported, "TemplateProcessing must hold the text once");
  return frame;
}

Result<Frame> parse(const Json& j, int depth) {
  const std::string type = j.text("type");
  if (depth > 16) return corrupt("post-processors are nested too deeply");
  if (type == "ByteLevel") return Frame{};  // moves offsets alone
  if (type == "TemplateProcessing") return parse_template(j);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    Frame frame;
    frame.before.push_back(TRY(id_of_pair(j, "cls")));
    frame.after.push_back(TRY(id_of_pair(j, "sep")));
    return frame;
  }
  if (type != "Sequence") return failure(Code::kUnsupported, "post-processor \"" + type + "\" is not known");
  const Json* list = j.find("processors");
  if (!list || !list->as_array()) return corrupt("post-processor Sequence holds no list");
  Frame all;
  for (const Json& inner : *list->as_array()) {
    const Frame f = TRY(parse(inner, depth + 1));
    all.before.insert(all.before.begin(), f.before.begin(), f.before.end());
    all.after.insert(all.after.end(), f.after.begin(), f.after.end());
  }
  return all;
}

}  // namespace

Result<Frame> parse_frame(const Json* j) {
  if (!j || j->is_null()) return Frame{};
  Frame frame = TRY(parse(*j, 0));
  if (frame.size() > kMostSpecial)
    return corrupt("the post-processor adds " + std::to_string(frame.size()) + " tokens");
  return frame;
}

}  // namespace cairn::text
