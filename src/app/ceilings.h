// What a device allows, measured beside what is measured, since a shared machine's speed drifts.
#pragma once
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace cairn::app {

// "4 threads", or an accelerator's name.
std::string where_computed(c10::Device device);

// FLOP/s of one square product by libtorch: of 2048 x 2048, on an accelerator of as many more as last a millisecond.
class MatmulCeiling {
 public:
  MatmulCeiling(c10::Device device, Dtype dtype);
  void measure();
  int64_t side() const { return a_.size(0); }
  // Medians compare with medians; the best is for a machine with busy neighbours. After two measurements or more: the
  // first warms up.
  double value() const;
  double best() const;

 private:
  Tensor a_, b_;
  std::vector<double> samples_;
};

// Bytes a second of memory, of as much as a step reads of weights. Of a processor: what all threads together read from
// end to end, in a loop of 16-byte loads, which every processor has: wider ones may read a fifth more. Of an
// accelerator: what copies from its memory to its memory read and write.
class MemoryCeiling {
 public:
  // Throws std::bad_alloc where a processor has no such memory; no more than 1 GiB is taken, twice that for copies.
  MemoryCeiling(c10::Device device, int64_t bytes);
  void measure();
  double value() const;
  const char* way() const { return from_.defined() ? "copies move" : "a plain loop reads"; }

 private:
  int64_t bytes_;
  std::shared_ptr<void> memory_;
  Tensor from_, to_;
  std::vector<double> samples_;
};

}  // namespace cairn::app
