#include "serve/http/router.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "base/strings.h"

namespace cairn::serve {
namespace {

// What the braces of `pattern` take of `path`: empty for an exact match, nothing for none.
std::optional<std::string> matched(std::string_view pattern, std::string_view path) {
  const size_t brace = pattern.find('{');
  if (brace == std::string_view::npos) return pattern == path ? std::optional<std::string>("") : std::nullopt;
  if (!path.starts_with(pattern.substr(0, brace)) || path.size() == brace) return std::nullopt;
  return std::string(path.substr(brace));
}

}  // namespace

Router& Router::add(Route route) {
  const size_t brace = route.path.find('{');
  check(route.path.starts_with('/') && (brace == std::string::npos || route.path.find('}') == route.path.size() - 1),
        "a route's path starts with a slash, and braces end it");
  check(route.handler != nullptr && !route.help.empty(), "a route has a handler and a line of help");
  for (const Route& other : routes_)
    check(other.method != route.method || other.path != route.path, "two routes of the same method and path");
  routes_.push_back(std::move(route));
  return *this;
}

Parsed<Router::Match> Router::find(std::string_view method, std::string_view path) const {
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  const Route* best = nullptr;
  std::string best_rest;
  for (const Route& route : routes_) {
    if (route.method != wanted) continue;
    auto rest = matched(route.path, path);
    // A path without braces comes first, then the longest text before them.
    const auto fixed = [](const Route& r) { return std::min(r.path.find('{'), size_t{1} << 20); };
    if (!rest || (best && fixed(*best) >= fixed(route))) continue;
    best = &route;
    best_rest = *std::move(rest);
  }
  if (best) return Match{best, std::move(best_rest)};
  const std::string others = allowed(path);
  if (!others.empty())
    return tl::unexpected<ApiError>(
        ApiError{405, fmt::format("{} does not answer to {}; it answers to {}", path, method, others), {}, {}});
  std::vector<std::string> paths;
  for (const Route& route : routes_) paths.push_back(route.path);
  const std::string shown(path.substr(0, 200));
  return tl::unexpected<ApiError>(
      ApiError{404, fmt::format("there is no {}{}", shown, did_you_mean(shown, paths)), {}, "not_found"});
}

std::string Router::allowed(std::string_view path) const {
  std::vector<std::string> methods;
  for (const Route& route : routes_) {
    if (!matched(route.path, path)) continue;
    methods.push_back(route.method);
    if (route.method == "GET") methods.emplace_back("HEAD");
  }
  if (methods.empty()) return {};
  methods.emplace_back("OPTIONS");
  return join(methods, ", ");
}

std::string Router::reference() const {
  std::string out = "| route | |\n|---|---|\n";
  for (const Route& route : routes_)
    out += fmt::format("| `{} {}` | {}{} |\n", route.method, route.path, route.help,
                       route.open ? "; needs no API key" : "");
  return out;
}

}  // namespace cairn::serve
