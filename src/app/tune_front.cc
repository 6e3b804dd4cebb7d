#include "app/tune_front.h"

#include <fmt/core.h>

#include <algorithm>

#include "app/run.h"

namespace cairn::app {
namespace {

double mean(const std::vector<Sample>& samples, double Sample::*what) {
  double sum = 0;
  for (const auto& s : samples) sum += s.*what;
  return sum / static_cast<double>(samples.size());
}

// Whether a is no slower and no worse than b, and not just the same.
bool dominates(const Measured& a, const Measured& b) {
  return a.speedup() >= b.speedup() && a.psnr() >= b.psnr() && (a.speedup() > b.speedup() || a.psnr() > b.psnr());
}

}  // namespace

double Measured::speedup() const {
  std::vector<double> values;
  for (const auto& s : samples) values.push_back(s.speedup);
  return median(std::move(values));
}
double Measured::work() const { return mean(samples, &Sample::work); }
double Measured::psnr() const { return mean(samples, &Sample::psnr); }
double Measured::ssim() const { return mean(samples, &Sample::ssim); }
double Measured::worst_psnr() const { return std::ranges::min(samples, {}, &Sample::psnr).psnr; }

std::vector<size_t> pareto_front(const std::vector<Measured>& all, size_t prompts) {
  const auto counts = [&](const Measured& m) { return m.samples.size() >= prompts && m.work() > 1; };
  std::vector<size_t> front;
  for (size_t i = 0; i < all.size(); ++i) {
    if (!counts(all[i])) continue;
    const bool beaten =
        std::ranges::any_of(all, [&](const Measured& other) { return counts(other) && dominates(other, all[i]); });
    if (!beaten && all[i].speedup() > 1) front.push_back(i);
  }
  std::ranges::stable_sort(front, {}, [&](size_t i) { return all[i].speedup(); });
  return front;
}

std::optional<size_t> choose(const std::vector<Measured>& all, const std::vector<size_t>& front,
                             std::optional<double> psnr, std::optional<double> speedup) {
  std::optional<size_t> best;  // the front's speed rises and its PSNR falls
  for (const size_t i : front) {
    if (psnr && all[i].psnr() < *psnr) continue;
    if (speedup && all[i].speedup() < *speedup) continue;
    if (!psnr) return i;
    best = i;
  }
  return best;
}

std::string to_yaml(const Measured& m, const std::string& about) {
  std::string out = fmt::format(
      "# {}\n# {}: {:.2f} times faster, PSNR {:.1f} dB (lowest {:.1f}), SSIM {:.4f} over {} prompt{}\ncache_config:\n",
      about, m.candidate.name, m.speedup(), m.psnr(), m.worst_psnr(), m.ssim(), m.samples.size(),
      m.samples.size() == 1 ? "" : "s");
  for (const auto& [key, value] : *m.candidate.keys.as_object())
    out += fmt::format("  {}: {}\n", key, value.as_string() ? *value.as_string() : value.dump());
  return out;
}

Json to_json(const Measured& m) {
  Json::Array samples;
  for (const auto& s : m.samples)
    samples.push_back(Json::Object{{"speedup", s.speedup}, {"work", s.work}, {"psnr", s.psnr}, {"ssim", s.ssim}});
  return Json::Object{{"name", m.candidate.name}, {"speedup", m.speedup()},        {"work", m.work()},
                      {"psnr", m.psnr()},         {"worst_psnr", m.worst_psnr()},  {"ssim", m.ssim()},
                      {"trace", m.trace},         {"samples", std::move(samples)}, {"cache_config", m.candidate.keys}};
}

std::string front_table(const std::vector<Measured>& all, const std::vector<size_t>& front) {
  std::string out = fmt::format("{:>3}  {:<34}{:>9}{:>9}{:>10}{:>9}{:>9}\n", "", "configuration", "speed-up", "by work",
                                "PSNR dB", "lowest", "SSIM");
  for (size_t i = 0; i < front.size(); ++i) {
    const Measured& m = all[front[i]];
    out += fmt::format("{:>3}  {:<34}{:>9.2f}{:>9.2f}{:>10.1f}{:>9.1f}{:>9.4f}\n", i + 1, m.candidate.name, m.speedup(),
                       m.work(), m.psnr(), m.worst_psnr(), m.ssim());
  }
  return out;
}

}  // namespace cairn::app
