#include "app/ceilings.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "app/report.h"
#include "app/run.h"
#include "device/device.h"
#include "device/large_pages.h"
#include "device/pool.h"

namespace cairn::app {
namespace {

constexpr int64_t kSide = 2048, kLargestSide = 8192;
constexpr double kShortest = 1e-3;  // seconds of an accelerator's product, beside which starting it is nothing

// The median without the first, which warms up.
double settled(const std::vector<double>& samples) {
  return median({samples.begin() + (samples.size() > 1 ? 1 : 0), samples.end()});
}

double seconds_of(c10::Device device, auto&& work) {
  device::synchronize(device);
  const double start = seconds_now();
  work();
  device::synchronize(device);
  return seconds_now() - start;
}

struct Reading {
  const char* data;
  int64_t bytes, parts;
  std::vector<uint64_t> sums;
};

void read_part(void* context, int part) {
  using Vector = uint64_t __attribute__((vector_size(16)));  // what every processor has
  constexpr int64_t kAtOnce = 8, kAhead = 32;                // two cache lines, 4 KiB
  auto& r = *static_cast<Reading*>(context);
  const int64_t steps = r.bytes / static_cast<int64_t>(sizeof(Vector)) / kAtOnce;
  const auto* data = reinterpret_cast<const Vector*>(r.data);
  Vector sums[kAtOnce] = {};
  for (int64_t i = steps * part / r.parts; i < steps * (part + 1) / r.parts; ++i) {
    // Narrow loads do not run far enough ahead by themselves.
    __builtin_prefetch(data + (i + kAhead) * kAtOnce);
    __builtin_prefetch(data + (i + kAhead) * kAtOnce + kAtOnce / 2);
#pragma GCC unroll 8
    for (int64_t j = 0; j < kAtOnce; ++j) sums[j] ^= data[i * kAtOnce + j];
  }
  for (const Vector& v : sums) r.sums[static_cast<size_t>(part)] += v[0] ^ v[1];
}

}  // namespace

std::string where_computed(c10::Device device) {
  return device.is_cpu() ? fmt::format("{} threads", device::threads()) : device.str();
}

MatmulCeiling::MatmulCeiling(c10::Device device, Dtype dtype)
    : a_(Noise(1).normal({kSide, kSide}, kF32).to(dtype).to(device)), b_(a_.t().contiguous()) {}

void MatmulCeiling::measure() {
  const device::LibtorchThreads all;
  const auto product = [&] { return seconds_of(a_.device(), [&] { a_.mm(b_); }); };
  double seconds = product();
  while (!a_.is_cpu() && seconds < kShortest && side() < kLargestSide) {
    a_ = a_.repeat({2, 2});
    b_ = b_.repeat({2, 2});
    samples_.clear();
    product();  // warms up
    seconds = product();
  }
  const auto n = static_cast<double>(side());
  samples_.push_back(2 * n * n * n / seconds);
}

double MatmulCeiling::value() const { return settled(samples_); }
double MatmulCeiling::best() const { return std::ranges::max(samples_); }

MemoryCeiling::MemoryCeiling(c10::Device device, int64_t bytes) : bytes_(std::clamp<int64_t>(bytes, 1 << 20, 1 << 30)) {
  if (!device.is_cpu()) {
    from_ = zeros({bytes_}, Dtype::Byte, device);
    to_ = zeros({bytes_}, Dtype::Byte, device);
    return;
  }
  memory_ = device::on_large_pages(static_cast<size_t>(bytes_));
  std::memset(memory_.get(), 1, static_cast<size_t>(bytes_));
}

void MemoryCeiling::measure() {
  if (from_.defined()) {
    const int64_t copies = std::max<int64_t>((int64_t{4} << 30) / bytes_, 1);
    const double seconds = seconds_of(from_.device(), [&] {
      for (int64_t i = 0; i < copies; ++i) to_.copy_(from_);
    });
    samples_.push_back(2 * static_cast<double>(bytes_ * copies) / seconds);
    return;
  }
  Reading r{static_cast<const char*>(memory_.get()), bytes_, device::threads(), {}};
  r.sums.resize(static_cast<size_t>(r.parts));
  const int64_t passes = std::max<int64_t>((int64_t{1} << 30) / bytes_, 1);
  const double start = seconds_now();
  for (int64_t i = 0; i < passes; ++i) device::Pool::instance().offer(static_cast<int>(r.parts), read_part, &r);
  samples_.push_back(static_cast<double>(bytes_ * passes) / (seconds_now() - start));
  check(r.sums[0] != 1, "what was read is used");
}

double MemoryCeiling::value() const { return settled(samples_); }

}  // namespace cairn::app
