// What a JSON schema says, with references followed and conjunctions merged.
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "text/grammar/json_parts.h"

namespace cairn::text::grammar {

// A schema that must hold, and where it stands ("#/properties/a").
struct Place {
  const Json* schema = nullptr;
  std::string path;
};
// Schemas that must all hold for one value; none: any value.
using Conjunction = std::vector<Place>;

enum TypeBits : uint8_t {
  kNull = 1,
  kBoolean = 2,
  kInteger = 4,
  kReal = 8,  // numbers that are no integers
  kString = 16,
  kArray = 32,
  kObject = 64,
  kAnyType = 127
};
uint8_t type_of(const Json& value);

// One way to satisfy a conjunction: keywords of the same kind are merged, so that no alternatives are left.
struct Shape {
  // What one schema of the conjunction says about objects. `additional` holds for the keys that it does not declare.
  struct ObjectPart {
    const Json::Object* properties = nullptr;
    const Json::Object* patterns = nullptr;
    std::optional<Place> additional;
    std::string path;
  };
  struct ArrayPart {
    const Json::Array* prefix = nullptr;
    std::optional<Place> items;
    std::string path, prefix_path;
  };

  uint8_t types = kAnyType;
  bool typed = false;  // a `type` was given
  bool never = false;
  std::optional<std::vector<Json>> values;  // enum and const
  std::string values_path;
  std::vector<std::string> patterns;
  std::string patterns_path;
  uint32_t min_length = 0, max_length = kNoLimit;
  NumberRange range;
  uint32_t min_items = 0, max_items = kNoLimit;
  std::string unique_path;  // of a `uniqueItems: true`
  uint32_t min_properties = 0, max_properties = kNoLimit;
  std::vector<std::string> required;
  std::vector<ObjectPart> objects;
  std::vector<ArrayPart> arrays;

  bool limits_strings() const { return !patterns.empty() || min_length > 0 || max_length != kNoLimit; }
  bool limits_numbers() const { return range.low || range.high || range.multiple_of != 1; }
  bool limits_arrays() const {
    return !arrays.empty() || min_items > 0 || max_items != kNoLimit || !unique_path.empty();
  }
  bool limits_objects() const {
    return !objects.empty() || !required.empty() || min_properties > 0 || max_properties != kNoLimit;
  }
  // The types that values may have: those given, else those that the keywords speak of, else all.
  uint8_t effective_types() const;

  // The schemas for the value of that key; nothing when the key is not allowed by an `additionalProperties: false`.
  std::optional<Conjunction> member(std::string_view key) const;
};

class Schemas {
 public:
  explicit Schemas(const Json& root) : root_(root) {}
  // All ways to satisfy the conjunction. Errors name what is not supported, and where.
  Result<std::vector<Shape>> ways(const Conjunction& all, int depth = 0) const;

 private:
  struct Choice {  // an anyOf or oneOf that waits for its turn
    const Json::Array* options;
    std::string path;
    bool one;
    std::vector<const Json*> inside;
  };
  struct Merge {
    Shape shape;
    std::vector<Choice> choices;
    std::vector<const Json*> inside;  // the schemas that are being read
    std::set<const Json*> done;
  };

  Result<void> read(Merge& m, const Place& place) const;
  Result<void> keyword(Merge& m, const std::string& key, const Json& value, const Place& place) const;
  Result<void> expand(Merge m, int depth, std::vector<Shape>& out) const;
  Result<Place> follow(const Json& reference, const std::string& path) const;
  Result<bool> disjoint(const Shape& a, const Shape& b, int depth) const;

  Result<void> spend() const;  // one of the steps that a schema may take

  const Json& root_;
  mutable size_t steps_ = 0;
};

}  // namespace cairn::text::grammar
