// What `cairn tune` measured, and what to choose from it.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "app/tune_grid.h"
#include "base/json.h"

namespace cairn::app {

// One run of a candidate against the same request without a cache.
struct Sample {
  double speedup = 0;  // of the denoising loop, by the clock
  double work = 0;     // the same without the clock's noise: blocks of the model over blocks run
  double psnr = 0, ssim = 0;
};

// The PSNR of equal pictures, which is infinite, counts as this.
inline constexpr double kMostPsnr = 99;

struct Measured {
  Candidate candidate;
  std::vector<Sample> samples;  // one a prompt
  std::string trace;            // of the first: 1 computed, 0 skipped

  double speedup() const;                           // median over the prompts
  double work() const, psnr() const, ssim() const;  // means
  double worst_psnr() const;
};

// Of those that were measured on so many prompts and skip something, the ones that no other dominates, fastest last.
// Indices into `all`.
std::vector<size_t> pareto_front(const std::vector<Measured>& all, size_t prompts);

// Of the front: the fastest with at least that PSNR, or the best with at least that speed-up. With both, the fastest
// that fulfils both. Nothing when none does.
std::optional<size_t> choose(const std::vector<Measured>& all, const std::vector<size_t>& front,
                             std::optional<double> psnr, std::optional<double> speedup);

// A file for --config, with `about` and the numbers as a comment.
std::string to_yaml(const Measured& m, const std::string& about);
Json to_json(const Measured& m);
std::string front_table(const std::vector<Measured>& all, const std::vector<size_t>& front);

// Speed-up against PSNR of all, the front as a line, as an SVG that reads on light and dark pages.
std::string front_svg(const std::string& title, const std::vector<Measured>& all, const std::vector<size_t>& front);

}  // namespace cairn::app
