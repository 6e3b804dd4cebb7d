// Any bytes as a form of the picture routes: the first line is the Content-Type, the rest is the body.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "serve/api/images.h"
#include "serve/api/multipart.h"

using namespace cairn;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(bytes.find('\n'), bytes.size());
  const std::string_view type = bytes.substr(0, line), body = bytes.substr(std::min(line + 1, bytes.size()));
  const auto form = serve::parse_form(type, body);
  if (form) {
    size_t held = 0;
    for (const auto& part : *form) {
      check(!part.name.empty(), "a part without a name");
      held += part.data.size() + part.name.size();
    }
    check(held <= body.size(), "more than was sent");
  } else {
    check(form.error().status == 400 && !form.error().message.empty(), "an error without words");
  }
  serve::HttpRequest request;
  request.headers = {{"content-type", std::string(type)}};
  request.body = std::string(body);
  const auto edit = serve::parse_image_edit(request);
  if (edit) check(!edit->images.empty() && edit->n >= 1 && edit->n <= 10, "an edit of nothing");
  return 0;
}
