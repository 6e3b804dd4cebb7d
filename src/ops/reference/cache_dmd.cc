#include <ATen/ops/linalg_eig.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_lstsq.h>
#include <ATen/ops/matmul.h>

#include <cmath>

#include "ops/cache.h"

namespace cairn::ops {
namespace {

// The singular values (largest first) and right singular vectors (columns) behind a Gram matrix.
std::pair<Tensor, Tensor> right_singular(const Tensor& gram) {
  auto [squares, vectors] = at::linalg_eigh(gram, "L");
  return {squares.flip(0).clamp_min(0).sqrt(), vectors.flip(1)};
}

}  // namespace

DynamicModes dynamic_modes(const double* data, int64_t m, int64_t rank, double ridge) {
  Tensor all = empty({m, m}, at::kDouble);
  std::copy_n(data, m * m, all.data_ptr<double>());
  const int64_t n = m - 1;
  // X = y_1 … y_n and X' = y_2 … y_m; what follows needs X^T X, X^T X' and X'^T X' only.
  const Tensor xx = all.slice(0, 0, n).slice(1, 0, n), xy = all.slice(0, 0, n).slice(1, 1, m),
               yy = all.slice(0, 1, m).slice(1, 1, m);
  DynamicModes out;
  if (!all.isfinite().all().item<bool>()) return out;
  const auto [sigma, v] = right_singular(xx);
  const double* s = sigma.data_ptr<double>();
  if (!(s[0] > 0)) return out;
  // A Gram matrix knows singular values to about 1e-8 of the largest: smaller ones would be noise.
  int64_t kept = 0, known = 0;
  for (int64_t i = 0; i < n; ++i) {
    kept += s[i] > s[0] * 1e-4;
    known += s[i] > s[0] * 1e-7;
  }
  const int64_t r = std::max<int64_t>(1, std::min(rank > 0 ? rank : kept, known));
  const auto complex = at::kComplexDouble;
  const Tensor vr = v.slice(1, 0, r), inverse = sigma.slice(0, 0, r).reciprocal(),
               damped = sigma.slice(0, 0, r).add(ridge).reciprocal();
  // U^T X' V / S, with U = X V / S.
  const Tensor step = at::matmul(at::matmul(vr.t(), xy), vr) * inverse.unsqueeze(1) * damped.unsqueeze(0);
  const auto [rates, modes] = at::linalg_eig(step);
  const Tensor combine = at::matmul((vr * damped.unsqueeze(0)).to(complex), modes);  // the modes are X' combine

  // Amplitudes: X' combine b = y_m = X' e_n in the least squares sense, in the coordinates of X' itself.
  const auto [sigma_y, v_y] = right_singular(yy);
  const Tensor root = (sigma_y.unsqueeze(1) * v_y.t()).to(complex);
  const Tensor amplitudes = std::get<0>(
      at::linalg_lstsq(at::matmul(root, combine), root.slice(1, n - 1, n).contiguous(), std::nullopt, "gelsd"));
  const Tensor mix = (combine * amplitudes.t()).contiguous(), rate = rates.contiguous();
  const auto* p = mix.data_ptr<c10::complex<double>>();
  for (int64_t i = 0; i < mix.numel(); ++i) out.mix.emplace_back(p[i].real(), p[i].imag());
  for (int64_t i = 0; i < r; ++i) {
    const auto e = rate.data_ptr<c10::complex<double>>()[i];
    out.rates.emplace_back(e.real(), e.imag());
  }
  return out;
}

std::vector<double> DynamicModes::weights(double k) const {
  std::vector<double> out;
  if (rates.empty()) return out;
  std::vector<std::complex<double>> power;
  for (const auto& rate : rates) power.push_back(rate == 0.0 ? 0.0 : std::pow(rate, k));
  for (size_t j = 0; j < mix.size(); j += rates.size()) {
    double w = 0;
    for (size_t i = 0; i < rates.size(); ++i) w += (mix[j + i] * power[i]).real();
    if (!std::isfinite(w)) return {};
    out.push_back(w);
  }
  return out;
}

}  // namespace cairn::ops
