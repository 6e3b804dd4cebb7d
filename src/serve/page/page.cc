#include "serve/page/page.h"

#include <algorithm>
#include <string>

#include "base/strings.h"

namespace cairn::serve {
namespace {

// Pictures arrive as base64 in JSON, hence data: and blob:. Everything else is one of our files; a string of a model
// that found its way into the document as markup would still run nothing.
constexpr std::string_view kPolicy =
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'";

// Whether If-None-Match (RFC 9110, 13.1.2: a list of tags, compared weakly, or "*") names the tag.
bool names(std::string_view if_none_match, std::string_view etag) {
  if (trim(if_none_match) == "*") return true;
  const auto given = split(if_none_match, ',');
  return std::any_of(given.begin(), given.end(), [etag](const std::string& one) {
    std::string_view tag = trim(one);
    if (tag.starts_with("W/")) tag.remove_prefix(2);
    return tag == etag;
  });
}

}  // namespace

void add_page(Router& router) {
  for (const Asset& asset : page_assets()) {
    const std::string help = asset.path == "/" ? "the page: chat, pictures, live metrics" : "a file of the page";
    router.add({"GET", std::string(asset.path), help,
                [&asset](HttpRequest request, std::shared_ptr<Reply> reply) {
                  Headers headers{{"ETag", std::string(asset.etag)},
                                  {"Cache-Control", "no-cache"},
                                  {"Content-Security-Policy", std::string(kPolicy)},
                                  {"X-Content-Type-Options", "nosniff"},
                                  {"Referrer-Policy", "no-referrer"}};
                  const bool known = names(request.header("if-none-match"), asset.etag);
                  reply->whole(known ? 304 : 200, std::string(asset.content_type),
                               known ? std::string() : std::string(asset.bytes), std::move(headers));
                },
                true});
  }
}

}  // namespace cairn::serve
