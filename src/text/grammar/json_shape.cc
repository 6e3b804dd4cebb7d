// How keywords are merged: Schemas::read and keyword.
#include "text/grammar/json_shape.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/strings.h"
#include "text/grammar/json_keywords.h"
#include "text/regex.h"

namespace cairn::text::grammar {

tl::unexpected<Error> schema_error(const std::string& path, const std::string& what) {
  return invalid("JSON schema, " + path + ": " + what);
}
tl::unexpected<Error> not_supported(const std::string& path, const std::string& what) {
  return failure(Code::kUnsupported, "JSON schema, " + path + ": " + what + " is not supported");
}

namespace {

constexpr uint32_t kMostCount = kMostRepeats;
constexpr int64_t kMostMultiple = 1000;

// Keywords that say nothing about which values are valid.
constexpr std::string_view kAnnotations[] = {
    "title",         "description", "default",  "examples",        "example",          "$schema",
    "$id",           "id",          "$comment", "$defs",           "definitions",      "deprecated",
    "readOnly",      "writeOnly",   "$anchor",  "contentEncoding", "contentMediaType", "contentSchema",
    "discriminator", "$vocabulary"};

Result<uint32_t> count(const Json& value, const std::string& path) {
  const auto* i = value.as_int();
  const int64_t v =
      i ? *i
      : value.is_number() && value.number() == std::floor(value.number()) && std::fabs(value.number()) < 1e9
          ? static_cast<int64_t>(value.number())
          : -1;
  if (v < 0) return schema_error(path, "expected a whole number of at least 0, got " + value.dump());
  if (v > kMostCount) return not_supported(path, fmt::format("a count above {}", kMostCount));
  return static_cast<uint32_t>(v);
}

Result<uint8_t> type_bits(const Json& value, const std::string& path) {
  static const std::map<std::string, uint8_t, std::less<>> kNames{
      {"null", kNull},     {"boolean", kBoolean}, {"integer", kInteger}, {"number", kInteger | kReal},
      {"string", kString}, {"array", kArray},     {"object", kObject}};
  const auto one = [&](const Json& name) -> Result<uint8_t> {
    const auto* s = name.as_string();
    const auto it = s ? kNames.find(*s) : kNames.end();
    if (it != kNames.end()) return it->second;
    std::vector<std::string> names;
    for (const auto& [n, bits] : kNames) names.push_back(n);
    return schema_error(path, name.dump() + " is no type" + did_you_mean(s ? *s : "", names));
  };
  if (!value.as_array()) return one(value);
  uint8_t bits = 0;
  for (const Json& name : *value.as_array()) bits |= TRY(one(name));
  return bits;
}

Result<void> bound(NumberRange& range, bool low, Bound b, const std::string& path) {
  if (!b.value.is_number()) return schema_error(path, std::string("expected a number, got ") + b.value.kind());
  auto& slot = low ? range.low : range.high;
  const double now = slot ? slot->value.number() : 0, then = b.value.number();
  if (!slot || (low ? then > now : then < now) || (then == now && b.exclusive)) slot = std::move(b);
  return {};
}

Result<void> multiple_of(NumberRange& range, const Json& value, const std::string& path) {
  const double v = value.number();
  if (!value.is_number() || !(v > 0)) return schema_error(path, "expected a number above 0, got " + value.dump());
  if (v != std::floor(v) || v > kMostMultiple)
    return not_supported(path, fmt::format("a value that is not a whole number up to {}", kMostMultiple));
  const auto of = static_cast<int64_t>(v);
  if (range.multiple_of != 1 && range.multiple_of != of) return not_supported(path, "a second multipleOf");
  range.multiple_of = of;
  return {};
}

Result<void> format(Shape& s, const Json& value, const std::string& path) {
  const std::string name = value.as_string() ? *value.as_string() : value.dump();
  if (name == "int32") {
    TRY_VOID(bound(s.range, true, {Json(int64_t{INT32_MIN}), false}, path));
    return bound(s.range, false, {Json(int64_t{INT32_MAX}), false}, path);
  }
  if (name == "int64" || name == "float" || name == "double") return {};  // what numbers are anyway
  if (const auto pattern = format_pattern(name)) {
    s.patterns.emplace_back(*pattern);
    s.patterns_path = path;
    return {};
  }
  return not_supported(path, "the format " + value.dump() + did_you_mean(name, known_formats()));
}

void only(Shape& s, std::vector<Json> values, const std::string& path) {
  s.values_path = path;
  if (!s.values) {
    s.values = std::move(values);
    return;
  }
  std::erase_if(*s.values, [&](const Json& v) {
    return std::ranges::none_of(values, [&](const Json& w) { return same_value(v, w); });
  });
}

}  // namespace

bool same_value(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return a.number() == b.number();
  if (const auto* x = a.as_array(), *y = b.as_array(); x && y)
    return std::ranges::equal(*x, *y, [](const Json& v, const Json& w) { return same_value(v, w); });
  if (const auto* x = a.as_object(), *y = b.as_object(); x && y)
    return x->size() == y->size() && std::ranges::all_of(*x, [&](const Json::Member& m) {
             const Json* other = b.find(m.first);
             return other && same_value(m.second, *other);
           });
  return a == b;
}

uint8_t type_of(const Json& v) {
  if (v.is_null()) return kNull;
  if (v.as_bool()) return kBoolean;
  if (v.is_number()) return v.number() == std::floor(v.number()) ? kInteger : kReal;
  if (v.as_string()) return kString;
  return v.as_array() ? kArray : kObject;
}

uint8_t Shape::effective_types() const {
  if (typed) return types;
  const int spoken = (limits_strings() ? kString : 0) | (limits_numbers() ? kInteger | kReal : 0) |
                     (limits_arrays() ? kArray : 0) | (limits_objects() ? kObject : 0);
  return spoken ? static_cast<uint8_t>(spoken) : types;
}

std::optional<Conjunction> Shape::member(std::string_view key) const {
  Conjunction all;
  for (const ObjectPart& part : objects) {
    bool declared = false;
    const auto add = [&](const char* where, const std::string& name, const Json& schema) {
      all.push_back({&schema, part.path + where + name});
      declared = true;
    };
    if (part.properties)
      for (const auto& [name, schema] : *part.properties)
        if (name == key) add("/properties/", name, schema);
    if (part.patterns)
      for (const auto& [pattern, schema] : *part.patterns) {
        const auto compiled = Pattern::regex(pattern);
        std::vector<Match> found;
        if (compiled && compiled->find_all(key, found) && !found.empty()) add("/patternProperties/", pattern, schema);
      }
    if (declared || !part.additional) continue;
    if (const bool* b = part.additional->schema->as_bool(); b && !*b) return std::nullopt;
    all.push_back(*part.additional);
  }
  return all;
}

Result<Place> Schemas::follow(const Json& reference, const std::string& path) const {
  const auto* text = reference.as_string();
  if (!text) return schema_error(path, std::string("expected a text, got ") + reference.kind());
  if (*text != "#" && !text->starts_with("#/"))
    return not_supported(path, "the reference " + reference.dump() + ", which does not begin with #/,");
  const Json* at = &root_;
  if (text->size() > 1)
    for (std::string step : split(std::string_view(*text).substr(2), '/')) {
      for (const auto& [from, to] : {std::pair{"~1", "/"}, {"~0", "~"}, {"%25", "%"}, {"%24", "$"}, {"%20", " "}})
        for (size_t i = 0; (i = step.find(from, i)) != step.npos; ++i)
          step.replace(i, std::string_view(from).size(), to);
      const Json* next = at->find(step);
      if (const auto* list = at->as_array())
        for (size_t i = 0; i < list->size(); ++i)
          if (std::to_string(i) == step) next = &(*list)[i];
      if (!next) return schema_error(path, "the reference " + reference.dump() + " leads nowhere");
      at = next;
    }
  return Place{at, *text};
}

Result<void> Schemas::read(Merge& m, const Place& place) const {
  TRY_VOID(spend());
  const Json& schema = *place.schema;
  if (const bool* b = schema.as_bool()) {
    m.shape.never |= !*b;
    return {};
  }
  if (!schema.as_object()) return schema_error(place.path, std::string("expected a schema, got ") + schema.kind());
  if (std::ranges::find(m.inside, &schema) != m.inside.end())
    return schema_error(place.path, "the schema refers to itself, with nothing in between");
  if (!m.done.insert(&schema).second) return {};
  m.inside.push_back(&schema);
  if (m.inside.size() > 100) return not_supported(place.path, "a chain of more than 100 references");
  Shape::ObjectPart object;
  Shape::ArrayPart array;
  object.path = array.path = place.path;
  for (const auto& [key, value] : *schema.as_object()) {
    const std::string path = place.path + "/" + key;
    const auto sub = [&value = value, &path = path] { return Place{&value, path}; };
    if (key == "properties" || key == "patternProperties") {
      if (!value.as_object()) return schema_error(path, std::string("expected an object, got ") + value.kind());
      (key == "properties" ? object.properties : object.patterns) = value.as_object();
    } else if (key == "additionalProperties") {
      object.additional = sub();
    } else if (key == "prefixItems" || (key == "items" && value.as_array())) {
      if (!value.as_array()) return schema_error(path, std::string("expected a list, got ") + value.kind());
      array.prefix = value.as_array();
      array.prefix_path = path;
    } else if (key == "items") {
      array.items = sub();
    } else if (key == "additionalItems") {  // of drafts before 2020, where it means something beside a list of items
      const Json* items = schema.find("items");
      if (items && items->as_array()) array.items = sub();
    } else {
      TRY_VOID(keyword(m, key, value, place));
    }
  }
  if (object.properties || object.patterns || object.additional) m.shape.objects.push_back(std::move(object));
  if (array.prefix || array.items) m.shape.arrays.push_back(std::move(array));
  m.inside.pop_back();
  return {};
}

Result<void> Schemas::keyword(Merge& m, const std::string& key, const Json& value, const Place& place) const {
  Shape& s = m.shape;
  const std::string path = place.path + "/" + key;
  const auto list = [&]() -> Result<const Json::Array*> {
    if (!value.as_array()) return schema_error(path, std::string("expected a list, got ") + value.kind());
    return value.as_array();
  };
  if (std::ranges::find(kAnnotations, key) != std::end(kAnnotations) || key.starts_with("x-")) return {};
  if (key == "type") {
    s.types &= TRY(type_bits(value, path));
    s.typed = true;
  } else if (key == "enum") {
    only(s, *TRY(list()), path);
  } else if (key == "const") {
    only(s, {value}, path);
  } else if (key == "$ref") {
    return read(m, TRY(follow(value, path)));
  } else if (key == "allOf") {
    size_t i = 0;
    for (const Json& part : *TRY(list())) TRY_VOID(read(m, {&part, fmt::format("{}/{}", path, i++)}));
  } else if (key == "anyOf" || key == "oneOf") {
    m.choices.push_back({TRY(list()), path, key == "oneOf", m.inside});
  } else if (key == "pattern") {
    if (!value.as_string()) return schema_error(path, std::string("expected a text, got ") + value.kind());
    s.patterns.push_back(*value.as_string());
    s.patterns_path = path;
  } else if (key == "format") {
    return format(s, value, path);
  } else if (key == "minLength") {
    s.min_length = std::max(s.min_length, TRY(count(value, path)));
  } else if (key == "maxLength") {
    s.max_length = std::min(s.max_length, TRY(count(value, path)));
  } else if (key == "minItems") {
    s.min_items = std::max(s.min_items, TRY(count(value, path)));
  } else if (key == "maxItems") {
    s.max_items = std::min(s.max_items, TRY(count(value, path)));
  } else if (key == "minProperties") {
    s.min_properties = std::max(s.min_properties, TRY(count(value, path)));
  } else if (key == "maxProperties") {
    s.max_properties = std::min(s.max_properties, TRY(count(value, path)));
  } else if (key == "uniqueItems") {
    if (const bool* b = value.as_bool(); !b || *b) s.unique_path = path;
  } else if (key == "minimum" || key == "exclusiveMinimum") {
    return bound(s.range, true, {value, key != "minimum"}, path);
  } else if (key == "maximum" || key == "exclusiveMaximum") {
    return bound(s.range, false, {value, key != "maximum"}, path);
  } else if (key == "multipleOf") {
    return multiple_of(s.range, value, path);
  } else if (key == "required") {
    for (const Json& name : *TRY(list())) {
      if (!name.as_string()) return schema_error(path, "expected names, got " + name.dump());
      if (std::ranges::find(s.required, *name.as_string()) == s.required.end()) s.required.push_back(*name.as_string());
    }
  } else {
    return not_supported(path, "the keyword \"" + key + "\"");
  }
  return {};
}

}  // namespace cairn::text::grammar
