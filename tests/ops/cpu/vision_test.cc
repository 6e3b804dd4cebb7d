// Convolutions and the sums of group norms, against sums in double.
#include "ops/cpu/buffers.h"
#include "ops/cpu/conv.h"

namespace cairn::ops::cpu {
namespace {

class VisionKernel : public KernelTest {};
CAIRN_EVERY_KERNEL(VisionKernel);

// A filter (out, in, height, width) as the kernels read it.
struct PackedFilter {
  PackedFilter(const Buffer& w, int64_t out, int64_t in, int64_t height, int64_t width, const Buffer& b) : bias(b) {
    const int64_t values = w.type() == Type::kF32 ? 1 : 2, padded = (out + 15) / 16 * 16;
    const int64_t panel = padded % 64 == 0 ? 64 : padded % 48 == 0 ? 48 : padded % 32 == 0 ? 32 : 16;
    const int64_t pitch = (in + values - 1) / values * values;
    filter = {w.type(), out, in, height, width, panel, pitch, width * pitch / values, nullptr, bias.floats()};
    Buffer to(w.type(), filter.panels() * height * filter.lanes * panel * values);
    for (int64_t o = 0; o < out; ++o)
      for (int64_t c = 0; c < in; ++c)
        for (int64_t y = 0; y < height; ++y)
          for (int64_t x = 0; x < width; ++x) {
            const int64_t at = x * pitch + c, lane = ((o / panel * height + y) * filter.lanes + at / values) * panel;
            to.set((lane + o % panel) * values + at % values, w[((o * in + c) * height + y) * width + x]);
          }
    memory.resize(static_cast<size_t>(to.count()) * to.size() / 4);
    std::memcpy(memory.data(), to.data(), memory.size() * 4);
    filter.data = memory.data();
  }
  PackedFilter(const PackedFilter&) = delete;

  const Buffer& bias;
  std::vector<uint32_t> memory;
  Filter filter;
};

struct Shape {
  int64_t height, width, in, out, side, stride, pad_before, pad_after;
};

TEST_P(VisionKernel, ConvolvesNormedPictures) {
  for (const Shape& s : {Shape{5, 7, 3, 16, 3, 1, 1, 1},
                         {9, 6, 17, 70, 3, 2, 0, 1},
                         {4, 33, 64, 48, 1, 1, 0, 0},
                         {6, 11, 20, 3, 3, 1, 1, 1}})
    for (const bool normed : {false, true}) {
      const int64_t n = 2, high = (s.height + s.pad_before + s.pad_after - s.side) / s.stride + 1,
                    wide = (s.width + s.pad_before + s.pad_after - s.side) / s.stride + 1;
      const Buffer x = make(Type::kF32, n * s.height * s.width * s.in), scale = make(Type::kF32, n * s.in),
                   shift = make(Type::kF32, n * s.in), residual = make(Type::kF32, n * high * wide * s.out),
                   w = make(type(), s.out * s.in * s.side * s.side, 0.2);
      Buffer bias = make(Type::kF32, (s.out + 63) / 64 * 64), y(Type::kF32, n * high * wide * s.out);
      for (int64_t o = s.out; o < bias.count(); ++o) bias.set(o, 0);
      const PackedFilter p(w, s.out, s.in, s.side, s.side, bias);
      Convolution job;
      job.x = {x.floats(), n, s.height, s.width, s.in};
      job.filters = &p.filter;
      job.stride = s.stride, job.pad_before = s.pad_before;
      job.out = y.floats(), job.out_height = high, job.out_width = wide;
      job.wide = !kernels().bf16;
      if (normed) job.norm = {scale.floats(), shift.floats(), true}, job.residual = residual.floats();
      share(3, kernels().vision->convolve, job);
      const auto input = [&](int64_t batch, int64_t r, int64_t column, int64_t c) {
        if (r < 0 || r >= s.height || column < 0 || column >= s.width) return 0.0;
        const double value = x[((batch * s.height + r) * s.width + column) * s.in + c];
        return normed ? activated(Act::kSilu, value * scale[batch * s.in + c] + shift[batch * s.in + c]) : value;
      };
      const auto expected = [&](int64_t i) {
        const int64_t o = i % s.out, column = i / s.out % wide, r = i / s.out / wide % high,
                      batch = i / s.out / wide / high;
        double sum = bias[o] + (normed ? residual[i] : 0);
        for (int64_t c = 0; c < s.in; ++c)
          for (int64_t dy = 0; dy < s.side; ++dy)
            for (int64_t dx = 0; dx < s.side; ++dx)
              sum += w[((o * s.in + c) * s.side + dy) * s.side + dx] *
                     input(batch, r * s.stride + dy - s.pad_before, column * s.stride + dx - s.pad_before, c);
        return sum;
      };
      EXPECT_LT(distance(y, expected), tolerance(type()))
          << s.height << "x" << s.width << " " << s.in << " to " << s.out;
    }
}

TEST_P(VisionKernel, ConvolvesDoubledPicturesByFourFilters) {
  const int64_t n = 1, height = 5, width = 9, in = 12, out = 20;
  const Buffer x = make(Type::kF32, n * height * width * in);
  Buffer bias = make(Type::kF32, 64), y(Type::kF32, n * 4 * height * width * out);
  for (int64_t o = out; o < 64; ++o) bias.set(o, 0);
  std::vector<Buffer> weights;
  std::vector<std::unique_ptr<PackedFilter>> packed;
  std::vector<Filter> filters;
  for (int i = 0; i < 4; ++i) weights.push_back(make(type(), out * in * 4, 0.2));
  for (const Buffer& w : weights) {
    packed.push_back(std::make_unique<PackedFilter>(w, out, in, 2, 2, bias));
    filters.push_back(packed.back()->filter);
  }
  Convolution job;
  job.x = {x.floats(), n, height, width, in};
  job.filters = filters.data(), job.filter_count = 4;
  job.out = y.floats(), job.out_height = 2 * height, job.out_width = 2 * width;
  job.wide = !kernels().bf16;
  share(2, kernels().vision->convolve, job);
  const auto expected = [&](int64_t i) {
    const int64_t o = i % out, column = i / out % (2 * width), r = i / out / (2 * width);
    const Buffer& w = weights[static_cast<size_t>(r % 2 * 2 + column % 2)];
    double sum = bias[o];
    for (int64_t c = 0; c < in; ++c)
      for (int64_t dy = 0; dy < 2; ++dy)
        for (int64_t dx = 0; dx < 2; ++dx) {
          const int64_t at_y = r / 2 + dy - 1 + r % 2, at_x = column / 2 + dx - 1 + column % 2;
          if (at_y >= 0 && at_y < height && at_x >= 0 && at_x < width)
            sum += w[((o * in + c) * 2 + dy) * 2 + dx] * x[(at_y * width + at_x) * in + c];
        }
    return sum;
  };
  EXPECT_LT(distance(y, expected), tolerance(type()));
}

TEST_P(VisionKernel, AddsUpChannelsAndNormsPixels) {
  const int64_t n = 2, height = 3, width = 5;
  for (const int64_t channels : {1, 7, 64, 83}) {
    Buffer x = make(Type::kF32, n * height * width * channels);
    const Buffer scale = make(Type::kF32, n * channels), shift = make(Type::kF32, n * channels);
    const Picture picture{x.floats(), n, height, width, channels};
    constexpr int kWorkers = 2;
    std::vector<double> sums(static_cast<size_t>(kWorkers * n * 2 * channels));
    share(kWorkers, kernels().vision->statistics, Statistics{picture, sums.data()});
    for (int64_t i = 0; i < n * channels; ++i) {
      const int64_t batch = i / channels, c = i % channels, pixels = height * width;
      double first = 0, second = 0, size = 1;
      for (int64_t p = 0; p < pixels; ++p) {
        const double d = x[(batch * pixels + p) * channels + c] - x[batch * pixels * channels + c];
        first += d, second += d * d, size += std::abs(d);
      }
      for (int64_t w = 0; w < kWorkers; ++w) {
        first -= sums[static_cast<size_t>(((w * n + batch) * 2) * channels + c)];
        second -= sums[static_cast<size_t>(((w * n + batch) * 2 + 1) * channels + c)];
      }
      EXPECT_NEAR(first, 0, 1e-6 * size) << channels;
      EXPECT_NEAR(second, 0, 3e-6 * size * size) << channels;
    }
    Buffer y(type(), x.count());
    share(2, kernels().vision->normalize, Normalize{picture, {scale.floats(), shift.floats(), true}, y.data(), type()});
    EXPECT_LT(distance(y,
                       [&](int64_t i) {
                         const int64_t at = i / (height * width * channels) * channels + i % channels;
                         return activated(Act::kSilu, x[i] * scale[at] + shift[at]);
                       }),
              tolerance(type()));
  }
}

}  // namespace
}  // namespace cairn::ops::cpu
