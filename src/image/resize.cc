#include "image/resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace cairn::image {
namespace {

// Pillow weighs bytes in fixed point: 8 bits for the value and 2 for the overshoot of negative lobes leave 22 of 32.
constexpr int kFractionBits = 32 - 8 - 2;
constexpr int64_t kChannels = 3;

double sinc(double x) { return x == 0 ? 1 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi); }

double weight(Filter filter, double x) {
  const double d = std::abs(x);
  switch (filter) {
    case Filter::kBilinear:
      return d < 1 ? 1 - d : 0;
    case Filter::kBicubic: {
      constexpr double a = -0.5;
      if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
    }
    case Filter::kLanczos:
      return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  }
  throw Bug("unknown filter");
}

double radius(Filter filter) { return filter == Filter::kBilinear ? 1 : filter == Filter::kBicubic ? 2 : 3; }

// Output sample i is the sum over k of weights[i * most + k] * input[first[i] + k], k < count[i].
struct Taps {
  int64_t most;
  std::vector<int64_t> first, count;
  std::vector<int32_t> weights;
};

Taps make_taps(int64_t from, int64_t to, Filter filter) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double widening = std::max(scale, 1.0);
  const double support = radius(filter) * widening;
  Taps taps;
  taps.most = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  taps.weights.resize(static_cast<size_t>(taps.most * to));
  std::vector<double> exact(static_cast<size_t>(taps.most));
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const int64_t count = std::min(static_cast<int64_t>(center + support + 0.5), from) - first;
    double sum = 0;
    for (int64_t k = 0; k < count; ++k)
      sum += exact[static_cast<size_t>(k)] =
          weight(filter, (static_cast<double>(k + first) - center + 0.5) * (1 / widening));
    for (int64_t k = 0; k < count; ++k) {
      const double w = exact[static_cast<size_t>(k)] / sum * (1 << kFractionBits);
      taps.weights[static_cast<size_t>(i * taps.most + k)] = static_cast<int32_t>(w < 0 ? w - 0.5 : w + 0.5);
    }
    taps.first.push_back(first);
    taps.count.push_back(count);
  }
  return taps;
}

uint8_t to_byte(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255)); }
constexpr int32_t kHalf = 1 << (kFractionBits - 1);

Image horizontally(const Image& in, int64_t width, Filter filter) {
  const Taps taps = make_taps(in.width, width, filter);
  Image out(width, in.height);
  for (int64_t y = 0; y < in.height; ++y) {
    uint8_t* to = out.row(y);
    for (int64_t x = 0; x < width; ++x, to += kChannels) {
      const int32_t* w = taps.weights.data() + x * taps.most;
      const uint8_t* from = in.row(y) + taps.first[static_cast<size_t>(x)] * kChannels;
      int32_t red = kHalf, green = kHalf, blue = kHalf;
      for (int64_t k = 0; k < taps.count[static_cast<size_t>(x)]; ++k, from += kChannels) {
        red += from[0] * w[k];
        green += from[1] * w[k];
        blue += from[2] * w[k];
      }
      to[0] = to_byte(red);
      to[1] = to_byte(green);
      to[2] = to_byte(blue);
    }
  }
  return out;
}

Image vertically(const Image& in, int64_t height, Filter filter) {
  const Taps taps = make_taps(in.height, height, filter);
  Image out(in.width, height);
  const auto bytes = static_cast<size_t>(in.width * kChannels);
  std::vector<int32_t> sums(bytes);  // whole rows at a time: the order in memory
  for (int64_t y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int64_t k = 0; k < taps.count[static_cast<size_t>(y)]; ++k) {
      const int32_t w = taps.weights[static_cast<size_t>(y * taps.most + k)];
      const uint8_t* from = in.row(taps.first[static_cast<size_t>(y)] + k);
      for (size_t i = 0; i < bytes; ++i) sums[i] += from[i] * w;
    }
    std::transform(sums.begin(), sums.end(), out.row(y), to_byte);
  }
  return out;
}

}  // namespace

Result<Image> resize(const Image& image, int64_t width, int64_t height, Filter filter) {
  TRY_VOID(check_size(image.width, image.height));
  TRY_VOID(check_size(width, height));
  if (width == image.width && height == image.height) return image;
  if (width == image.width) return vertically(image, height, filter);
  if (height == image.height) return horizontally(image, width, filter);
  // The order shows in the rounding. This is the rule of Pillow 13; up to 12 it was always horizontal first.
  const int64_t rows_less = image.height - height, columns_less = image.width - width;
  if (rows_less > 0 && rows_less > 2 * columns_less)
    return horizontally(vertically(image, height, filter), width, filter);
  // What stands between the passes can have more pixels than either end.
  TRY_VOID(check_size(width, image.height));
  return vertically(horizontally(image, width, filter), height, filter);
}

}  // namespace cairn::image
