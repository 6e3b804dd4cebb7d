// Convolutions and group norms.
#include <fmt/core.h>

#include "ops/vision.h"
#include "ops_conformance/samples.h"

namespace cairn::ops::conformance {
namespace {

struct Case {
  int64_t n, height, width, in, out, kernel = 3;
  ConvShape walk = {};
  int64_t groups = 1;
};

// Channels that fill no vector, no pair and no panel; a picture of one pixel; strides and one-sided padding.
const std::vector<Case> kCases = {{1, 1, 1, 2, 1},
                                  {1, 1, 7, 3, 16},
                                  {2, 5, 3, 16, 3},
                                  {1, 16, 16, 128, 128, 3, {}, 16},
                                  {1, 9, 13, 48, 96, 3, {}, 4},
                                  {3, 4, 21, 33, 70, 3, {}, 3},
                                  {1, 17, 18, 64, 5, 1, {1, 0, 0}, 32},
                                  {1, 8, 8, 32, 32, 3, {2, 0, 1}},
                                  {2, 7, 9, 6, 20, 3, {2, 0, 1}, 2},
                                  {1, 11, 10, 3, 9, 3, {2, 1, 1}},
                                  {1, 5, 50, 256, 64, 3, {}, 32},
                                  {1, 6, 6, 10, 12, 5, {1, 2, 2}, 5},
                                  {1, 4, 4, 16, 16, 2, {2, 0, 0}}};

std::string text(const Case& c) {
  return fmt::format("{} of {}x{}, {} to {} channels, {}x{}, stride {}", c.n, c.height, c.width, c.in, c.out, c.kernel,
                     c.kernel, c.walk.stride);
}

GroupNorm norm(Place& p, const Case& c, bool silu) {
  const Tensor weight = p.numbers({c.in}, kF32, 1, 1), bias = p.numbers({c.in}, kF32);
  return {weight, bias, c.groups, 1e-6, silu};
}
Tensor picture(Place& p, const Case& c) { return p.numbers({c.n, c.height, c.width, c.in}, kF32, 2, 0.5); }

}  // namespace

void add_vision(Samples& to) {
  for (size_t i = 0; i < kCases.size(); ++i) {
    const Case c = kCases[i];
    const bool silu = i % 3 != 0;
    for (const bool normed : {false, true})
      to.push_back(
          {&norm_conv, text(c) + (normed ? ", normed and added" : ""), [=](Place& p) -> Run {
             const Tensor x = picture(p, c);
             const GroupNorm g = normed ? norm(p, c, silu) : GroupNorm{};
             const Weight w = p.filter(c.out, c.in, c.kernel);
             const auto size = [&](int64_t n) {
               return (n + c.walk.pad_before + c.walk.pad_after - c.kernel) / c.walk.stride + 1;
             };
             const Tensor residual = normed ? p.numbers({c.n, size(c.height), size(c.width), c.out}, kF32) : Tensor();
             return [=, f = p.of(norm_conv)] { return Outputs{{f(x, g, w, c.walk, residual), kF32}}; };
           }});
    if (c.kernel == 3)
      to.push_back({&upsample_conv, text(c), [=](Place& p) -> Run {
                      const Tensor x = picture(p, c);
                      const Weight w = p.filter(c.out, c.in, 3);
                      return [=, f = p.of(upsample_conv)] { return Outputs{{f(x, w), kF32}}; };
                    }});
    for (const bool wide : {false, true})
      to.push_back({&group_norm, fmt::format("{}, {} groups, {}", text(c), c.groups, wide ? "fp32" : "own"),
                    [=](Place& p) -> Run {
                      const Tensor x = picture(p, c);
                      const GroupNorm g = norm(p, c, silu);
                      const Dtype out = wide ? kF32 : p.dtype();
                      return [=, f = p.of(group_norm), as = p.as(out)] { return Outputs{{f(x, g, as), out}}; };
                    }});
  }
}

}  // namespace cairn::ops::conformance
