#include "app/commands.h"

namespace cairn::app {

Result<int> tune(const Arguments&) { return failure(Code::kUnsupported, "not yet"); }

}  // namespace cairn::app
