#include "app/inspection.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "base/file.h"
#include "base/safetensors.h"
#include "base/strings.h"
#include "image/image.h"
#include "models/registry.h"

namespace cairn::app {
namespace {

namespace fs = std::filesystem;

// What tells models of a class apart, in the order shown. Keys of diffusers and transformers.
constexpr const char* kHighlights[] = {"num_layers",
                                       "num_single_layers",
                                       "num_hidden_layers",
                                       "hidden_size",
                                       "d_model",
                                       "intermediate_size",
                                       "d_ff",
                                       "num_attention_heads",
                                       "num_key_value_heads",
                                       "num_heads",
                                       "head_dim",
                                       "attention_head_dim",
                                       "d_kv",
                                       "joint_attention_dim",
                                       "pooled_projection_dim",
                                       "in_channels",
                                       "guidance_embeds",
                                       "axes_dims_rope",
                                       "latent_channels",
                                       "block_out_channels",
                                       "sample_size",
                                       "scaling_factor",
                                       "shift_factor",
                                       "vocab_size",
                                       "max_position_embeddings",
                                       "rope_theta",
                                       "tie_word_embeddings",
                                       "num_train_timesteps",
                                       "shift",
                                       "use_dynamic_shifting",
                                       "base_shift",
                                       "max_shift",
                                       "model_max_length",
                                       "time_shift_type"};

struct Totals {
  int64_t tensors = 0, parameters = 0, bytes = 0;
  std::map<std::string, int64_t> dtypes;

  void add(const SafetensorsEntry& e) {
    const auto size = static_cast<int64_t>(e.end - e.begin);
    const int64_t count = size / static_cast<int64_t>(safetensors_dtype_size(e.dtype));
    ++tensors;
    parameters += count;
    bytes += size;
    dtypes[e.dtype] += count;
  }
  Json json() const {
    Json mix(Json::Object{});
    for (const auto& [dtype, count] : dtypes) mix.set(dtype, count);
    return Json::Object{{"tensors", tensors}, {"parameters", parameters}, {"bytes", bytes}, {"dtypes", std::move(mix)}};
  }
};

Json tensor_json(const std::string& name, const SafetensorsEntry& e) {
  Json::Array shape(e.shape.begin(), e.shape.end());
  return Json::Object{{"name", name},
                      {"dtype", e.dtype},
                      {"shape", std::move(shape)},
                      {"bytes", static_cast<int64_t>(e.end - e.begin)}};
}

Json::Array strings(const std::set<std::string>& values) { return {values.begin(), values.end()}; }

// What a file of low-rank adapters says of itself; null for other files.
Json lora_json(const SafetensorsHeader& header) {
  std::set<std::string> modules, targets;
  std::set<int64_t> ranks;
  bool peft = false;
  for (const auto& [name, entry] : header.entries) {
    for (const char* down : {".lora_A.", ".lora_down.", ".lora.down."}) {
      const auto at = name.find(down);
      if (at == std::string::npos || entry.shape.empty()) continue;
      peft |= down == std::string_view(".lora_A.");
      modules.insert(name.substr(0, at));
      ranks.insert(entry.shape[0]);
      // PEFT names start with the component; kohya's with lora_unet_, lora_te1_, ….
      targets.insert(name.starts_with("lora_") ? name.substr(0, name.find('_', 5)) : name.substr(0, name.find('.')));
    }
  }
  if (modules.empty()) return nullptr;
  return Json::Object{{"naming", peft ? "peft" : "kohya"},
                      {"modules", static_cast<int64_t>(modules.size())},
                      {"ranks", Json::Array(ranks.begin(), ranks.end())},
                      {"targets", strings(targets)}};
}

Result<Json> inspect_safetensors(const std::string& path) {
  const auto file = TRY(SafetensorsFile::open(path));
  Totals totals;
  Json::Array tensors;
  for (const auto& [name, entry] : file.header.entries) {
    totals.add(entry);
    tensors.push_back(tensor_json(name, entry));
  }
  Json metadata(Json::Object{});
  for (const auto& [key, value] : file.header.metadata) metadata.set(key, value);
  Json out(Json::Object{{"kind", "safetensors"}});
  const Json lora = lora_json(file.header);
  if (!lora.is_null()) {
    out.set("kind", "lora");
    for (const auto& [key, value] : *lora.as_object()) out.set(key, value);
  }
  out.set("metadata", std::move(metadata));
  out.set("totals", totals.json());
  out.set("tensors", std::move(tensors));
  return out;
}

Result<Json> inspect_picture(const std::string& path, const std::string& bytes) {
  const auto picture = image::decode(bytes);
  if (!picture) return tl::unexpected(within(path, picture.error()));
  Json texts(Json::Object{});
  if (bytes.starts_with("\x89PNG")) {
    const auto metadata = image::decode_metadata(bytes);
    if (!metadata) return tl::unexpected(within(path, metadata.error()));
    for (const auto& [key, text] : *metadata) texts.set(key, text);
  }
  return Json(Json::Object{
      {"kind", "picture"}, {"width", picture->width}, {"height", picture->height}, {"texts", std::move(texts)}});
}

// The checkpoint files of a component, as loading would choose them: a whole file, the shards of an index, or else
// whatever safetensors files there are.
Result<std::vector<std::string>> checkpoint_files(const fs::path& folder) {
  std::error_code ignored;
  for (const char* stem : {"diffusion_pytorch_model", "model"}) {
    const std::string whole = std::string(stem) + ".safetensors", index = whole + ".index.json";
    if (fs::exists(folder / whole, ignored)) return std::vector{whole};
    if (!fs::exists(folder / index, ignored)) continue;
    const Json json = TRY(Json::read((folder / index).string()));
    const Json* map = json.find("weight_map");
    if (!map || !map->as_object()) return corrupt((folder / index).string() + " has no weight_map");
    std::set<std::string> names;
    for (const auto& [tensor, file] : *map->as_object()) {
      const std::string* name = file.as_string();
      if (!name || name->empty() || fs::path(*name).filename() != *name)
        return corrupt(
            fmt::format("{} keeps {} in {}, which is no file name", (folder / index).string(), tensor, file.dump()));
      names.insert(*name);
    }
    return std::vector<std::string>(names.begin(), names.end());
  }
  std::vector<std::string> names;
  for (fs::directory_iterator it(folder, ignored), end; !ignored && it != end; it.increment(ignored))
    if (it->path().extension() == ".safetensors") names.push_back(it->path().filename().string());
  std::ranges::sort(names);
  return names;
}

Result<Json> inspect_component(const fs::path& folder, std::string kind) {
  Json config(Json::Object{});
  std::error_code ignored;
  for (const char* name : {"config.json", "scheduler_config.json", "tokenizer_config.json"}) {
    if (!fs::exists(folder / name, ignored)) continue;
    const Json all = TRY(Json::read((folder / name).string()));
    if (kind.empty()) kind = all.text("_class_name", all.text("tokenizer_class"));
    if (const Json* list = all.find("architectures");
        kind.empty() && list && list->as_array() && !list->as_array()->empty())
      kind = (*list->as_array())[0].as_string() ? *(*list->as_array())[0].as_string() : "";
    for (const char* key : kHighlights)
      if (const Json* value = all.find(key); value && !value->is_null()) config.set(key, *value);
    break;
  }
  Totals totals;
  Json::Array files, tensors;
  for (const auto& name : TRY(checkpoint_files(folder))) {
    const auto file = TRY(SafetensorsFile::open((folder / name).string()));
    for (const auto& [tensor, entry] : file.header.entries) {
      totals.add(entry);
      tensors.push_back(tensor_json(tensor, entry));
    }
    files.push_back(Json::Object{{"name", name},
                                 {"bytes", static_cast<int64_t>(file.map->size())},
                                 {"tensors", static_cast<int64_t>(file.header.entries.size())}});
  }
  const auto known = models::supported_classes();
  const bool supported = std::ranges::find(known, kind) != known.end();
  return Json(Json::Object{{"kind", "component"},
                           {"class", kind},
                           {"supported", supported},
                           {"config", std::move(config)},
                           {"files", std::move(files)},
                           {"totals", totals.json()},
                           {"tensors", std::move(tensors)}});
}

Result<Json> inspect_pipeline(const fs::path& folder) {
  const std::string index_path = (folder / "model_index.json").string();
  const Json index = TRY(Json::read(index_path));
  if (!index.as_object()) return corrupt(index_path + " is no JSON object");
  const std::string kind = index.text("_class_name");
  Json::Array components;
  int64_t bytes = 0;
  for (const auto& [name, value] : *index.as_object()) {
    const auto* pair = value.as_array();
    if (!pair || pair->size() != 2 || !(*pair)[1].as_string()) continue;  // settings, and components left out as null
    std::error_code ignored;
    if (fs::path(name).filename() != name || !fs::is_directory(folder / name, ignored))
      return failure(Code::kNotFound,
                     fmt::format("{} names the component {}, and there is no such folder", index_path, name));
    const Json part = TRY(inspect_component(folder / name, *(*pair)[1].as_string()));
    Json item(Json::Object{{"name", name}});
    for (const auto& [key, v] : *part.as_object()) item.set(key, v);
    bytes += *part.find("totals")->find("bytes")->as_int();
    components.push_back(std::move(item));
  }
  const auto known = models::supported_classes();
  return Json(Json::Object{{"kind", "pipeline"},
                           {"class", kind},
                           {"supported", std::ranges::find(known, kind) != known.end()},
                           {"components", std::move(components)},
                           {"bytes", bytes}});
}

}  // namespace

Result<Json> inspect_path(const std::string& path) {
  std::error_code ignored;
  const auto status = fs::status(path, ignored);
  if (!fs::exists(status)) return failure(Code::kNotFound, path + " does not exist");
  if (fs::is_directory(status)) {
    if (fs::exists(fs::path(path) / "model_index.json", ignored)) return inspect_pipeline(path);
    auto component = TRY(inspect_component(path, ""));
    if (component.text("class").empty() && component.find("tensors")->as_array()->empty())
      return invalid(
          path + " is no model folder: it holds neither model_index.json, nor a config.json, nor safetensors files");
    return component;
  }
  if (path.ends_with(".safetensors")) return inspect_safetensors(path);
  const std::string bytes = TRY(read_file(path));
  for (const char* magic : {"\x89PNG", "\xff\xd8", "RIFF"})
    if (bytes.starts_with(magic)) return inspect_picture(path, bytes);
  return failure(Code::kUnsupported,
                 path + " is neither a picture (PNG, JPEG, WebP), nor a .safetensors file, nor a model folder");
}

}  // namespace cairn::app
