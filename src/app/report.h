// What a run of generate leaves behind besides its pictures.
#pragma once
#include <string>
#include <vector>

#include "app/run.h"
#include "base/json.h"
#include "image/image.h"

namespace cairn::app {

struct Report {
  struct Picture {
    std::string path, prompt;
    uint64_t seed = 0;
  };
  std::string model;
  double load = 0;  // seconds
  std::vector<Timing> runs;
  std::vector<Picture> images;
  Json comparison;
};

double seconds_now();

// outputs/<prompt as a file name>-<seed>.png
std::string default_path(const std::string& prompt, uint64_t seed);
// "a/b.png" and "-2" -> "a/b-2.png"
std::string with_suffix(const std::string& path, const std::string& suffix);

// The text chunks of picture `i`: what is needed to make it again.
image::Metadata metadata_of(const Report& report, const diffusion::Request& request, const std::string& tag, size_t i);

// Prints speed-up, PSNR and SSIM of a cached run against the same without a cache, and writes the uncached picture and
// both side by side beside `save_path`.
Result<void> report_comparison(Report& report, const Run& cached, const Run& plain,
                               const std::vector<double>& plain_seconds, const std::string& save_path);

Json to_json(const Report& report, const Run& last);
std::string timing_line(const Report& report);

}  // namespace cairn::app
