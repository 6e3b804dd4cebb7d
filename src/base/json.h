// A JSON value. The parser behind it is nlohmann's; this small type keeps that heavy header in one place.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace cairn {

// A value that owns its children. Objects keep the order of the text; a repeated key keeps its last value.
class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;

  Json() = default;
  Json(std::nullptr_t) {}
  Json(bool v) : value_(v) {}
  Json(int v) : value_(int64_t{v}) {}
  Json(int64_t v) : value_(v) {}
  Json(double v) : value_(v) {}
  Json(std::string v) : value_(std::move(v)) {}
  Json(std::string_view v) : value_(std::string(v)) {}
  Json(const char* v) : value_(std::string(v)) {}
  Json(Array v) : value_(std::move(v)) {}
  Json(Object v) : value_(std::move(v)) {}

  // Text in UTF-8 -> value. Errors give line and column; nesting deeper than 256 levels is refused.
  static Result<Json> parse(std::string_view text);
  static Result<Json> read(const std::string& path);

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  const bool* as_bool() const { return std::get_if<bool>(&value_); }
  const int64_t* as_int() const { return std::get_if<int64_t>(&value_); }
  const std::string* as_string() const { return std::get_if<std::string>(&value_); }
  const Array* as_array() const { return std::get_if<Array>(&value_); }
  const Object* as_object() const { return std::get_if<Object>(&value_); }
  Array* as_array() { return std::get_if<Array>(&value_); }
  Object* as_object() { return std::get_if<Object>(&value_); }
  bool is_number() const { return as_int() || std::holds_alternative<double>(value_); }
  double number() const;  // of an integer or a real; 0 otherwise

  // The member of that name, or null when this is no object or has none.
  const Json* find(std::string_view key) const;
  void set(std::string_view key, Json value);  // makes this an object when it is null
  // Text of a string member, or `otherwise`.
  std::string text(std::string_view key, std::string_view otherwise = "") const;

  // "null", "a boolean", "an integer", ...: for error messages.
  const char* kind() const;
  // One line without spaces, or with `indent` spaces a level. Numbers that are not finite become null.
  std::string dump(int indent = -1) const;

  bool operator==(const Json&) const = default;

 private:
  std::variant<std::nullptr_t, bool, int64_t, double, std::string, Array, Object> value_{nullptr};
};

}  // namespace cairn
