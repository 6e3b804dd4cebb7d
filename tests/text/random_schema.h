// Random JSON schemas, of all keywords that can be compiled.
#pragma once
#include <random>
#include <string>

#include "base/json.h"

namespace cairn::text {

class RandomSchema {
 public:
  explicit RandomSchema(uint32_t seed) : rng_(seed) {}

  Json whole() {
    Json::Object defs;
    for (const char* name : {"leaf", "tree", "list"}) defs.emplace_back(name, Json());
    defs[0].second = any(1);
    // Recursive, with a way to end.
    defs[1].second =
        object({{"type", "object"},
                {"properties", object({{"value", any(1)}, {"left", reference("tree")}, {"right", reference("tree")}})},
                {"required", Json::Array{"value"}}});
    defs[2].second = object({{"anyOf", Json::Array{object({{"type", "null"}}),
                                                   object({{"type", "object"},
                                                           {"properties", object({{"next", reference("list")}})},
                                                           {"required", Json::Array{"next"}},
                                                           {"additionalProperties", false}})}}});
    Json root = any(3);
    if (root.as_object()) root.set("$defs", Json(std::move(defs)));
    return root;
  }

 private:
  static Json object(Json::Object o) { return Json(std::move(o)); }
  static Json reference(const std::string& name) { return object({{"$ref", "#/$defs/" + name}}); }
  int below(int n) { return static_cast<int>(rng_() % static_cast<uint32_t>(n)); }
  bool chance(int percent) { return below(100) < percent; }
  std::string name() {
    static const char* const kNames[] = {"a", "ab", "abc", "b", "name", "x y", "caf\xc3\xa9", "q\"uote", "na", ""};
    return kNames[below(10)];
  }

  Json any(int depth) {
    const int pick = below(depth > 0 ? 16 : 9);
    switch (pick) {
      case 0:
        return chance(50) ? Json(true) : Json(Json::Object{});
      case 1:
        return object({{"type", chance(50) ? "null" : "boolean"}});
      case 2:
      case 3:
        return number();
      case 4:
      case 5:
      case 6:
        return string();
      case 7:
        return values();
      case 8:
        return object(
            {{"type", Json::Array{"string", "integer", "null"}}, {"maxLength", below(9)}, {"minimum", below(9)}});
      case 9:
        return reference(chance(40) ? "leaf" : chance(50) ? "tree" : "list");
      case 10:
        return list(depth);
      case 11:
        return choice(depth);
      case 12:
        return conjunction(depth);
      default:
        return record(depth);
    }
  }

  Json values() {
    if (chance(30)) return object({{"const", value()}});
    Json::Array list;
    for (int i = 0; i <= below(4); ++i) list.push_back(value());
    Json out = object({{"enum", std::move(list)}});
    if (chance(30)) out.set("type", Json::Array{"string", "number", "array", "null", "object", "boolean"});
    return out;
  }
  Json value() {
    switch (below(6)) {
      case 0:
        return below(100) - 50;
      case 1:
        return below(1000) / 8.0;
      case 2:
        return Json::Array{1, "two", nullptr};
      case 3:
        return object({{"k", "v"}, {"w", Json::Array{}}});
      case 4:
        return nullptr;
      default:
        return "text \"" + name();
    }
  }

  Json number() {
    Json out = object({{"type", chance(50) ? "integer" : "number"}});
    const bool whole = *out.find("type")->as_string() == "integer";
    const auto bound = [&]() -> Json {
      const int v = chance(50) ? below(30) - 15 : below(2'000'000) - 1'000'000;
      return chance(50) ? Json(v) : Json(v / 100.0);
    };
    if (chance(50)) out.set(chance(70) ? "minimum" : "exclusiveMinimum", bound());
    if (chance(50)) {
      const Json* low = out.find("minimum") ? out.find("minimum") : out.find("exclusiveMinimum");
      out.set(chance(70) ? "maximum" : "exclusiveMaximum", low ? Json(low->number() + below(400) / 10.0 + 1) : bound());
    }
    if (whole && chance(25)) out.set("multipleOf", below(12) + 1);
    return out;
  }

  Json string() {
    static const char* const kPatterns[] = {
        "^[a-z]+$",      "[0-9]{2}",         "^(foo|bar)[^x]*", "a.b$",      "^\\w+@\\w+$",
        "^[\"\\\\\n]+$", "(^a|b)[\\s\\S]?c", "\\d+-\\d+",       "^.{2,40}$", "^$"};
    static const char* const kFormats[] = {"date", "time", "date-time", "uuid",     "email",
                                           "ipv4", "ipv6", "uri",       "hostname", "duration"};
    Json out = object({{"type", "string"}});
    const int pick = below(4);
    if (pick == 0) {
      out.set("format", kFormats[below(10)]);
    } else if (pick == 1) {
      out.set("pattern", kPatterns[below(10)]);
      if (chance(40)) out.set("maxLength", 5 + below(60));
    } else {
      const int least = below(6);
      if (chance(50)) out.set("minLength", least);
      if (chance(50)) out.set("maxLength", least + below(chance(20) ? 2000 : 12));
    }
    return out;
  }

  Json list(int depth) {
    Json out = object({{"type", "array"}});
    const bool tuple = chance(30);
    if (tuple) {
      Json::Array prefix;
      for (int i = 0; i <= below(3); ++i) prefix.push_back(any(depth - 1));
      out.set("prefixItems", std::move(prefix));
    }
    if (chance(tuple ? 50 : 80)) out.set("items", chance(10) ? Json(false) : any(depth - 1));
    const int least = below(3);
    if (chance(30)) out.set("minItems", least);
    if (chance(50)) out.set("maxItems", least + below(5));
    return out;
  }

  Json record(int depth) {
    Json out = object({{"type", "object"}});
    if (chance(15)) {
      out.set("patternProperties", object({{chance(50) ? "^a" : "[0-9]$", any(depth - 1)}}));
      out.set("additionalProperties", false);
    } else if (chance(60)) {
      out.set("additionalProperties", chance(50) ? Json(chance(40)) : any(depth - 1));
    }
    Json properties = object({});
    Json::Array required;
    for (int i = 0; i < below(5); ++i) properties.set(name(), any(depth - 1));
    for (const auto& [key, schema] : *properties.as_object())
      if (chance(50)) required.push_back(key);
    if (chance(10)) required.push_back("extra");
    if (chance(85)) out.set("properties", properties);
    if (chance(70)) out.set("required", required);
    if (chance(15)) out.set("minProperties", below(2));
    if (chance(15)) out.set("maxProperties", 2 + below(4));
    return out;
  }

  Json choice(int depth) {
    if (chance(40))
      return object({{"oneOf", Json::Array{string(), number(), list(depth - 1), object({{"type", "null"}})}}});
    if (chance(40)) {
      Json::Array options;
      for (const char* kind : {"cat", "dog", "owl"})
        options.push_back(object({{"type", "object"},
                                  {"properties", object({{"kind", object({{"const", kind}})}, {"of", any(depth - 1)}})},
                                  {"required", Json::Array{"kind"}}}));
      return object({{"oneOf", std::move(options)}});
    }
    return object({{"anyOf", Json::Array{any(depth - 1), any(depth - 1), any(depth - 1)}}});
  }

  Json conjunction(int depth) {
    switch (below(3)) {
      case 0:
        return object({{"allOf", Json::Array{number(), object({{"maximum", below(100)}})}}});
      case 1:
        return object(
            {{"type", "string"},
             {"allOf", Json::Array{object({{"pattern", "[a-c]"}}), object({{"minLength", 2}, {"maxLength", 30}})}}});
      default:
        return object({{"allOf", Json::Array{record(depth), record(depth)}}});
    }
  }

  std::mt19937 rng_;
};

}  // namespace cairn::text
