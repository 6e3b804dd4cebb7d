// Where a sequence's keys and values lie; for ops/paged.h and for kernels, which know no tensors.
#pragma once
#include <cstdint>

namespace cairn::ops {

// One sequence of a step. Rows [row, row + rows) of the step are its last `rows` tokens, and `blocks` lists the blocks
// of all its `keys` tokens, those rows included.
struct PagedSequence {
  int64_t row = 0, rows = 0, keys = 0;
  const int32_t* blocks = nullptr;
};

}  // namespace cairn::ops
