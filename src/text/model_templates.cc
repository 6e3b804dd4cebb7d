#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/file.h"
#include "base/strings.h"
#include "text/chat_template.h"
#include "text/folder.h"

namespace cairn::text {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostBytes = size_t{4} << 20;  // of a template's file

// A JSON file of the folder; null when it is not there.
Result<Json> optional_json(const std::string& path) {
  std::error_code none;
  return fs::exists(path, none) ? Json::read(path) : Json(nullptr);
}

// bos_token and the like; where a file has none, those of an earlier one stay.
void take_tokens(const Json& config, Json& tokens) {
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"})
    if (const std::string token = special_token(config, key); !token.empty()) tokens.set(key, token);
  const Json* named = config.find("extra_special_tokens");
  if (!named || !named->as_object()) return;
  for (const auto& [key, value] : *named->as_object())
    if (const std::string token = special_token(*named, key); !token.empty()) tokens.set(key, token);
}

}  // namespace

void ModelTemplates::add(const std::string& name, std::string_view source, const std::string& where) {
  if (const auto known = names(); std::find(known.begin(), known.end(), name) != known.end()) return;
  templates_.emplace_back(name, ChatTemplate::parse(source, where));
  sources_.append(source).append("\n");
}

Result<void> ModelTemplates::add_all(const Json& value, const std::string& where) {
  if (const auto* source = value.as_string()) return add("default", *source, where), Result<void>();
  if (const auto* by_name = value.as_object()) {
    for (const auto& [name, source] : *by_name) {
      if (!source.as_string()) return corrupt(fmt::format("{}: the chat template '{}' is no text", where, name));
      add(name, *source.as_string(), where + " (" + name + ")");
    }
    return {};
  }
  const auto* list = value.as_array();
  if (!list) return corrupt(fmt::format("{}: chat_template must be a text or a list, not {}", where, value.kind()));
  for (const Json& entry : *list) {
    const std::string name = entry.text("name");
    const Json* source = entry.find("template");
    if (name.empty() || !source || !source->as_string())
      return corrupt(fmt::format("{}: an entry of chat_template needs the texts 'name' and 'template'", where));
    add(name, *source->as_string(), where + " (" + name + ")");
  }
  return {};
}

Result<ModelTemplates> ModelTemplates::load(const std::string& folder) {
  ModelTemplates out;
  out.folder_ = folder;
  std::error_code none;
  if (!fs::is_directory(folder, none)) return failure(Code::kNotFound, folder + " is no folder");
  const std::string config_path = folder + "/tokenizer_config.json";
  const Json config = TRY(optional_json(config_path));
  take_tokens(TRY(optional_json(folder + "/special_tokens_map.json")), out.special_tokens_);
  take_tokens(config, out.special_tokens_);

  if (const std::string path = folder + "/chat_template.jinja"; fs::exists(path, none))
    out.add("default", TRY(read_file(path, kMostBytes)), path);
  if (const std::string more = folder + "/additional_chat_templates"; fs::is_directory(more, none)) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(more, none))
      if (entry.path().extension() == ".jinja") files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto& file : files)
      out.add(file.stem().string(), TRY(read_file(file.string(), kMostBytes)), file.string());
  }
  if (!out.templates_.empty()) return out;
  const std::string json_path = folder + "/chat_template.json";
  const Json json = TRY(optional_json(json_path));
  for (const auto& [file, path] : {std::pair(&json, json_path), {&config, config_path}}) {
    const Json* value = file->find("chat_template");
    if (!value || value->is_null() || !out.templates_.empty()) continue;
    TRY_VOID(out.add_all(*value, path));
  }
  return out;
}

std::vector<std::string> ModelTemplates::names() const {
  std::vector<std::string> out;
  for (const auto& [name, parsed] : templates_) out.push_back(name);
  return out;
}

Result<ChatTemplate> ModelTemplates::choose(bool with_tools, std::string_view wanted) const {
  if (templates_.empty())
    return failure(Code::kNotFound, folder_ + " has no chat template; give one, or send a prompt without messages");
  const auto find = [&](std::string_view name) {
    return std::find_if(templates_.begin(), templates_.end(), [&](const auto& t) { return t.first == name; });
  };
  auto at = find(wanted);
  if (wanted.empty()) {
    if (with_tools) at = find("tool_use");
    if (at == templates_.end()) at = find("default");
  }
  if (at != templates_.end()) return at->second;
  return failure(Code::kNotFound,
                 fmt::format("{} has no chat template '{}'{}; there are: {}", folder_,
                             wanted.empty() ? "default" : wanted, did_you_mean(wanted, names()), join(names(), ", ")));
}

}  // namespace cairn::text
