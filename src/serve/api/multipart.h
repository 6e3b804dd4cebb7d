// Bodies of type multipart/form-data (RFC 7578), as HTTP clients send files.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/http/api_error.h"

namespace cairn::serve {

// One field of a form. A file has a name of its own, as the client gave it: never a path to use.
struct FormPart {
  std::string name;
  std::optional<std::string> filename;
  std::string content_type;  // empty: none was given
  std::string data;
};

struct FormLimits {
  size_t parts = 64;
  size_t header_bytes = 4 << 10;  // of one part
};

// The parts of a whole body, in its order; names may repeat. Strict: a body that two readers could take apart in two
// ways (text before the first boundary or after the last, headers without a colon, a boundary inside of a line) is
// refused with a message that says what is wrong with which part.
Parsed<std::vector<FormPart>> parse_form(std::string_view content_type, std::string_view body,
                                         const FormLimits& limits = {});

}  // namespace cairn::serve
