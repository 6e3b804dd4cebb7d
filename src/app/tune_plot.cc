#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "app/tune_front.h"

namespace cairn::app {
namespace {

constexpr double kWidth = 760, kHeight = 440, kLeft = 60, kRight = 20, kTop = 44, kBottom = 52;

// Colours of middling lightness are read on white and on black; only text and lines follow the page.
constexpr std::pair<const char*, const char*> kColours[] = {{"none", "#8a8f98"},
                                                            {"TaylorSeer1", "#2f81f7"},
                                                            {"TaylorSeer2", "#a371f7"},
                                                            {"DMD", "#d29922"},
                                                            {"FoCa", "#3fb950"}};

constexpr const char* kStyle =
    "<style>text{font:12px system-ui,sans-serif;fill:#24292f}.line{stroke:#24292f}.grid{stroke:#24292f;opacity:.15}"
    "@media(prefers-color-scheme:dark){text{fill:#d0d7de}.line,.grid{stroke:#d0d7de}}</style>\n";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '<' ? "&lt;" : c == '&' ? "&amp;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}

const char* colour(const std::string& predictor) {
  for (const auto& [name, value] : kColours)
    if (predictor == name) return value;
  return kColours[0].second;
}

// A range of values, and its place on the page.
struct Axis {
  double low, high, from, to, step;

  double operator()(double v) const { return from + (v - low) / (high - low) * (to - from); }
};

Axis axis(double low, double high, double from, double to, double step) {
  low = std::floor(low / step) * step;
  high = std::max(std::ceil(high / step) * step, low + step);
  return {low, high, from, to, step};
}

}  // namespace

std::string front_svg(const std::string& title, const std::vector<Measured>& all, const std::vector<size_t>& front) {
  double fastest = 1, lowest = kMostPsnr, highest = 0;
  for (const auto& m : all) {
    fastest = std::max(fastest, m.speedup());
    lowest = std::min(lowest, m.psnr());
    if (m.work() > 1) highest = std::max(highest, m.psnr());
  }
  const Axis x = axis(1, fastest, kLeft, kWidth - kRight, fastest > 4 ? 1 : 0.5);
  const Axis y = axis(std::min(lowest, highest), highest, kHeight - kBottom, kTop, 5);
  std::string out =
      fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
                  kWidth, kHeight, escaped(title));
  out += kStyle;
  out += fmt::format("<text x=\"{}\" y=\"18\" font-weight=\"bold\">{}</text>\n", kLeft, escaped(title));
  for (double v = x.low; v <= x.high + 1e-9; v += x.step)
    out += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/><text x=\"{0:.1f}\" y=\"{3}\" "
        "text-anchor=\"middle\">{4:g}</text>\n",
        x(v), kTop, kHeight - kBottom, kHeight - kBottom + 18, v);
  for (double v = y.low; v <= y.high + 1e-9; v += y.step)
    out += fmt::format(
        "<line class=\"grid\" y1=\"{0:.1f}\" y2=\"{0:.1f}\" x1=\"{1}\" x2=\"{2}\"/><text x=\"{3}\" y=\"{4:.1f}\" "
        "text-anchor=\"end\">{5:g}</text>\n",
        y(v), kLeft, kWidth - kRight, kLeft - 8, y(v) + 4, v);
  out += fmt::format(
      "<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">times faster than without a cache (denoising)</text>\n",
      (kLeft + kWidth - kRight) / 2, kHeight - 12);
  out += fmt::format(
      "<text transform=\"translate(16 {:.1f}) rotate(-90)\" text-anchor=\"middle\">PSNR to the uncached picture, "
      "dB</text>\n",
      (kTop + kHeight - kBottom) / 2);
  for (size_t i = 0; i < std::size(kColours); ++i) {
    const double at = kLeft + 105 * static_cast<double>(i);
    out += fmt::format("<circle cx=\"{:.0f}\" cy=\"32\" r=\"4\" fill=\"{}\"/><text x=\"{:.0f}\" y=\"36\">{}</text>\n",
                       at + 4, kColours[i].second, at + 13, kColours[i].first);
  }
  std::string line;
  for (const size_t i : front) line += fmt::format("{:.1f},{:.1f} ", x(all[i].speedup()), y(all[i].psnr()));
  if (!line.empty())
    out += fmt::format("<polyline class=\"line\" fill=\"none\" stroke-width=\"1.5\" points=\"{}\"/>\n", line);
  for (size_t i = 0; i < all.size(); ++i) {
    const Measured& m = all[i];
    if (m.work() <= 1 || m.speedup() < x.low) continue;
    const bool best = std::ranges::find(front, i) != front.end();
    out += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\" fill-opacity=\"{}\"><title>{}: {:.2f} times, {:.1f} "
        "dB</title></circle>\n",
        x(m.speedup()), y(m.psnr()), best ? 5 : 3, colour(m.candidate.predictor), best ? 1.0 : 0.45,
        escaped(m.candidate.name), m.speedup(), m.psnr());
  }
  for (size_t i = 0; i < front.size(); ++i)  // the numbers of the printed table
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", x(all[front[i]].speedup()) + 7,
                       y(all[front[i]].psnr()) - 6, i + 1);
  return out + "</svg>\n";
}

}  // namespace cairn::app
