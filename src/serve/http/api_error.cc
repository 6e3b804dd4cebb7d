#include "serve/http/api_error.h"

#include "serve/http/json_writer.h"

namespace cairn::serve {

ApiError api_error(const Error& e) { return {http_status(e.code), e.what, {}, {}}; }

std::string_view error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 429:
      return "rate_limit_error";
    case 501:
      return "not_supported_error";
    case 503:
      return "overloaded_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

std::string error_body(const ApiError& e) {
  JsonWriter w;
  w.begin_object().key("error").begin_object().field("message", e.message).field("type", error_type(e.status));
  w.key("param");
  e.param.empty() ? w.null() : w.value(e.param);
  w.key("code");
  e.code.empty() ? w.null() : w.value(e.code);
  return w.end_object().end_object().take();
}

}  // namespace cairn::serve
