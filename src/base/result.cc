#include "base/result.h"

namespace cairn {

int http_status(Code code) {
  switch (code) {
    case Code::kInvalidArgument: return 400;
    case Code::kNotFound: return 404;
    case Code::kCorrupt: return 422;
    case Code::kUnsupported: return 501;
    case Code::kExhausted: return 503;
    case Code::kUnavailable: return 503;
    case Code::kCancelled: return 499;
    case Code::kInternal: return 500;
  }
  return 500;
}

}  // namespace cairn
