// A block of FLUX for 1024 tokens of a picture beside 512 of a text, layers of its autoencoder, and its step caches.
#include <fmt/core.h>

#include "ops/cache.h"
#include "ops/vision.h"
#include "ops_conformance/samples.h"

namespace cairn::ops::conformance {
namespace {

constexpr int64_t kText = 512, kPicture = 1024, kTokens = kText + kPicture, kWidth = 3072, kInner = 4 * kWidth,
                  kHeads = 24, kHead = 128;

double multiply_adds(int64_t a, int64_t b, int64_t c) {
  return 2.0 * static_cast<double>(a * b) * static_cast<double>(c);
}

void block(std::vector<Timed>& to) {
  to.push_back({{&linear, fmt::format("{} x {} to {}, GELU", kPicture, kWidth, kInner),
                 [](Place& p) -> Run {
                   const Tensor x = p.numbers({1, kPicture, kWidth});
                   const Weight w = p.weight(kInner, kWidth);
                   return [=, f = p.of(linear), dtype = p.dtype()] {
                     return Outputs{{f({x}, w, Activation::kGeluTanh, dtype), dtype}};
                   };
                 }},
                multiply_adds(kPicture, kWidth, kInner)});
  to.push_back({{&linear_add, fmt::format("{} x ({} + {}) to {}, gated", kTokens, kWidth, kInner, kWidth),
                 [](Place& p) -> Run {
                   const Tensor residual = p.numbers({1, kTokens, kWidth}, kF32), a = p.numbers({1, kTokens, kWidth}),
                                b = p.numbers({1, kTokens, kInner}), modulation = p.numbers({1, 3, kWidth}, kF32);
                   const Weight w = p.weight(kWidth, kWidth + kInner);
                   return [=, f = p.of(linear_add)] { return Outputs{{f(residual, {a, b}, w, modulation, 2), kF32}}; };
                 }},
                multiply_adds(kTokens, kWidth + kInner, kWidth)});
  const auto size = fmt::format("{} x {}", kTokens, kWidth);
  to.push_back({{&layer_norm, size, [](Place& p) -> Run {
                   const Tensor x = p.numbers({1, kTokens, kWidth}, kF32);
                   return [=, f = p.of(layer_norm), dtype = p.dtype()] {
                     return Outputs{{f(x, {}, {}, 1e-6, dtype), dtype}};
                   };
                 }}});
  to.push_back({{&norm_modulate, size, [](Place& p) -> Run {
                   const Tensor x = p.numbers({1, kTokens, kWidth}, kF32), modulation = p.numbers({1, 6, kWidth}, kF32);
                   return [=, f = p.of(norm_modulate), dtype = p.dtype()] {
                     return Outputs{{f(x, modulation, 0, 1, 1e-6, dtype), dtype}};
                   };
                 }}});
  to.push_back({{&rope_table, fmt::format("{} x {}", kTokens, kHead), [](Place& p) -> Run {
                   const Tensor angles = p.angles(kTokens, kHead);
                   return [=, f = p.of(rope_table), dtype = p.dtype()] { return Outputs{{f(angles, dtype), dtype}}; };
                 }}});
  to.push_back({{&qkv, fmt::format("({} + {}) x {} to 3 x {} heads", kText, kPicture, kWidth, kHeads),
                 [](Place& p) {
                   return projected({1, kHead, kHeads, kHeads, kWidth, {kText, kPicture}, true, true, false}, p);
                 }},
                multiply_adds(kTokens, kWidth, 3 * kWidth)});
  to.push_back({{&attention, fmt::format("{} tokens, {} heads of {}", kTokens, kHeads, kHead),
                 [](Place& p) -> Run {
                   const auto heads = [&] { return p.numbers({1, kTokens, kHeads, kHead}); };
                   const Tensor q = heads(), k = heads(), v = heads();
                   return [=, f = p.of(attention), dtype = p.dtype()] {
                     return Outputs{{f(q, k, v, {}, false, 0.088), dtype}};
                   };
                 }},
                2 * multiply_adds(kTokens, kTokens, kWidth)});
  to.push_back({{&concat, fmt::format("({} + {}) x {}", kText, kPicture, kWidth), [](Place& p) -> Run {
                   const Tensor a = p.numbers({1, kText, kWidth}), b = p.numbers({1, kPicture, kWidth});
                   return [=, f = p.of(concat), dtype = p.dtype()] { return Outputs{{f({a, b}), dtype}}; };
                 }}});
}

void autoencoder(std::vector<Timed>& to) {
  const auto norm = [](Place& p, int64_t channels) {
    const Tensor weight = p.numbers({channels}, kF32), bias = p.numbers({channels}, kF32);
    return GroupNorm{weight, bias, 32, 1e-6, true};
  };
  struct Layer {
    int64_t side, channels;
  };
  for (const Layer& c : {Layer{64, 512}, {256, 128}}) {
    const auto size = fmt::format("{}x{}, {} channels", c.side, c.side, c.channels);
    const double products = multiply_adds(c.side * c.side, 9 * c.channels, c.channels);
    to.push_back({{&group_norm, size, [=](Place& p) -> Run {
                     const Tensor x = p.numbers({1, c.side, c.side, c.channels}, kF32);
                     const GroupNorm g = norm(p, c.channels);
                     return [=, f = p.of(group_norm), dtype = p.dtype()] { return Outputs{{f(x, g, dtype), dtype}}; };
                   }}});
    to.push_back({{&norm_conv, size,
                   [=](Place& p) -> Run {
                     const Tensor x = p.numbers({1, c.side, c.side, c.channels}, kF32);
                     const GroupNorm g = norm(p, c.channels);
                     const Weight w = p.filter(c.channels, c.channels, 3);
                     return [=, f = p.of(norm_conv)] { return Outputs{{f(x, g, w, {}, x), kF32}}; };
                   }},
                  products});
    to.push_back({{&upsample_conv, size,
                   [=](Place& p) -> Run {
                     const Tensor x = p.numbers({1, c.side, c.side, c.channels}, kF32);
                     const Weight w = p.filter(c.channels, c.channels, 3);
                     return [=, f = p.of(upsample_conv)] { return Outputs{{f(x, w), kF32}}; };
                   }},
                  4 * products});
  }
}

// Streams are fp32, as a model's are.
void caches(std::vector<Timed>& to) {
  const auto stream = [](Place& p) { return p.numbers({1, kPicture, kWidth}, kF32); };
  const auto size = fmt::format("{} x {}", kPicture, kWidth);
  to.push_back({{&change, size, [=](Place& p) -> Run {
                   const Tensor after = stream(p), before = stream(p), anchor = stream(p);
                   return [=, f = p.of(change)] {
                     f(after, before, anchor, 1, 0);
                     return Outputs{};
                   };
                 }}});
  to.push_back({{&residual, size, [=](Place& p) -> Run {
                   const Tensor after = stream(p), before = stream(p);
                   return [=, f = p.of(residual), out = Tensor()]() mutable {
                     f(after, before, 1, out);
                     return Outputs{{out, kF32}};
                   };
                 }}});
  to.push_back({{&taylor_update, size + ", 3 levels", [=](Place& p) -> Run {
                   const Tensor after = stream(p), before = stream(p);
                   const std::vector<Tensor> ladder{stream(p), stream(p), stream(p)};
                   return [=, f = p.of(taylor_update)] {
                     f(after, before, ladder, 3);
                     return Outputs{{ladder[0], kF32}, {ladder[1], kF32}};
                   };
                 }}});
  to.push_back({{&weighted_sum, size + ", 3 terms", [=](Place& p) -> Run {
                   const Tensor base = stream(p);
                   const std::vector<Tensor> terms{stream(p), stream(p), stream(p)};
                   return [=, f = p.of(weighted_sum)] { return Outputs{{f(terms, base, {0.5, 1.0, 2.0}), kF32}}; };
                 }}});
  to.push_back({{&gram, size + ", 4 terms",
                 [=](Place& p) -> Run {
                   const std::vector<Tensor> terms{stream(p), stream(p), stream(p), stream(p)};
                   return [=, f = p.of(gram)] {
                     f(terms);
                     return Outputs{};
                   };
                 }},
                20.0 * static_cast<double>(kPicture * kWidth)});
}

}  // namespace

void add_timed_pictures(std::vector<Timed>& to) {
  block(to);
  autoencoder(to);
  caches(to);
}

}  // namespace cairn::ops::conformance
