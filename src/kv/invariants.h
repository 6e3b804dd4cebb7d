// What must hold of a pool and a tree between any two operations. Plain functions over plain data: a test can break
// the data and see the violation named.
#pragma once
#include <string>
#include <vector>

#include "kv/prefix_tree.h"

namespace cairn::kv {

// All violations, as sentences; empty when everything holds.
std::vector<std::string> invariants(const PoolSnapshot& pool);
std::vector<std::string> invariants(const TreeSnapshot& tree, const PoolSnapshot& pool);

}  // namespace cairn::kv
