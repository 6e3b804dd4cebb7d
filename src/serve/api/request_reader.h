// Reads the members of a request's body into plain structs, and says which one is wrong.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fields.h"
#include "serve/http/api_error.h"

namespace cairn::serve {

// A visitor for fields() that knows the name of the member that failed. Keeps the first error; members that nobody
// asked for are errors in the end, so that a misspelt parameter is not taken for its default.
class RequestReader {
 public:
  // `where` is the path of the object within the body, "" for the body itself.
  explicit RequestReader(const Json& from, std::string where = "");

  template <class T>
  RequestReader& operator()(std::string_view name, T& value, std::string_view help = "", const Rule& rule = {}) {
    known_.emplace_back(name);
    known_.insert(known_.end(), rule.names.begin(), rule.names.end());
    if (error_) return *this;
    FieldReader one(from_, where_, Unknown::kIgnore);
    one(name, value, help, rule);
    if (auto ok = one.finish(); !ok) fail(name, std::move(ok).error().what, true);
    return *this;
  }

  // The member itself, or null when it is missing or null.
  const Json* find(std::string_view name);
  // Members that clients send and that change nothing here.
  void ignore(std::initializer_list<std::string_view> names);
  // Members that ask for what this server does not do: only null, false, empty and `allowed` are let through.
  void unsupported(std::initializer_list<std::string_view> names, const Json& allowed = {});

  // The member `name` is wrong. `what` goes on after its path: "must name a tool"; or is a whole sentence.
  void fail(std::string_view name, std::string_view what, bool whole = false);
  void fail(ApiError error);
  bool ok() const { return !error_; }
  std::string path(std::string_view name) const;

  // The first error, also of members that are unknown.
  std::optional<ApiError> finish();

 private:
  const Json& from_;
  std::string where_;
  std::vector<std::string> known_;
  std::optional<ApiError> error_;
};

}  // namespace cairn::serve
