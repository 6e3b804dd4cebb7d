// Products and norms.
#include <fmt/core.h>

#include "ops_conformance/samples.h"

namespace cairn::ops::conformance {
namespace {

constexpr Activation kActivations[] = {Activation::kNone, Activation::kGelu, Activation::kGeluTanh,
                                       Activation::kQuickGelu, Activation::kSilu};

struct Shape {
  int64_t n, t, in, out;
};
// One row, few and many; widths that fill no vector, no panel and no tile.
constexpr Shape kShapes[] = {{1, 1, 256, 512},    {1, 3, 64, 64},   {2, 5, 7, 3},       {3, 32, 256, 768},
                             {1, 97, 130, 200},   {2, 13, 255, 65}, {1, 64, 1024, 256}, {1, 200, 33, 70},
                             {1, 110, 3200, 128}, {2, 1, 16, 1}};

std::string text(const Shape& s) { return fmt::format("{}x{}x{} to {}", s.n, s.t, s.in, s.out); }

void products(Samples& to) {
  for (size_t i = 0; i < std::size(kShapes); ++i)
    for (const bool wide : {false, true}) {
      const Shape s = kShapes[i];
      const Activation act = kActivations[(2 * i + wide) % std::size(kActivations)];
      to.push_back({&linear,
                    fmt::format("{}, activation {}, {}", text(s), static_cast<int>(act), wide ? "fp32" : "own"),
                    [=](Place& p) -> Run {
                      const Tensor x = p.numbers({s.n, s.t, s.in});
                      const Weight w = p.weight(s.out, s.in, s.t != 64);
                      const Dtype out = wide ? kF32 : p.dtype();
                      return [=, f = p.of(linear), as = p.as(out)] { return Outputs{{f({x}, w, act, as), out}}; };
                    }});
    }
  for (const int64_t width : {96, 61})
    to.push_back({&linear, fmt::format("joined and strided inputs, {}", width), [=](Place& p) -> Run {
                    const Tensor a = p.numbers({2, 20, 256}).narrow(1, 3, 11),
                                 b = p.numbers({2, 11, 3 * width}).narrow(2, width, width);
                    const Weight w = p.weight(130, 256 + width);
                    return [=, f = p.of(linear), as = p.as(kF32)] {
                      return Outputs{{f({a, b}, w, Activation::kSilu, as), kF32}};
                    };
                  }});
  to.push_back({&linear, "an input of another dtype, two dimensions", [](Place& p) -> Run {
                  // Of bf16's numbers every dtype holds those of this size.
                  const Tensor x = p.numbers({9, 64}, p.dtype() == kF32 ? kBF16 : kF32);
                  const Weight w = p.weight(70, 64);
                  return [=, f = p.of(linear), as = p.as(kF32)] {
                    return Outputs{{f({x}, w, Activation::kNone, as), kF32}};
                  };
                }});
}

void additions(Samples& to) {
  for (size_t i = 0; i < std::size(kShapes); ++i)
    for (const bool gated : {false, true}) {
      const Shape s = kShapes[i];
      const bool wide = (i % 2 == 0) == gated;
      to.push_back({&linear_add, fmt::format("{}, {}{}", text(s), wide ? "fp32" : "own", gated ? ", gated" : ""),
                    [=](Place& p) -> Run {
                      const Dtype stream = wide ? kF32 : p.dtype();
                      const Tensor x = p.numbers({s.n, s.t, s.in}),
                                   residual = p.numbers({s.n, s.t + 2, s.out}, stream).narrow(1, 1, s.t),
                                   modulation = gated ? p.numbers({s.n, 3, s.out}, kF32) : Tensor();
                      const Weight w = p.weight(s.out, s.in);
                      return [=, f = p.of(linear_add)] {
                        return Outputs{{f(residual, {x}, w, modulation, 2), stream}};
                      };
                    }});
    }
  to.push_back({&linear_add, "two inputs", [](Place& p) -> Run {
                  const Tensor a = p.numbers({2, 9, 64}), b = p.numbers({2, 9, 160}),
                               residual = p.numbers({2, 9, 64}, kF32), modulation = p.numbers({2, 6, 64}, kF32);
                  const Weight w = p.weight(64, 224);
                  return [=, f = p.of(linear_add)] { return Outputs{{f(residual, {a, b}, w, modulation, 5), kF32}}; };
                }});
}

void gated_products(Samples& to) {
  for (size_t i = 0; i < std::size(kShapes); ++i)
    for (const bool beside : {false, true}) {
      const Shape s = kShapes[i];
      const Activation act = beside ? Activation::kSilu : kActivations[i % std::size(kActivations)];
      to.push_back(
          {&linear_glu, fmt::format("{}, activation {}{}", text(s), static_cast<int>(act), beside ? ", adjoined" : ""),
           [=](Place& p) -> Run {
             const Tensor x = p.numbers({s.n, s.t, s.in});
             const auto w = beside ? p.adjoined({s.out, s.out}, s.in)
                                   : std::vector{p.weight(s.out, s.in, false), p.weight(s.out, s.in, false)};
             return [=, f = p.of(linear_glu), dtype = p.dtype()] { return Outputs{{f(x, w[0], w[1], act), dtype}}; };
           }});
    }
}

void norms(Samples& to) {
  for (const int64_t width : {1, 7, 64, 256, 1000, 3072})
    for (const bool wide : {false, true})
      for (const bool weighted : {false, true}) {
        const std::string what =
            fmt::format("width {}, {}{}", width, wide ? "fp32" : "own", weighted ? ", weighted" : "");
        const auto rows = [=](Place& p) { return p.numbers({2, 9, width}, p.dtype(), 3, 1).narrow(1, 1, 7); };
        const auto result = [=](Place& p) { return wide ? kF32 : p.dtype(); };
        to.push_back({&rms_norm, what, [=](Place& p) -> Run {
                        const Tensor x = rows(p), w = weighted ? p.numbers({width}) : Tensor();
                        return [=, f = p.of(rms_norm), out = result(p), as = p.as(result(p))] {
                          return Outputs{{f(x, w, 1e-6, as), out}};
                        };
                      }});
        if (width == 1) continue;  // a mean of one number leaves nothing
        to.push_back({&layer_norm, what, [=](Place& p) -> Run {
                        const Tensor x = rows(p), w = weighted ? p.numbers({width}) : Tensor(),
                                     b = weighted ? p.numbers({width}, kF32) : Tensor();
                        return [=, f = p.of(layer_norm), out = result(p), as = p.as(result(p))] {
                          return Outputs{{f(x, w, b, 1e-6, as), out}};
                        };
                      }});
        if (weighted) continue;
        to.push_back({&norm_modulate, what, [=](Place& p) -> Run {
                        const Tensor x = rows(p), modulation = p.numbers({2, 6, width}, kF32);
                        return [=, f = p.of(norm_modulate), out = result(p), as = p.as(result(p))] {
                          return Outputs{{f(x, modulation, 3, 1, 1e-6, as), out}};
                        };
                      }});
      }
  to.push_back({&rms_norm, "a weight of another dtype, four dimensions", [](Place& p) -> Run {
                  const Tensor x = p.numbers({2, 5, 3, 128}), w = p.numbers({128}, p.dtype() == kF32 ? kBF16 : kF32);
                  return [=, f = p.of(rms_norm), out = p.dtype(), as = p.as(p.dtype())] {
                    return Outputs{{f(x, w, 1e-5, as), out}};
                  };
                }});
}

}  // namespace

void add_layers(Samples& to) {
  products(to);
  additions(to);
  gated_products(to);
  norms(to);
}

}  // namespace cairn::ops::conformance
