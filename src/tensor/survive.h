// The one place where what an engine's step meets stops being an exception.
#pragma once
#include <functional>
#include <string>

#include "base/result.h"

namespace cairn {

// Runs f and turns whatever it throws into an Error: a Failure as it is, memory that ran out with the advice given, and
// the rest as a defect.
Result<void> survived(const std::function<void()>& f, const std::string& advice);

}  // namespace cairn
