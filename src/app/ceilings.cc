#include "app/ceilings.h"

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

// The median without the first, which warms up.
double settled(const std::vector<double>& samples) {
  return median({samples.begin() + (samples.size() > 1 ? 1 : 0), samples.end()});
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

MatmulCeiling::MatmulCeiling(Dtype dtype)
    : a_(Noise(1).normal({kSide, kSide}, kF32).to(dtype)), b_(a_.t().contiguous()) {}

void MatmulCeiling::measure() {
  const device::LibtorchThreads all;
  const double start = seconds_now();
  a_.mm(b_);
  samples_.push_back(2.0 * kSide * kSide * kSide / (seconds_now() - start));
}

double MatmulCeiling::value() const { return settled(samples_); }
double MatmulCeiling::best() const { return std::ranges::max(samples_); }

ReadCeiling::ReadCeiling(int64_t bytes)
    : bytes_(std::clamp<int64_t>(bytes, 1 << 20, 1 << 30)),
      memory_(device::on_large_pages(static_cast<size_t>(bytes_))) {
  std::memset(memory_.get(), 1, static_cast<size_t>(bytes_));
}

void ReadCeiling::measure() {
  Reading r{static_cast<const char*>(memory_.get()), bytes_, device::threads(), {}};
  r.sums.resize(static_cast<size_t>(r.parts));
  const int64_t passes = std::max<int64_t>((int64_t{1} << 30) / bytes_, 1);
  const double start = seconds_now();
  for (int64_t i = 0; i < passes; ++i) device::Pool::instance().offer(static_cast<int>(r.parts), read_part, &r);
  samples_.push_back(static_cast<double>(bytes_ * passes) / (seconds_now() - start));
  check(r.sums[0] != 1, "what was read is used");
}

double ReadCeiling::value() const { return settled(samples_); }

}  // namespace cairn::app
