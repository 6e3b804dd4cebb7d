#include "tensor/finite.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/isfinite.h>

#include <atomic>
#include <cstring>

namespace cairn {
namespace {

// A float is finite when its exponent bits are not all ones. The loop has no branch, so that it becomes vectors.
template <class Bits>
bool finite_bits(const Bits* p, int64_t n, Bits exponent) {
  std::atomic<bool> finite{true};
  at::parallel_for(0, n, 1 << 18, [&](int64_t from, int64_t to) {
    unsigned bad = 0;
    for (int64_t i = from; i < to; ++i) bad |= (p[i] & exponent) == exponent;
    if (bad) finite = false;
  });
  return finite;
}

uint64_t mix(uint64_t x) {  // splitmix64 (Steele, Lea, Flood 2014)
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

bool all_finite(const Tensor& t) {
  if (t.is_cpu() && t.is_contiguous()) {
    switch (t.scalar_type()) {
      case kF32:
        return finite_bits(static_cast<const uint32_t*>(t.data_ptr()), t.numel(), uint32_t{0x7f800000});
      case kBF16:
        return finite_bits(static_cast<const uint16_t*>(t.data_ptr()), t.numel(), uint16_t{0x7f80});
      case kF16:
        return finite_bits(static_cast<const uint16_t*>(t.data_ptr()), t.numel(), uint16_t{0x7c00});
      default:
        break;
    }
  }
  return at::isfinite(t.to(kF32)).all().item<bool>();
}

Tensor hashed_uniform(at::IntArrayRef shape, uint64_t seed, double centre, double scale) {
  Tensor t = empty(shape, kBF16);
  auto* p = static_cast<c10::BFloat16*>(t.data_ptr());
  at::parallel_for(0, t.numel(), 1 << 16, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const double u = static_cast<double>(mix(seed + static_cast<uint64_t>(i)) >> 11) * 0x1p-52 - 1.0;
      p[i] = static_cast<float>(centre + scale * u);
    }
  });
  return t;
}

Tensor drawn_uniform(at::IntArrayRef shape, uint64_t seed, double centre, double scale, c10::Device device) {
  at::Generator generator = at::globalContext().defaultGenerator(device).clone();
  generator.set_current_seed(seed);
  return empty(shape, kBF16, device).uniform_(centre - scale, centre + scale, generator);
}

}  // namespace cairn
