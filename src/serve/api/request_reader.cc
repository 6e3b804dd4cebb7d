#include "serve/api/request_reader.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/strings.h"

namespace cairn::serve {

RequestReader::RequestReader(const Json& from, std::string where) : from_(from), where_(std::move(where)) {
  if (from.as_object()) return;
  const std::string name = where_.empty() ? "the body" : where_;
  error_ = ApiError{400, fmt::format("{}: expected an object, got {}", name, from.kind()), where_, {}};
}

std::string RequestReader::path(std::string_view name) const {
  return where_.empty() ? std::string(name) : fmt::format("{}.{}", where_, name);
}

const Json* RequestReader::find(std::string_view name) {
  known_.emplace_back(name);
  const Json* value = from_.find(name);
  return value && !value->is_null() ? value : nullptr;
}

void RequestReader::ignore(std::initializer_list<std::string_view> names) {
  for (const auto name : names) known_.emplace_back(name);
}

void RequestReader::unsupported(std::initializer_list<std::string_view> names, const Json& allowed) {
  for (const auto name : names) {
    const Json* value = find(name);
    if (!value || *value == Json(false) || *value == Json("") || *value == allowed) continue;
    if ((value->as_array() && value->as_array()->empty()) || (value->as_object() && value->as_object()->empty()))
      continue;
    fail(name, "is not supported by this server; leave it out");
  }
}

void RequestReader::fail(std::string_view name, std::string_view what, bool whole) {
  fail(ApiError{400, whole ? std::string(what) : fmt::format("{}: {}", path(name), what), path(name), {}});
}

void RequestReader::fail(ApiError error) {
  if (!error_) error_ = std::move(error);
}

std::optional<ApiError> RequestReader::finish() {
  if (error_) return error_;
  for (const auto& [key, value] : *from_.as_object()) {
    if (std::ranges::find(known_, key) != known_.end()) continue;
    const std::string shown = key.substr(0, 100);
    fail(shown, fmt::format("unknown parameter {}{}", path(shown), did_you_mean(shown, known_)), true);
    error_->code = "unknown_parameter";
    break;
  }
  return error_;
}

}  // namespace cairn::serve
