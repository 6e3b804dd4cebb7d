#include "diffusion/cache/text.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdlib>

namespace cairn::diffusion {

std::string python_float(double v) {
  if (!std::isfinite(v)) return std::isnan(v) ? "nan" : v > 0 ? "inf" : "-inf";
  const double size = std::abs(v);
  const bool fixed = v == 0 || (size >= 1e-4 && size < 1e16);
  char text[64];
  const auto end =
      std::to_chars(text, text + sizeof text, v, fixed ? std::chars_format::fixed : std::chars_format::scientific);
  std::string out(text, end.ptr);
  if (fixed && out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string python_round(double v, int digits) {
  return python_float(std::strtod(fmt::format("{:.{}f}", v, digits).c_str(), nullptr));
}

}  // namespace cairn::diffusion
