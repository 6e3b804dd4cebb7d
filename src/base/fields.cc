#include "base/fields.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/strings.h"

namespace cairn {
namespace detail {
namespace {

tl::unexpected<Error> wrong_kind(const char* wanted, const Json& j) {
  return invalid(fmt::format("expected {}, got {}", wanted, j.kind()));
}

}  // namespace

Result<bool> to_bool(const Json& j) {
  if (const auto* b = j.as_bool()) return *b;
  return wrong_kind("true or false", j);
}

Result<int64_t> to_int(const Json& j) {
  if (const auto* i = j.as_int()) return *i;
  if (j.is_number()) {
    const double d = j.number();
    if (d == std::floor(d) && std::abs(d) < 9e15) return static_cast<int64_t>(d);
    return invalid(fmt::format("expected an integer, got {}", d));
  }
  return wrong_kind("an integer", j);
}

Result<double> to_double(const Json& j) {
  if (!j.is_number()) return wrong_kind("a number", j);
  if (!std::isfinite(j.number())) return invalid("expected a finite number, got " + fmt::format("{}", j.number()));
  return j.number();
}

Result<std::string> to_string(const Json& j) {
  if (const auto* s = j.as_string()) return *s;
  return wrong_kind("a string", j);
}

Result<void> obeys(const Rule& rule, double v) {
  if (v >= rule.least && v <= rule.most) return {};
  if (std::isinf(rule.most)) return invalid(fmt::format("must be at least {}, got {}", rule.least, v));
  return invalid(fmt::format("must lie in [{}, {}], got {}", rule.least, rule.most, v));
}

Result<void> obeys(const Rule& rule, const std::string& v) {
  if (rule.choices.empty() || std::ranges::find(rule.choices, v) != rule.choices.end()) return {};
  return invalid(fmt::format("\"{}\" is none of {}{}", v, join(rule.choices, ", "), did_you_mean(v, rule.choices)));
}

}  // namespace detail

const Json* FieldReader::take(std::string_view name) {
  known_.emplace_back(name);
  return from_.find(name);
}

Result<void> FieldReader::finish() {
  if (error_) return tl::unexpected(*error_);
  if (unknown_ == Unknown::kReject)
    for (const auto& [key, value] : *from_.as_object())
      if (std::ranges::find(known_, key) == known_.end())
        return invalid(fmt::format("unknown key {}{}", path(key), did_you_mean(key, known_)));
  return {};
}

}  // namespace cairn
