// What the tests of this folder share.
#pragma once
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer.h"

namespace cairn::text {

inline const std::string kSource = CAIRN_SOURCE_DIR;
inline const std::string kGolden = kSource + "/tests/golden/lm-tokenizers/";

template <class T>
T value(Result<T> r) {
  if (!r) throw std::runtime_error(r.error().what);
  return *std::move(r);
}

inline std::vector<int64_t> ids(const Json* list) {
  std::vector<int64_t> out;
  for (const Json& id : *list->as_array()) out.push_back(*id.as_int());
  return out;
}

inline std::vector<Json> lines(const std::string& path) {
  const std::string text = value(read_file(path));
  std::vector<Json> out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) out.push_back(value(Json::parse(text.substr(at, end - at))));
    at = end + 1;
  }
  return out;
}

// A folder with some files of another one, removed at the end.
class Copy {
 public:
  Copy(const std::string& from, const std::vector<std::string>& names) {
    for (const auto& name : names) std::filesystem::copy_file(from + "/" + name, path() + "/" + name);
  }
  ~Copy() { std::filesystem::remove_all(path_); }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;
  const std::string& path() {
    if (path_.empty()) {
      path_ = (std::filesystem::temp_directory_path() / "cairn-text-XXXXXX").string();
      if (!mkdtemp(path_.data())) throw std::runtime_error("mkdtemp failed");
    }
    return path_;
  }

 private:
  std::string path_;
};

inline Copy clip_without_json() {
  return Copy(kSource + "/weights/cairn-emoji/tokenizer", {"vocab.json", "merges.txt", "tokenizer_config.json"});
}
inline Copy t5_without_json() {
  return Copy(kSource + "/weights/cairn-emoji/tokenizer_2", {"spiece.model", "tokenizer_config.json"});
}

}  // namespace cairn::text
