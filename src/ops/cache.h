// Operations of step caches (diffusion/cache): measuring how far a residual stream has moved, and predicting it.
// Streams are (N, T, D) or any other shape; arithmetic is in fp32 at least, whatever they are stored in.
#pragma once
#include <complex>
#include <vector>

#include "ops/op.h"

namespace cairn::ops {

// Sums over all elements: |reference - x| and |reference|. Their quotient is the relative change.
struct Change {
  double difference = 0, magnitude = 0;
};

namespace reference {
Change change(const Tensor& after, const Tensor& before, const Tensor& anchor, int64_t stride, double important);
void residual(const Tensor& after, const Tensor& before, int64_t stride, Tensor& out);
void taylor_update(const Tensor& after, const Tensor& before, at::TensorList ladder, double gap);
Tensor weighted_sum(at::TensorList terms, const Tensor& base, const std::vector<double>& weights);
std::vector<double> gram(at::TensorList terms);
}  // namespace reference

// How far x = after - before (undefined: x = after), of which every stride-th channel counts, is from `anchor`, which
// residual() made with the same stride. With important > 0 only tokens count whose own relative change exceeds it, if
// there are any. One pass over memory; x is never stored.
inline Op<Change(const Tensor& after, const Tensor& before, const Tensor& anchor, int64_t stride, double important)>
    change{"cache_change", reference::change};

// out = after - before (undefined: after), every stride-th channel, contiguous, in the dtype of `after`. `out` keeps
// its memory when it fits.
inline Op<void(const Tensor& after, const Tensor& before, int64_t stride, Tensor& out)> residual{"cache_residual",
                                                                                                 reference::residual};

// Backward differences, in place (TaylorSeer, Liu et al. 2025): level 0 becomes y = after - before (undefined: after),
// level i + 1 becomes (new level i - old level i) / gap. The last level is written only, so it need not hold anything.
inline Op<void(const Tensor& after, const Tensor& before, at::TensorList ladder, double gap)> taylor_update{
    "cache_taylor_update", reference::taylor_update};

// base (undefined: 0) + the sum of weights[j] * terms[j]; weights are J numbers, or J for each of the N rows in turn.
// All shapes are alike; the result is contiguous, in the dtype of the base or else of the first term.
inline Op<Tensor(at::TensorList terms, const Tensor& base, const std::vector<double>& weights)> weighted_sum{
    "cache_weighted_sum", reference::weighted_sum};

// Inner products in double precision: (N, J, J) for J terms of N rows.
inline Op<std::vector<double>(at::TensorList terms)> gram{"cache_gram", reference::gram};

// Dynamic mode decomposition (Schmid 2010) of y_1 … y_m, one row each, from their inner products alone: the value k
// spacings after y_m is the sum over j of weight_j(k) y_(j+2), so no mode is ever formed in the width of the stream.
struct DynamicModes {
  std::vector<std::complex<double>> rates;  // eigenvalues of the step from one snapshot to the next, r
  std::vector<std::complex<double>> mix;    // (m - 1, r)
  // Weights of y_2 … y_m, m - 1 numbers; empty when they are not finite or the fit was degenerate.
  std::vector<double> weights(double k) const;
};
// gram: (m, m), m >= 2, row-major. rank 0 keeps singular values above 1e-4 of the first. ridge as in cache-dit.
DynamicModes dynamic_modes(const double* gram, int64_t m, int64_t rank, double ridge);

// Installs this processor's kernels of these operations. Idempotent.
void install_cpu_cache();

}  // namespace cairn::ops
