// The page that a browser gets at "/": HTML, style and scripts, compiled into the program.
#pragma once
#include <span>
#include <string_view>

#include "serve/http/router.h"

namespace cairn::serve {

// One file of the page. The views last as long as the program.
struct Asset {
  std::string_view path;  // of the URL: "/" for index.html, "/page/NAME" for the others
  std::string_view content_type, bytes;
  std::string_view etag;  // of the content, with its quotes
};
std::span<const Asset> page_assets();

// Adds a GET route for each asset, open to those without an API key. An If-None-Match that names the asset's tag gets
// a 304. The policy in the answers lets the page load nothing from other hosts.
void add_page(Router& router);

}  // namespace cairn::serve
