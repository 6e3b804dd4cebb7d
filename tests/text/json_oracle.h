// A validator of JSON values under a schema, for tests: it knows nothing of grammars, and only what random schemas use.
#pragma once
#include <algorithm>
#include <cmath>
#include <string>

#include "base/json.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace cairn::text {

class Oracle {
 public:
  explicit Oracle(const Json& root) : root_(root) {}
  bool valid(const Json& v) const { return valid(root_, v); }

 private:
  static bool equal(const Json& a, const Json& b) {
    if (a.is_number() && b.is_number()) return a.number() == b.number();
    return a == b;
  }
  static bool has_type(const std::string& type, const Json& v) {
    if (type == "null") return v.is_null();
    if (type == "boolean") return v.as_bool();
    if (type == "integer") return v.is_number() && v.number() == std::floor(v.number());
    if (type == "number") return v.is_number();
    if (type == "string") return v.as_string();
    return type == "array" ? v.as_array() != nullptr : v.as_object() != nullptr;
  }
  static bool matches(const std::string& pattern, const std::string& text) {
    const auto p = Pattern::regex(pattern);
    std::vector<Match> found;
    return p && p->find_all(text, found) && !found.empty();
  }
  static size_t length(const std::string& s) {
    return static_cast<size_t>(
        std::ranges::count_if(s, [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
  }

  bool valid(const Json& schema, const Json& v) const {
    if (const bool* b = schema.as_bool()) return *b;
    for (const auto& [key, k] : *schema.as_object())
      if (!holds(schema, key, k, v)) return false;
    return true;
  }

  bool holds(const Json& schema, const std::string& key, const Json& k, const Json& v) const {
    const auto fits = [&](const Json& s) { return valid(s, v); };
    const double n = k.is_number() ? k.number() : 0;
    if (key == "type") {
      if (const auto* one = k.as_string()) return has_type(*one, v);
      return std::ranges::any_of(*k.as_array(), [&](const Json& t) { return has_type(*t.as_string(), v); });
    }
    if (key == "enum") return std::ranges::any_of(*k.as_array(), [&](const Json& e) { return equal(e, v); });
    if (key == "const") return equal(k, v);
    if (key == "$ref") return valid(*root_.find("$defs")->find(k.as_string()->substr(8)), v);
    if (key == "allOf") return std::ranges::all_of(*k.as_array(), fits);
    if (key == "anyOf") return std::ranges::any_of(*k.as_array(), fits);
    if (key == "oneOf") return std::ranges::count_if(*k.as_array(), fits) == 1;
    if (v.is_number()) {
      const double x = v.number();
      if (key == "minimum") return x >= n;
      if (key == "maximum") return x <= n;
      if (key == "exclusiveMinimum") return x > n;
      if (key == "exclusiveMaximum") return x < n;
      if (key == "multipleOf") return std::fmod(x, n) == 0;
    }
    if (const auto* s = v.as_string()) {
      if (key == "minLength") return static_cast<double>(length(*s)) >= n;
      if (key == "maxLength") return static_cast<double>(length(*s)) <= n;
      if (key == "pattern") return matches(*k.as_string(), *s);
    }
    if (const auto* a = v.as_array()) return array(schema, key, k, *a);
    if (v.as_object()) return object(schema, key, k, v);
    return true;
  }

  bool array(const Json& schema, const std::string& key, const Json& k, const Json::Array& a) const {
    const auto size = static_cast<double>(a.size());
    if (key == "minItems") return size >= k.number();
    if (key == "maxItems") return size <= k.number();
    const Json* prefix = schema.find("prefixItems");
    const size_t named = prefix ? prefix->as_array()->size() : 0;
    if (key == "prefixItems") {
      for (size_t i = 0; i < std::min(named, a.size()); ++i)
        if (!valid((*prefix->as_array())[i], a[i])) return false;
    } else if (key == "items") {
      for (size_t i = named; i < a.size(); ++i)
        if (!valid(k, a[i])) return false;
    }
    return true;
  }

  bool object(const Json& schema, const std::string& key, const Json& k, const Json& v) const {
    const auto& members = *v.as_object();
    if (key == "required")
      return std::ranges::all_of(*k.as_array(), [&](const Json& name) { return v.find(*name.as_string()); });
    if (key == "minProperties") return static_cast<double>(members.size()) >= k.number();
    if (key == "maxProperties") return static_cast<double>(members.size()) <= k.number();
    const Json *properties = schema.find("properties"), *patterns = schema.find("patternProperties");
    for (const auto& [name, member] : members) {
      const Json* declared = properties ? properties->find(name) : nullptr;
      if (key == "properties" && declared && !valid(*declared, member)) return false;
      bool matched = false;
      if (patterns)
        for (const auto& [pattern, s] : *patterns->as_object())
          if (matches(pattern, name)) {
            matched = true;
            if (key == "patternProperties" && !valid(s, member)) return false;
          }
      if (key == "additionalProperties" && !declared && !matched && !valid(k, member)) return false;
    }
    return true;
  }

  const Json& root_;
};

}  // namespace cairn::text
