// What a machine allows, measured beside what is measured, since a shared machine's speed drifts.
#pragma once
#include <vector>

#include "tensor/tensor.h"

namespace cairn::app {

// FLOP/s of one square product by libtorch.
class MatmulCeiling {
 public:
  static constexpr int64_t kSide = 2048;

  explicit MatmulCeiling(Dtype dtype);
  void measure();
  // Medians compare with medians; the best is for a machine with busy neighbours. After two measurements or more: the
  // first warms up.
  double value() const;
  double best() const;

 private:
  Tensor a_, b_;
  std::vector<double> samples_;
};

// Bytes a second that all threads together read, from end to end of as much memory as a step reads of weights.
// A loop of 16-byte loads, which every processor has: wider ones may read a fifth more.
class ReadCeiling {
 public:
  // Throws std::bad_alloc where there is no such memory; no more than 1 GiB is taken.
  explicit ReadCeiling(int64_t bytes);
  void measure();
  double value() const;

 private:
  int64_t bytes_;
  std::shared_ptr<void> memory_;
  std::vector<double> samples_;
};

}  // namespace cairn::app
