#include "app/report.h"

#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <filesystem>

#include "device/device.h"
#include "image/metrics.h"
#include "image/resize.h"

namespace cairn::app {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxName = 60;

Json trace_json(const std::map<int64_t, std::vector<double>>& diffs) {
  Json out(Json::Object{});
  for (const auto& [step, values] : diffs) {
    Json::Array list(values.begin(), values.end());
    out.set(std::to_string(step), values.size() == 1 ? Json(values[0]) : Json(std::move(list)));
  }
  return out;
}

double median_total(const std::vector<Timing>& runs) {
  std::vector<double> totals;
  for (const auto& t : runs) totals.push_back(t.total);
  return median(totals);
}

Json score(double v) { return std::isfinite(v) ? Json(v) : Json("inf"); }

}  // namespace

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string default_path(const std::string& prompt, uint64_t seed) {
  std::string name;
  for (const char c : prompt) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (plain) name += c;
    if (!plain && !name.empty() && name.back() != '-') name += '-';
    if (name.size() == kMaxName) break;
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  return fmt::format("outputs/{}-{}.png", name.empty() ? "picture" : name, seed);
}

std::string with_suffix(const std::string& path, const std::string& suffix) {
  const fs::path p(path);
  return (p.parent_path() / (p.stem().string() + suffix + p.extension().string())).string();
}

image::Metadata metadata_of(const Report& report, const diffusion::Request& request, const std::string& tag, size_t i) {
  const auto& picture = report.images[i];
  image::Metadata m{{"prompt", picture.prompt},
                    {"seed", std::to_string(picture.seed)},
                    {"model", report.model},
                    {"steps", std::to_string(request.steps)},
                    {"guidance_scale", fmt::format("{}", request.guidance_scale)}};
  if (request.negative_prompt) m.emplace_back("negative_prompt", *request.negative_prompt);
  if (request.true_cfg_scale != 1) m.emplace_back("true_cfg_scale", fmt::format("{}", request.true_cfg_scale));
  if (request.seeds.size() == 1 && report.images.size() > 1)
    m.emplace_back("picture", fmt::format("{} of the seed's batch", i + 1));
  m.emplace_back("cache", tag.empty() ? "none" : tag);
  return m;
}

Result<void> report_comparison(Report& report, const Run& cached, const Run& plain,
                               const std::vector<double>& plain_seconds, const std::string& save_path) {
  const double speedup = median(plain_seconds) / median_total(report.runs);
  Json::Array rows;
  for (size_t i = 0; i < cached.pictures.size(); ++i) {
    const auto scores = TRY(image::compare(plain.pictures[i], cached.pictures[i]));
    const std::string number = cached.pictures.size() > 1 ? fmt::format("-{}", i + 1) : "";
    const std::string uncached = with_suffix(save_path, number + "-uncached"),
                      both = with_suffix(save_path, number + "-compare");
    TRY_VOID(image::save(uncached, plain.pictures[i]));
    TRY_VOID(image::save(both, TRY(image::side_by_side({plain.pictures[i], cached.pictures[i]}))));
    fmt::print("without and with the cache: {:.2f} times faster, PSNR {:.2f} dB, SSIM {:.4f}: {}\n", speedup,
               scores.psnr, scores.ssim, both);
    rows.push_back(Json::Object{{"uncached", uncached},
                                {"side_by_side", both},
                                {"psnr", score(scores.psnr)},
                                {"ssim", scores.ssim},
                                {"mse", scores.mse}});
  }
  report.comparison =
      Json::Object{{"speedup", speedup}, {"uncached_total_s", median(plain_seconds)}, {"pictures", std::move(rows)}};
  return {};
}

Json to_json(const Report& report, const Run& last) {
  const auto steps = static_cast<int64_t>(last.timing.steps.size());
  Json out(Json::Object{});
  out.set("tag", last.cache.tag());
  out.set("trace", trace_of(last.cache, steps));
  diffusion::BranchStats none;
  const auto& main = last.cache.stacks.empty() ? none : last.cache.stacks[0].main;
  const auto& cfg = last.cache.stacks.empty() ? none : last.cache.stacks[0].cfg;
  out.set("cfg_trace", cfg.trace);
  out.set("diffs", trace_json(main.diffs));
  out.set("cfg_diffs", trace_json(cfg.diffs));
  out.set("pruned_ratio", main.pruned_ratio());
  out.set("pruned_blocks", Json::Array(main.pruned_blocks.begin(), main.pruned_blocks.end()));
  Json::Array images;
  for (const auto& p : report.images)
    images.push_back(Json::Object{{"path", p.path}, {"prompt", p.prompt}, {"seed", static_cast<int64_t>(p.seed)}});
  out.set("images", std::move(images));
  out.set("peak_memory_bytes", device::peak_memory());
  Json::Array runs;
  for (const auto& t : report.runs)
    runs.push_back(Json::Object{{"text_s", t.text},
                                {"denoise_s", t.denoise},
                                {"decode_s", t.decode},
                                {"total_s", t.total},
                                {"steps_s", Json::Array(t.steps.begin(), t.steps.end())}});
  out.set("timing", Json::Object{{"load_s", report.load}, {"runs", std::move(runs)}});
  if (!report.comparison.is_null()) out.set("comparison", report.comparison);
  return out;
}

std::string timing_line(const Report& report) {
  const Timing& t = report.runs.back();
  std::string line = fmt::format("loaded in {:.2f} s; text {:.0f} ms, {} steps {:.0f} ms, decoding {:.0f} ms",
                                 report.load, t.text * 1e3, t.steps.size(), t.denoise * 1e3, t.decode * 1e3);
  if (report.runs.size() > 1)
    line += fmt::format("; median of {} runs {:.0f} ms", report.runs.size(), median_total(report.runs) * 1e3);
  return line;
}

}  // namespace cairn::app
