// Memory for what is read from end to end at every step, on the largest pages that the system gives: fewer faults while
// it is filled, and fewer misses of address translation while it is read.
#pragma once
#include <cstddef>
#include <memory>

namespace cairn::device {

// At least `bytes`, aligned to a cache line, zero. Small requests share pages, which go when the last of them does. Any
// thread. Throws std::bad_alloc.
std::shared_ptr<void> on_large_pages(size_t bytes);

}  // namespace cairn::device
