// Errors as OpenAI's clients read them.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cairn::serve {

// What a client gets to hear. `param` names the offending member of the request ("messages[0].content"), `code` is for
// programs ("model_not_found"); both are null in the answer when empty.
struct ApiError {
  int status = 400;
  std::string message, param, code;
};

template <class T>
using Parsed = tl::expected<T, ApiError>;

ApiError api_error(const Error& e);
inline tl::unexpected<ApiError> refused(std::string param, std::string message) {
  return tl::unexpected<ApiError>(ApiError{400, std::move(message), std::move(param), {}});
}

// OpenAI's name for the kind of error that a status stands for: "invalid_request_error", "server_error", ...
std::string_view error_type(int status);

// {"error":{"message":…,"type":…,"param":…,"code":…}}
std::string error_body(const ApiError& e);

}  // namespace cairn::serve
