// Running a request and timing its parts: what generate, bench and tune share.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "diffusion/pipeline.h"

namespace cairn::app {

// Seconds of one run.
struct Timing {
  double text = 0, denoise = 0, decode = 0, total = 0;
  std::vector<double> steps;
};

struct Run {
  std::vector<image::Image> pictures;
  Tensor latents;  // packed (N, tokens, channels)
  diffusion::CacheStats cache;
  Timing timing;
  std::vector<std::string> warnings;
};

// Called after every step, with the seconds it took.
using OnStep = std::function<void(const diffusion::Generation&, double seconds)>;

// One request from text to pictures. Code::kCancelled after Ctrl-C, within a step.
Result<Run> run_request(const diffusion::Pipeline& pipe, const diffusion::Request& request, const OnStep& on_step = {});

// A line that grows with the steps on a terminal ("█" computed, "░" cached, time left), lines of text elsewhere.
class Progress {
 public:
  explicit Progress(bool quiet);
  ~Progress();
  OnStep listener(std::string label);

 private:
  bool quiet_, terminal_, open_ = false;
};

// "1111001": the trace of the first stack's main branch, or all ones without a cache.
std::string trace_of(const diffusion::CacheStats& stats, int64_t steps);

double median(std::vector<double> values);

}  // namespace cairn::app
