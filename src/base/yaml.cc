#include "base/yaml.h"

#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>

#include "base/file.h"
#include "base/strings.h"

namespace cairn {
namespace {

constexpr int kMaxDepth = 64;
constexpr int kMaxNodes = 100'000;

// YAML 1.2's core schema: an unquoted scalar is a null, a boolean, a number or text.
Json scalar(const YAML::Node& node) {
  const std::string& s = node.Scalar();
  if (node.Tag() == "!") return Json(s);  // quoted
  if (s.empty() || s == "~" || s == "null" || s == "Null" || s == "NULL" || s == "None") return Json();
  const std::string low = lower_ascii(s);
  if (low == "true" || low == "yes" || low == "on") return Json(true);
  if (low == "false" || low == "no" || low == "off") return Json(false);
  if (low == ".nan") return Json(std::nan(""));
  if (low == ".inf" || low == "+.inf") return Json(HUGE_VAL);
  if (low == "-.inf") return Json(-HUGE_VAL);
  const char *from = s.data() + (s[0] == '+'), *end = s.data() + s.size();
  int64_t i = 0;
  if (const auto r = std::from_chars(from, end, i); r.ec == std::errc() && r.ptr == end) return Json(i);
  double d = 0;
  const bool numeric = s.find_first_not_of("0123456789+-.eE") == std::string::npos;
  if (const auto r = std::from_chars(from, end, d); numeric && r.ec == std::errc() && r.ptr == end) return Json(d);
  return Json(s);
}

Result<Json> convert(const YAML::Node& node, int depth, int& budget) {
  if (depth > kMaxDepth || --budget < 0) return corrupt("nested too deep or expands to too many values");
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null: return Json();
    case YAML::NodeType::Scalar: return scalar(node);
    case YAML::NodeType::Sequence: {
      Json::Array out;
      for (const auto& item : node) out.push_back(TRY(convert(item, depth + 1, budget)));
      return Json(std::move(out));
    }
    case YAML::NodeType::Map: {
      Json out(Json::Object{});
      for (const auto& item : node) {
        if (!item.first.IsScalar()) return corrupt("a key is no plain text");
        out.set(item.first.Scalar(), TRY(convert(item.second, depth + 1, budget)));
      }
      return out;
    }
  }
  return Json();
}

}  // namespace

Result<Json> parse_yaml(std::string_view text) {
  try {
    int budget = kMaxNodes;
    return convert(YAML::Load(std::string(text)), 0, budget);
  } catch (const YAML::Exception& e) {
    return corrupt(std::string("not valid YAML: ") + e.what());
  }
}

Result<Json> read_yaml(const std::string& path) {
  const std::string text = TRY(read_file(path));
  auto j = parse_yaml(text);
  if (!j) return tl::unexpected(within(path, std::move(j).error()));
  return j;
}

}  // namespace cairn
