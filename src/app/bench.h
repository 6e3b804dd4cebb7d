// What `cairn bench` can measure: one function a subject, named on its command line.
#pragma once
#include "app/commands.h"

namespace cairn::app {

Result<int> bench_dit(const Arguments& args);
Result<int> bench_offline(const Arguments& args);
Result<int> bench_one_batch(const Arguments& args);
Result<int> bench_serving(const Arguments& args);

}  // namespace cairn::app
