// What must hold of a scheduler, its pool and its tree between any two calls.
#pragma once
#include <string>
#include <vector>

#include "llm/plan/scheduler.h"

namespace cairn::llm {

// All violations, as sentences; empty when everything holds.
std::vector<std::string> invariants(const SchedulerSnapshot& snapshot);

}  // namespace cairn::llm
