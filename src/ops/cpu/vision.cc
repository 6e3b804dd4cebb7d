// Kernels of vision.h for processors: tensors to the structs of conv.h, packed filters, and the parallel regions.
#include "ops/vision.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "ops/cpu/conv.h"
#include "ops/cpu/packed.h"
#include "ops/cpu/team.h"

namespace cairn::ops::cpu {
namespace {

const VisionKernels& vision_kernels() { return *kernels().vision; }

int64_t rounded_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// What a weight becomes: one filter, or four for a doubled picture.
struct Filters {
  std::vector<Filter> list;
  std::vector<Tensor> memory;  // that the filters point to
};

template <class T>
void pack(const Filter& f, const T* w, T* to) {
  const int64_t values = f.type == Type::kBF16 ? 2 : 1, taps = f.height * f.width;
  share(f.out * f.in * taps, [&](Worker worker) {
    for (int64_t p = worker.id; p < f.panels(); p += worker.count)
      for (int64_t y = 0; y < f.height; ++y)
        for (int64_t k = 0; k < f.width * f.pitch; ++k) {
          T* lane = to + ((p * f.height + y) * f.lanes + k / values) * f.panel * values + k % values;
          const int64_t x = k / f.pitch, c = k % f.pitch;
          for (int64_t i = 0, o = p * f.panel; i < f.panel; ++i, ++o)
            lane[i * values] = o < f.out && c < f.in ? w[(o * f.in + c) * taps + y * f.width + x] : T(0);
        }
  });
}

void add(Filters& to, const Tensor& weight, const Tensor& bias) {
  const Tensor w = weight.contiguous();
  Filter f;
  f.type = *type_of(w.scalar_type());
  f.out = w.size(0), f.in = w.size(1), f.height = w.size(2), f.width = w.size(3);
  const int64_t values = f.type == Type::kBF16 ? 2 : 1, out = rounded_up(f.out, 16);
  f.panel = out % 64 == 0 ? 64 : out % 48 == 0 ? 48 : out % 32 == 0 ? 32 : 16;
  f.pitch = rounded_up(f.in, values);
  f.lanes = f.width * f.pitch / values;
  const Tensor data = empty({f.panels() * f.height * f.lanes * f.panel}, kF32),
               padded = zeros({f.panels() * f.panel}, kF32);
  if (f.type == Type::kF32) {
    pack(f, w.data_ptr<float>(), data.data_ptr<float>());
  } else {
    pack(f, static_cast<const uint16_t*>(w.data_ptr()), static_cast<uint16_t*>(data.data_ptr()));
  }
  if (bias.defined()) padded.narrow(0, 0, f.out).copy_(bias);
  f.data = static_cast<const uint32_t*>(data.data_ptr());
  f.bias = padded.data_ptr<float>();
  to.list.push_back(f);
  to.memory.insert(to.memory.end(), {data, padded});
}

std::shared_ptr<const void> pack_filter(const Weight& w) {
  auto filters = std::make_shared<Filters>();
  add(*filters, w.weight(), w.bias());
  return filters;
}

// A 3 x 3 filter on a picture doubled by repetition meets each pixel with several taps at once. For each output of a
// 2 x 2 square those taps add up to a 2 x 2 filter on the small picture: 4/9 of the work.
std::shared_ptr<const void> pack_doubling(const Weight& w) {
  const Tensor taps = w.weight().to(kF32);
  auto filters = std::make_shared<Filters>();
  for (int64_t dy = 0; dy < 2; ++dy)
    for (int64_t dx = 0; dx < 2; ++dx) {
      Tensor sums = zeros({w.out(), w.in(), 2, 2}, kF32);
      for (int64_t y = 0; y < 3; ++y)
        for (int64_t x = 0; x < 3; ++x)
          sums.select(2, (y + 1 - dy) / 2).select(2, (x + 1 - dx) / 2).add_(taps.select(2, y).select(2, x));
      add(*filters, sums.to(w.dtype()), w.bias());
    }
  return filters;
}

Picture picture(const Tensor& x) { return {x.data_ptr<float>(), x.size(0), x.size(1), x.size(2), x.size(3)}; }
Tensor plain(const Tensor& x) { return x.to(kF32).contiguous(); }

// A group norm of a given picture as scale and shift per channel, in two steps: every worker adds up its share, then
// one of them finishes.
class GroupNorms {
 public:
  GroupNorms(const Picture& x, const GroupNorm& norm, const VisionKernels& kernels)
      : work_(16 * x.batches * x.height * x.width * x.channels),
        x_(x),
        norm_(norm),
        kernels_(kernels),
        weight_(plain(norm.weight)),
        bias_(plain(norm.bias)),
        table_(empty({2, x.batches, x.channels}, kF32)),
        sums_(empty({device::threads_for(work_), x.batches, 2, x.channels}, c10::ScalarType::Double)) {
    check(norm.groups > 0 && x.channels % norm.groups == 0, "the groups of a norm divide its channels");
    check(weight_.numel() == x.channels && bias_.numel() == x.channels,
          "a group norm has a weight and a bias per channel");
  }

  Affine affine() const {
    return {table_.data_ptr<float>(), table_.data_ptr<float>() + x_.batches * x_.channels, norm_.silu};
  }

  // Fills in what affine() points to.
  void run() {
    share(work_, [&](Worker w) { kernels_.statistics({x_, sums_.data_ptr<double>()}, w); });
    for (int64_t n = 0; n < x_.batches; ++n)
      for (int64_t g = 0; g < norm_.groups; ++g) finish(n, g, sums_.size(0));
  }

 private:
  void finish(int64_t n, int64_t group, int64_t workers) {
    const int64_t c = x_.channels, per = c / norm_.groups, first = group * per;
    const double pixels = static_cast<double>(x_.height * x_.width), count = static_cast<double>(per) * pixels;
    const auto sum = [&](int64_t part, int64_t channel) {
      double s = 0;
      for (int64_t w = 0; w < workers; ++w)
        s += sums_.data_ptr<double>()[((w * x_.batches + n) * 2 + part) * c + channel];
      return s;
    };
    const auto channel_mean = [&](int64_t i) { return static_cast<double>(x_.row(n, 0)[i]) + sum(0, i) / pixels; };
    double mean = 0, squares = 0;
    for (int64_t i = first; i < first + per; ++i) mean += channel_mean(i) / static_cast<double>(per);
    for (int64_t i = first; i < first + per; ++i) {
      const double s = sum(0, i), off = channel_mean(i) - mean;
      squares += sum(1, i) - s * s / pixels + off * off * pixels;
    }
    const double inverse = 1 / std::sqrt(std::max(0.0, squares) / count + norm_.eps);
    float *scale = table_.data_ptr<float>() + n * c, *shift = scale + x_.batches * c;
    for (int64_t i = first; i < first + per; ++i) {
      scale[i] = static_cast<float>(static_cast<double>(weight_.data_ptr<float>()[i]) * inverse);
      shift[i] = static_cast<float>(static_cast<double>(bias_.data_ptr<float>()[i]) -
                                    mean * static_cast<double>(weight_.data_ptr<float>()[i]) * inverse);
    }
  }

  int64_t work_;
  Picture x_;
  const GroupNorm& norm_;
  const VisionKernels& kernels_;
  Tensor weight_, bias_, table_, sums_;
};

Tensor group_norm(const Tensor& input, const GroupNorm& norm, Dtype out) {
  if (!type_of(out)) return reference::group_norm(input, norm, out);
  const Tensor x = plain(input), y = empty(x.sizes(), out);
  const VisionKernels& k = vision_kernels();
  GroupNorms norms(picture(x), norm, k);
  norms.run();
  share(16 * x.numel(), [&](Worker w) { k.normalize({picture(x), norms.affine(), y.data_ptr(), *type_of(out)}, w); });
  return y;
}

// What norm_conv and upsample_conv share. `norm` may be undefined.
void convolve(Convolution job, const GroupNorm& norm, const Tensor& y) {
  job.out = y.data_ptr<float>();
  job.out_height = y.size(1);
  job.out_width = y.size(2);
  job.wide = !kernels().bf16;
  const VisionKernels& k = vision_kernels();
  const Filter& f = job.filters[0];
  const int64_t work = y.numel() * f.height * f.width * f.in;
  std::optional<GroupNorms> norms;
  if (norm.defined()) {
    norms.emplace(job.x, norm, k);
    norms->run();
    job.norm = norms->affine();
  }
  share(work, [&](Worker w) { k.convolve(job, w); });
}

Tensor norm_conv(const Tensor& input, const GroupNorm& norm, const Weight& w, const ConvShape& shape,
                 const Tensor& residual) {
  if (!type_of(w.dtype())) return reference::norm_conv(input, norm, w, shape, residual);
  check(input.size(3) == w.in(), "a picture has the channels that its filter takes");
  const auto& filters = w.form<Filters>(pack_filter);
  check(filters.list.size() == 1, "a weight serves norm_conv or upsample_conv, not both");
  const Tensor x = plain(input);
  const auto side = [&](int64_t in, int64_t taps) {
    return (in + shape.pad_before + shape.pad_after - taps) / shape.stride + 1;
  };
  const Tensor y =
      empty({x.size(0), side(x.size(1), w.weight().size(2)), side(x.size(2), w.weight().size(3)), w.out()}, kF32);
  const Tensor add = residual.defined() ? plain(residual) : residual;
  check(!add.defined() || add.sizes() == y.sizes(), "a residual has the shape of the result");
  Convolution job;
  job.x = picture(x);
  job.filters = filters.list.data();
  job.stride = shape.stride;
  job.pad_before = shape.pad_before;
  if (add.defined()) job.residual = add.data_ptr<float>();
  convolve(job, norm, y);
  return y;
}

Tensor upsample_conv(const Tensor& input, const Weight& w) {
  if (!type_of(w.dtype())) return reference::upsample_conv(input, w);
  check(input.size(3) == w.in(), "a picture has the channels that its filter takes");
  const auto& filters = w.form<Filters>(pack_doubling);
  check(filters.list.size() == 4, "a weight serves norm_conv or upsample_conv, not both");
  const Tensor x = plain(input), y = empty({x.size(0), 2 * x.size(1), 2 * x.size(2), w.out()}, kF32);
  Convolution job;
  job.x = picture(x);
  job.filters = filters.list.data();
  job.filter_count = 4;
  convolve(job, {}, y);
  return y;
}

}  // namespace
}  // namespace cairn::ops::cpu

namespace cairn::ops {

void install_cpu_vision() {
  group_norm.on(kCPU, cpu::group_norm);
  norm_conv.on(kCPU, cpu::norm_conv);
  upsample_conv.on(kCPU, cpu::upsample_conv);
}

}  // namespace cairn::ops
