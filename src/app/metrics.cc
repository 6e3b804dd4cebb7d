// cairn metrics: how far pictures are apart.
#include "image/metrics.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "app/commands.h"
#include "app/flags.h"
#include "base/file.h"
#include "base/strings.h"

namespace cairn::app {
namespace {

struct MetricsOptions {
  std::string json;

  void fields(auto& f) { f("json", json, "the numbers as JSON"); }
};

// cache-dit-metrics' spelling, `psnr -i1 A -i2 B`: all three numbers come out either way.
Arguments plain_words(const Arguments& args) {
  Arguments out;
  if (std::ranges::find(args, "-i1") == args.end()) return args;
  for (const auto& word : args) {
    const bool metric = word == "psnr" || word == "ssim" || word == "mse" || word == "all";
    if (word != "-i1" && word != "-i2" && !metric) out.push_back(word);
  }
  return out;
}

// JSON has no infinity, which is the PSNR of equal pictures.
Json to_json(const image::Scores& s) {
  return Json::Object{{"psnr", std::isfinite(s.psnr) ? Json(s.psnr) : Json("inf")}, {"ssim", s.ssim}, {"mse", s.mse}};
}

Json to_json(const image::Report& report) {
  Json::Array rows;
  for (const auto& row : report.rows) {
    Json item = to_json(row.scores);
    item.set("name", row.name);
    rows.push_back(std::move(item));
  }
  return Json::Object{{"pictures", std::move(rows)}, {"mean", to_json(report.mean)}};
}

void print(const image::Report& report) {
  size_t width = 7;
  for (const auto& row : report.rows) width = std::max(width, row.name.size());
  const auto line = [width](const std::string& name, const image::Scores& s) {
    fmt::print("{:<{}}  {:>8.3f}  {:.5f}  {:>10.4f}\n", name, width, s.psnr, s.ssim, s.mse);
  };
  fmt::print("{:<{}}  {:>8}  {:<7}  {:>10}\n", "picture", width, "PSNR dB", "SSIM", "MSE");
  for (const auto& row : report.rows) line(row.name, row.scores);
  if (report.rows.size() > 1) line("mean", report.mean);
}

}  // namespace

Result<int> metrics(const Arguments& args) {
  Flags flags("cairn metrics A B [--json FILE]",
              "Compares two pictures, or two folders whose pictures have the same names: PSNR, SSIM and MSE.");
  std::vector<std::string> paths;
  MetricsOptions o;
  flags.positionals("picture or folder", 2, paths);
  flags.add("Output", o);
  if (!TRY(flags.parse(plain_words(args)))) return 0;
  if (paths.size() != 2) return invalid("metrics compares two pictures or two folders: cairn metrics A.png B.png");
  const auto report = TRY(image::compare_paths(paths[0], paths[1]));
  print(report);
  if (!o.json.empty()) TRY_VOID(write_file(o.json, to_json(report).dump(2) + "\n"));
  return 0;
}

}  // namespace cairn::app
