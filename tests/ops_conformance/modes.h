// The three things that the program does.
#pragma once
#include <string>
#include <vector>

#include "ops_conformance/samples.h"

namespace cairn::ops::conformance {

// What was asked for; an empty name or list is everything.
struct Asked {
  std::string op;
  std::vector<Dtype> dtypes;
  bool wants(const AnyOp& o) const { return op.empty() || o.name() == op; }
};

// "kernel" or "reference": what a call on this device goes to. A kernel may hand what it does not take to the
// reference.
const char* runs(const AnyOp& op, c10::Device device);

// Every operation over its samples, compared with float64. Returns how many operations failed, a dtype each.
int test(c10::Device device, const Asked& asked);
// The times of realistic sizes.
void perf(c10::Device device, const Asked& asked);
// What is installed where. `devices` are names for device::open.
void support(const std::vector<std::string>& devices, const Asked& asked);

}  // namespace cairn::ops::conformance
