#include "base/safetensors.h"

#include <fmt/core.h>

#include <cstring>

namespace cairn {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit

Result<SafetensorsEntry> read_entry(const Json& j, uint64_t data_start, uint64_t file_size) {
  SafetensorsEntry e;
  e.dtype = j.text("dtype");
  const uint64_t item = safetensors_dtype_size(e.dtype);
  if (!item) return corrupt("has unknown dtype \"" + e.dtype + "\"");
  const Json *shape = j.find("shape"), *offsets = j.find("data_offsets");
  if (!shape || !shape->as_array()) return corrupt("has no shape");
  uint64_t bytes = item;
  for (const Json& d : *shape->as_array()) {
    const int64_t* n = d.as_int();
    if (!n || *n < 0) return corrupt("has a shape with " + d.dump());
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(*n), &bytes))
      return corrupt("has a shape of more than 2^64 bytes");
    e.shape.push_back(*n);
  }
  const auto* pair = offsets ? offsets->as_array() : nullptr;
  if (!pair || pair->size() != 2 || !(*pair)[0].as_int() || !(*pair)[1].as_int()) return corrupt("has no data_offsets");
  const int64_t begin = *(*pair)[0].as_int(), end = *(*pair)[1].as_int();
  if (begin < 0 || end < begin || static_cast<uint64_t>(end) > file_size - data_start)
    return corrupt(fmt::format("lies at bytes {} to {}, but the file holds {}: it is damaged or incomplete", begin, end,
                               file_size - data_start));
  if (static_cast<uint64_t>(end - begin) != bytes)
    return corrupt(fmt::format("should take {} bytes by its shape, but takes {}", bytes, end - begin));
  e.begin = data_start + static_cast<uint64_t>(begin);
  e.end = data_start + static_cast<uint64_t>(end);
  return e;
}

}  // namespace

uint64_t safetensors_dtype_size(std::string_view dtype) {
  if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
  if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "I16" || dtype == "U16") return 2;
  if (dtype == "F8_E4M3" || dtype == "F8_E5M2" || dtype == "I8" || dtype == "U8" || dtype == "BOOL") return 1;
  return 0;
}

Result<SafetensorsHeader> parse_safetensors_header(std::string_view bytes, uint64_t file_size) {
  if (bytes.size() < 8) return corrupt("too short for a safetensors file");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  if (length > kMaxHeader)
    return corrupt(fmt::format("claims a header of {} bytes (at most {} are allowed)", length, kMaxHeader));
  if (length > file_size - 8 || length > bytes.size() - 8)
    return corrupt(fmt::format("claims a header of {} bytes, but ends before", length));
  auto json = Json::parse(bytes.substr(8, length));
  if (!json) return tl::unexpected(within("header", std::move(json).error()));
  const auto* members = json->as_object();
  if (!members) return corrupt("header is no JSON object");
  SafetensorsHeader header;
  for (const auto& [name, value] : *members) {
    if (name == "__metadata__") {
      if (const auto* o = value.as_object())
        for (const auto& [k, v] : *o)
          if (const auto* s = v.as_string()) header.metadata[k] = *s;
      continue;
    }
    auto entry = read_entry(value, 8 + length, file_size);
    if (!entry) return tl::unexpected(within("tensor " + name, std::move(entry).error()));
    header.entries[name] = *std::move(entry);
  }
  return header;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  SafetensorsFile f;
  f.map = TRY(MappedFile::open(path));
  const std::string_view bytes(reinterpret_cast<const char*>(f.map->data()), f.map->size());
  auto header = parse_safetensors_header(bytes, bytes.size());
  if (!header) return tl::unexpected(within(path, std::move(header).error()));
  f.header = *std::move(header);
  return f;
}

Result<void> write_safetensors(const std::string& path, const std::vector<SafetensorsArray>& arrays,
                               const std::map<std::string, std::string>& metadata) {
  Json header(Json::Object{});
  if (!metadata.empty()) {
    Json m(Json::Object{});
    for (const auto& [k, v] : metadata) m.set(k, v);
    header.set("__metadata__", std::move(m));
  }
  uint64_t at = 0;
  for (const auto& a : arrays) {
    Json::Array shape;
    for (const int64_t d : a.shape) shape.emplace_back(d);
    const auto begin = static_cast<int64_t>(at);
    at += a.bytes.size();
    Json entry(Json::Object{});
    entry.set("dtype", a.dtype);
    entry.set("shape", std::move(shape));
    entry.set("data_offsets", Json::Array{Json(begin), Json(static_cast<int64_t>(at))});
    header.set(a.name, std::move(entry));
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::string out(reinterpret_cast<const char*>(&length), 8);
  out.reserve(8 + text.size() + at);
  out += text;
  for (const auto& a : arrays) out += a.bytes;
  return write_file(path, out);
}

}  // namespace cairn
