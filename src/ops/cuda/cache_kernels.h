// Launchers of kernels for step caches (ops/cache.h says what they mean). Pointers are the device's, `stream` is a
// cudaStream_t; streams are Rows of `width` numbers, and those that are made are contiguous.
#pragma once
#include "ops/cuda/kernel.h"

namespace cairn::ops::cuda {

// How far x = after - before (before.data null: after), every stride-th channel, is from `anchor`, contiguous rows of
// as many channels. result: the sums of |anchor - x| and of |anchor|, over the rows whose own quotient exceeds
// `important` where that is above 0 and there are any. verdict, when there is one, becomes 1 where the quotient of the
// sums is below `threshold`, else 0 (no number is not below): it can stay on the device. The order of sums depends on
// the sizes alone.
struct Change {
  Rows after{}, before{};
  const void* anchor = nullptr;
  Type anchor_type = Type::f32;
  int64_t rows = 0, width = 0, stride = 1;
  double important = 0;
  double* result = nullptr;  // (2)
  double threshold = 0;
  int32_t* verdict = nullptr;
};
// In doubles.
int64_t change_workspace(const Change& c);
Status change(const Change& c, double* workspace, void* stream);

// out = after - before (before.data null: after), every stride-th channel, in the type of `after`.
Status residual(const Rows& after, const Rows& before, int64_t rows, int64_t width, int64_t stride, void* out,
                void* stream);

inline constexpr int64_t kMostTerms = 16;

// Backward differences in place (TaylorSeer, Liu et al. 2025): level 0 becomes after - before, level i + 1 becomes (new
// level i - old level i) / gap. Each level holds rows * width numbers; the last one is only written.
struct Taylor {
  Rows after{}, before{};
  void* levels[kMostTerms] = {};
  Type types[kMostTerms] = {};
  int64_t count = 0, rows = 0, width = 0;
  float gap = 1;
};
Status taylor_update(const Taylor& t, void* stream);

inline constexpr int64_t kMostWeights = 256;

// out = base (null: 0) + the sum of weights[part * count + j] * terms[j], summed in that order, for `parts` parts of
// `size` numbers each. Everything is contiguous.
struct WeightedSum {
  const void* terms[kMostTerms] = {};
  Type types[kMostTerms] = {};
  const void* base = nullptr;
  Type base_type = Type::f32;
  int64_t count = 0, parts = 0, size = 0;
  float weights[kMostWeights] = {};
  void* out = nullptr;
  Type out_type = Type::f32;
};
Status weighted_sum(const WeightedSum& w, void* stream);

// out (rows, count, count) = inner products, in fp64, of `size` numbers each of the terms' rows.
struct Gram {
  const void* terms[kMostTerms] = {};
  Type types[kMostTerms] = {};
  int64_t count = 0, rows = 0, size = 0;
  double* out = nullptr;
};
// In doubles.
int64_t gram_workspace(const Gram& g);
Status gram(const Gram& g, double* workspace, void* stream);

}  // namespace cairn::ops::cuda
