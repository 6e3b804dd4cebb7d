#include "ops/cuda/device_code.cuh"
#include "ops/cuda/sampling_kernels.h"

namespace cairn::ops::cuda {
namespace {

using Mass = unsigned long long;
constexpr int kThreads = 512, kWarps = kThreads / kWarp, kBins = 256;
constexpr Mass kUnlimited = ~Mass{0};
constexpr double kOne = 17592186044416.0;  // 2^44, the mass of weight 1

// exp((logit - highest) * scale) in the sampler's own arithmetic, step by step: no product is fused with a sum.
struct Weights {
  float highest, rate, floor;
  double least;  // weights below it do not count
  __device__ Weights(float top, double scale, double min_p) : highest(top), least(min_p) {
    rate = static_cast<float>(scale * 1.4426950408889634);
    floor = -127 / rate;
  }
  __device__ float of(float logit) const {
    const float x = __fadd_rn(logit, -highest);
    const float t = __fmul_rn(x > floor ? x : floor, rate);
    constexpr float kShift = 12582912.0f + 127;  // 1.5 * 2^23: the sum's last bits are t, rounded, as an exponent
    const float shifted = __fadd_rn(t, kShift), f = __fadd_rn(t, -__fadd_rn(shifted, -kShift));
    float p = __fadd_rn(__fmul_rn(f, 0.0013264727f), 0.0096715127f);
    p = __fadd_rn(__fmul_rn(p, f), 0.055507337f);
    p = __fadd_rn(__fmul_rn(p, f), 0.24022242f);
    p = __fadd_rn(__fmul_rn(p, f), 0.69314698f);
    p = __fadd_rn(__fmul_rn(p, f), 1.0f);
    return __fmul_rn(p, __uint_as_float(__float_as_uint(shifted) << 23));
  }
  // 0 for what may not be drawn.
  __device__ Mass mass(float logit) const {
    const double w = of(logit);
    return w < least ? 0 : static_cast<Mass>(w * kOne);
  }
};

// Greater logits have greater keys.
__device__ inline uint32_t key_of(float logit) {
  const uint32_t bits = __float_as_uint(logit == 0 ? 0.0f : logit);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The first i at which value(0) + … + value(i) exceeds `target`, which their sum does. All threads get it.
template <class F>
__device__ int64_t first_beyond(int64_t count, Mass target, F value) {
  __shared__ Mass sums[kWarps];
  __shared__ int64_t found;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  int64_t low = 0;
  while (count > kThreads) {
    const int64_t part = (count + kWarps - 1) / kWarps;
    Mass sum = 0;
    for (int64_t i = warp * part + lane; i < (warp + 1) * part && i < count; i += kWarp) sum += value(low + i);
    sum = warp_sum(sum);
    __syncthreads();  // the last sums have been read
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    int64_t w = 0;
    while (w < kWarps - 1 && target >= sums[w]) target -= sums[w++];
    low += w * part;
    count = count - w * part < part ? count - w * part : part;
  }
  const Mass own = static_cast<int64_t>(threadIdx.x) < count ? value(low + threadIdx.x) : 0;
  Mass before = own;
#pragma unroll
  for (int i = 1; i < kWarp; i *= 2) {
    const Mass lower = __shfl_up_sync(kAllLanes, before, i);
    if (lane >= i) before += lower;
  }
  __syncthreads();
  if (lane == kWarp - 1) sums[warp] = before;
  if (threadIdx.x == 0) found = low;
  __syncthreads();
  for (int w = 0; w < warp; ++w) before += sums[w];
  if (before > target && before - own <= target) found = low + threadIdx.x;
  __syncthreads();
  return found;
}

// Where a list of the candidates in order of likelihood is cut.
struct Cut {
  uint32_t key;      // of the last one before the cut
  Mass count, mass;  // of candidates with greater keys
  bool all;          // nothing is cut off: count and mass are of all candidates
};

// The shortest front that has `most` candidates or a mass above `enough`.
template <class F>
__device__ Cut cut_after(const float* logits, int64_t vocabulary, Mass most, Mass enough, F mass_of) {
  __shared__ unsigned counts[kBins];
  __shared__ Mass masses[kBins];
  __shared__ Cut cut;
  if (threadIdx.x == 0) cut = {0, 0, 0, false};
  for (int shift = 24; shift >= 0; shift -= 8) {
    __syncthreads();
    if (threadIdx.x < kBins) counts[threadIdx.x] = 0, masses[threadIdx.x] = 0;
    const uint32_t above = cut.key;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < vocabulary; i += kThreads) {
      const uint32_t key = key_of(logits[i]);
      if (shift < 24 && key >> (shift + 8) != above >> (shift + 8)) continue;
      const Mass mass = mass_of(logits[i]);
      if (mass == 0) continue;
      atomicAdd(&counts[key >> shift & (kBins - 1)], 1u);
      atomicAdd(&masses[key >> shift & (kBins - 1)], mass);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int bin = kBins - 1;
      for (; bin >= 0; --bin) {
        if (cut.count + counts[bin] >= most || cut.mass + masses[bin] > enough) break;
        cut.count += counts[bin], cut.mass += masses[bin];
      }
      cut.all = bin < 0;
      cut.key |= static_cast<uint32_t>(bin < 0 ? 0 : bin) << shift;
    }
    __syncthreads();
    if (cut.all) break;
  }
  const Cut result = cut;
  __syncthreads();
  return result;
}

__device__ void touch(float& x, const Touch& t, const SampleRow& row) {
  if (t.bias != 0) x += t.bias;
  if (t.count > 0 && (row.frequency != 0 || row.presence != 0))
    x -= static_cast<float>(row.frequency * t.count + row.presence);
  if (t.flags & Touch::kBanned) x = -INFINITY;
  if (row.repetition != 1 && (t.flags & Touch::kRepeated)) {
    const auto penalty = static_cast<float>(row.repetition);
    x = x > 0 ? x / penalty : x * penalty;
  }
}

// The highest logit, where it is first, and whether one is no number.
struct Top {
  float logit;
  int token, odd;
};
__device__ Top top_of(const float* logits, int64_t vocabulary) {
  __shared__ Top tops[kWarps];
  Top top{-INFINITY, 0x7fffffff, 0};
  const auto take = [&](float x, int token, int odd) {
    if (x > top.logit || (x == top.logit && token < top.token)) top.logit = x, top.token = token;
    top.odd |= odd;
  };
  for (int64_t i = threadIdx.x; i < vocabulary; i += kThreads)
    take(logits[i], static_cast<int>(i), logits[i] != logits[i]);
#pragma unroll
  for (int i = kWarp / 2; i > 0; i /= 2) {
    const float x = __shfl_xor_sync(kAllLanes, top.logit, i);
    const int token = __shfl_xor_sync(kAllLanes, top.token, i), odd = __shfl_xor_sync(kAllLanes, top.odd, i);
    take(x, token, odd);
  }
  if (threadIdx.x % kWarp == 0) tops[threadIdx.x / kWarp] = top;
  __syncthreads();
  for (int w = 0; w < kWarps; ++w) take(tops[w].logit, tops[w].token, tops[w].odd);
  return top;
}

__device__ int64_t draw(const float* logits, int64_t vocabulary, const SampleRow& row, const Weights& weights,
                        Mass total) {
  const auto mass = [&](float logit) { return weights.mass(logit); };
  const auto share = [&](Mass of) { return static_cast<Mass>(row.uniform * static_cast<double>(of)); };
  if (row.top_k < 0 && row.top_p >= 1 && row.min_p <= 0)
    return first_beyond(vocabulary, share(total), [&](int64_t i) { return mass(logits[i]); });
  const Mass most = row.top_k < 0 ? kUnlimited : static_cast<Mass>(row.top_k);
  const Mass enough = row.top_p < 1 ? static_cast<Mass>(row.top_p * static_cast<double>(total)) : kUnlimited;
  // How many of equal logits it takes to have a mass above `limit`.
  const auto needed = [&](const Cut& cut, Mass limit, Mass each) { return (limit - cut.mass) / each + 1; };
  const auto logit_mass = [&](uint32_t key) {
    return mass(__uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key));
  };
  const Cut front = cut_after(logits, vocabulary, most, enough, mass);
  Mass kept = front.mass;
  if (!front.all) {
    const Mass each = logit_mass(front.key), by_mass = enough == kUnlimited ? kUnlimited : needed(front, enough, each);
    const Mass by_count = most == kUnlimited ? kUnlimited : most - front.count;
    kept += each * (by_mass < by_count ? by_mass : by_count);
  }
  const Cut drawn = cut_after(logits, vocabulary, kUnlimited, share(kept), mass);
  const Mass number = needed(drawn, share(kept), logit_mass(drawn.key));
  return first_beyond(vocabulary, number - 1, [&](int64_t i) { return Mass{key_of(logits[i]) == drawn.key}; });
}

__global__ void __launch_bounds__(kThreads) sample_kernel(SamplingLaunch s) {
  const SampleRow row = s.rows[blockIdx.x];
  float* logits = s.logits + int64_t{blockIdx.x} * s.row_stride;
  for (int i = threadIdx.x; i < row.touches; i += kThreads) {
    const Touch t = s.touches[row.first_touch + i];
    if (t.token >= 0 && t.token < s.vocabulary) touch(logits[t.token], t, row);
  }
  __syncthreads();
  if (row.allowed >= 0) {
    const uint32_t* mask = s.allowed + row.allowed * s.allowed_words;
    for (int64_t i = threadIdx.x; i < s.vocabulary; i += kThreads)
      if (i / 32 >= s.allowed_words || !(mask[i / 32] >> (i % 32) & 1)) logits[i] = -INFINITY;
    __syncthreads();
  }
  const Top top = top_of(logits, s.vocabulary);
  Sampled& out = s.out[blockIdx.x];
  if (top.odd || !(top.logit < INFINITY && top.logit > -INFINITY)) {
    const bool none = !top.odd && top.logit == -INFINITY;
    if (threadIdx.x == 0) out = {-1, none ? Sampled::kNoneMayFollow : Sampled::kNotNumbers, 0};
    return;
  }
  const double scale = row.greedy ? 1 : 1 / row.temperature;
  const Weights all(top.logit, scale, 0), candidates(top.logit, scale, row.min_p);
  Mass total = 0;
  for (int64_t i = threadIdx.x; i < s.vocabulary; i += kThreads) total += all.mass(logits[i]);
  total = block_sum(total);
  const int64_t token = row.greedy ? top.token : draw(logits, s.vocabulary, row, candidates, total);
  if (threadIdx.x > 0) return;
  const auto log_total = static_cast<float>(log(static_cast<double>(total) / kOne));
  out = {static_cast<int32_t>(token), Sampled::kChosen,
         (logits[token] - top.logit) * static_cast<float>(scale) - log_total};
}

}  // namespace

Status sample(const SamplingLaunch& s, void* stream) {
  if (s.count < 0 || s.count > kMostBlocks) return "sample: a number of rows for one launch";
  if (s.count == 0) return nullptr;
  if (s.vocabulary < 1 || s.vocabulary >= 1 << 19) return "sample: a vocabulary of 1 to 524287 tokens";
  if (s.row_stride < s.vocabulary) return "sample: rows overlap";
  if (!s.logits || !s.rows || !s.out) return "sample: a pointer is missing";
  return launch(sample_kernel, dim3(static_cast<unsigned>(s.count)), dim3(kThreads), 0, stream, s);
}

}  // namespace cairn::ops::cuda
