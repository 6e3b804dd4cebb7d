// Who computes ops::attention on a device: libtorch's kernels and the device's own, by cache-dit's and diffusers'
// names.
#pragma once
#include <string>
#include <vector>

#include "ops/ops.h"

namespace cairn::ops {

// The backends that work on this device and take unmasked attention in `dtype`; each is tried on a few numbers. A
// device starts with the first one.
std::vector<std::string> attention_backends(c10::Device device, Dtype dtype);

// Installs the device's kernels and has attention on every device of its type computed by this backend. What the
// backend does not take (masks, most often, and very wide heads) goes to the reference, which lets libtorch choose. Not
// while anything runs. kUnsupported, with those that there are, when it is none of them.
Result<void> select_attention(c10::Device device, const std::string& name, Dtype dtype);

}  // namespace cairn::ops
