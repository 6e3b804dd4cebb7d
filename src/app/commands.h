// The commands of the program. Each takes the words after its name, and returns the exit status.
#pragma once
#include <atomic>
#include <string>
#include <vector>

#include "base/result.h"

namespace cairn::app {

using Arguments = std::vector<std::string>;

Result<int> generate(const Arguments& args);
Result<int> metrics(const Arguments& args);
Result<int> inspect(const Arguments& args);
Result<int> bench(const Arguments& args);
Result<int> tune(const Arguments& args);
Result<int> chat(const Arguments& args);
Result<int> complete(const Arguments& args);
Result<int> doctor(const Arguments& args);
Result<int> render(const Arguments& args);
Result<int> serve(const Arguments& args);
Result<int> tokenize(const Arguments& args);

// Set by the first Ctrl-C; work in steps looks at it between them and returns Code::kCancelled.
extern std::atomic<bool> interrupted;

}  // namespace cairn::app
