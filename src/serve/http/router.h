// The table of routes: what the server dispatches by, and what the API reference is generated from.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serve/http/http.h"
#include "serve/http/reply.h"

namespace cairn::serve {

// Runs on an io thread and must not block; the reply may be given later from any thread. A Failure that it throws
// becomes the answer; anything else thrown, a 500.
using Handler = std::function<void(HttpRequest, std::shared_ptr<Reply>)>;

struct Route {
  std::string method, path;  // the path may end with a name in braces, which takes the rest: "/v1/models/{model}"
  std::string help;          // one line
  Handler handler;
  bool open = false;  // answers without an API key: health, metrics, the page
};

class Router {
 public:
  Router& add(Route route);

  struct Match {
    const Route* route = nullptr;
    std::string rest;  // what the name in braces took
  };
  // HEAD finds GET's route. Errors: 404 offers the nearest path; 405 names the methods that there are.
  Parsed<Match> find(std::string_view method, std::string_view path) const;
  // "GET, HEAD, OPTIONS": what a path answers to; empty when there is no such path.
  std::string allowed(std::string_view path) const;
  const std::vector<Route>& routes() const { return routes_; }
  // A Markdown table of all routes.
  std::string reference() const;

 private:
  std::vector<Route> routes_;
};

}  // namespace cairn::serve
