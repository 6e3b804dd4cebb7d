// When a step may be skipped: the rules that need no tensors. One per branch; it keeps the counts they ask for.
#pragma once
#include <cstdint>

#include "diffusion/cache/config.h"

namespace cairn::diffusion {

enum class Verdict { kCompute, kReuse, kMeasure };  // kMeasure: if the change is below the threshold

class Gate {
 public:
  explicit Gate(const CacheConfig& config);

  // Of step s since the start or the last forced refresh. In this order: warm-up, mask, most skipped steps, most in a
  // row, accumulated change, threshold.
  Verdict verdict(int64_t s);
  void measured(double change);
  // Once a step, after its verdict.
  void reused(int64_t s);
  void computed();
  // A forced refresh: what is counted in a row starts again, the total of the request goes on.
  void refresh();

  double threshold() const { return threshold_; }

 private:
  const CacheConfig* config_;
  int64_t warmup_ = 0;
  double threshold_ = 0;
  int64_t cached_ = 0;  // skipped steps of the request
  int64_t run_ = 0;     // skipped steps in a row
  double drift_ = 0;    // sum of changes since the last computed step
  int64_t last_ = -1;   // compat: the last skipped step
};

}  // namespace cairn::diffusion
