#include "diffusion/solver.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace cairn::diffusion {
namespace {

constexpr int64_t kMaxSteps = 10'000;

std::vector<double> spaced(double from, double to, int64_t n) {
  std::vector<double> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i)
    out[static_cast<size_t>(i)] =
        n == 1 ? from : from + (to - from) * static_cast<double>(i) / static_cast<double>(n - 1);
  return out;
}

double statically_shifted(double s, double shift) { return shift * s / (1 + (shift - 1) * s); }

// The quantile function of the beta distribution whose two parameters are 0.6 (Lee et al. 2024, arXiv 2407.12173).
// With u = x^a the distribution function is u (1 - x)^a / (a B(a, a) F(x)), F a continued fraction (DLMF 8.17.22)
// which for x up to 1/2 gains more than two bits a term. In u it is nearly a line, and convex, so Newton's steps from
// the right of the root fall towards it and never past it.
double beta_quantile(double p) {
  constexpr double a = 0.6;
  constexpr int kTerms = 24, kMostSteps = 50;
  if (p > 0.5) return 1 - beta_quantile(1 - p);  // it is symmetric
  const double area = p * a * std::exp(2 * std::lgamma(a) - std::lgamma(2 * a));
  double u = std::min(area, std::pow(0.5, a)), x = std::pow(u, 1 / a);
  for (int step = 0; step < kMostSteps; ++step) {
    double fraction = 1;
    for (int k = kTerms; k > 0; --k) {
      const int m = k / 2;
      const double top = k % 2 ? -(a + m) * (2 * a + m) : m * (a - m);
      fraction = 1 + top * x / ((a + k - 1) * (a + k)) / fraction;
    }
    const double next = u - (u * (1 - x) / fraction - area * std::pow(1 - x, 1 - a));
    if (!(next < u)) break;
    u = next;
    x = std::pow(u, 1 / a);
  }
  return x;
}

}  // namespace

FlowMatchEuler::FlowMatchEuler(const FlowMatchConfig& config)
    : config_(config), sigma_min_(1.0 / static_cast<double>(config.num_train_timesteps)), sigma_max_(1.0) {
  if (config.use_karras_sigmas + config.use_exponential_sigmas + config.use_beta_sigmas > 1)
    throw Failure(Error{Code::kInvalidArgument,
                        "scheduler: choose one of use_karras_sigmas, use_exponential_sigmas and use_beta_sigmas"});
  if (config.max_image_seq_len <= config.base_image_seq_len)
    throw Failure(Error{Code::kInvalidArgument, "scheduler: max_image_seq_len must exceed base_image_seq_len"});
  if (!config.use_dynamic_shifting) {
    sigma_min_ = statically_shifted(sigma_min_, config.shift);
    sigma_max_ = statically_shifted(sigma_max_, config.shift);
  }
}

double FlowMatchEuler::mu(int64_t image_tokens) const {
  const double slope = (config_.max_shift - config_.base_shift) /
                       static_cast<double>(config_.max_image_seq_len - config_.base_image_seq_len);
  return config_.base_shift + slope * static_cast<double>(image_tokens - config_.base_image_seq_len);
}

std::vector<double> even_sigmas(int64_t steps) { return spaced(1.0, 1.0 / static_cast<double>(steps), steps); }

Result<Schedule> FlowMatchEuler::schedule(int64_t steps, const std::vector<double>& given, double mu) const {
  if (!given.empty()) steps = static_cast<int64_t>(given.size());
  if (steps < 1 || steps > kMaxSteps)
    return invalid(fmt::format("steps must lie in [1, {}], got {}", kMaxSteps, steps));
  for (const double s : given)
    if (!(s > 0 && s <= 1)) return invalid(fmt::format("sigmas must lie in (0, 1], got {}", s));
  std::vector<double> sigmas = given.empty() ? spaced(sigma_max_, sigma_min_, steps) : given;
  for (double& s : sigmas) {
    if (config_.use_dynamic_shifting) {
      const double m = config_.time_shift_type == "linear" ? mu : std::exp(mu);
      s = m / (m + (1 / s - 1));
    } else {
      s = statically_shifted(s, config_.shift);
    }
  }
  if (config_.shift_terminal && *config_.shift_terminal != 0) {
    const double scale = (1 - sigmas.back()) / (1 - *config_.shift_terminal);
    for (double& s : sigmas) s = 1 - (1 - s) / scale;
  }
  const double first = sigmas.front(), last = sigmas.back();
  if (config_.use_karras_sigmas) {  // Karras et al. 2022, rho 7
    sigmas = spaced(std::pow(first, 1 / 7.0), std::pow(last, 1 / 7.0), steps);
    for (double& s : sigmas) s = std::pow(s, 7.0);
  } else if (config_.use_exponential_sigmas) {
    sigmas = spaced(std::log(first), std::log(last), steps);
    for (double& s : sigmas) s = std::exp(s);
  } else if (config_.use_beta_sigmas) {
    sigmas = spaced(1, 0, steps);
    for (double& s : sigmas) s = last + beta_quantile(s) * (first - last);
  }
  Schedule out;
  for (const double s : sigmas) {
    if (!std::isfinite(s)) return invalid(fmt::format("the scheduler's settings give no sigmas for {} steps", steps));
    const float sigma = config_.invert_sigmas ? 1.0f - static_cast<float>(s) : static_cast<float>(s);
    out.sigmas.push_back(sigma);
    out.timesteps.push_back(sigma * static_cast<float>(config_.num_train_timesteps));
  }
  out.sigmas.push_back(config_.invert_sigmas ? 1.0f : 0.0f);
  return out;
}

Tensor FlowMatchEuler::step(const Schedule& schedule, int64_t i, const Tensor& latent, const Tensor& velocity,
                            Noise& noise) const {
  const auto at = static_cast<size_t>(i);
  const float now = schedule.sigmas[at], next = schedule.sigmas[at + 1];
  const Tensor from = latent.to(kF32);
  if (config_.stochastic_sampling) {
    const Tensor clean = from - velocity.to(kF32) * now;
    return (clean * (1.0 - next) + noise.normal(latent.sizes(), kF32).to(latent.device()) * next)
        .to(velocity.scalar_type());
  }
  // The step's length is rounded to the model's dtype before it multiplies, as a 0-dim tensor's is in torch.
  const double dt = velocity.scalar_type() == kBF16 ? static_cast<double>(static_cast<float>(c10::BFloat16(next - now)))
                    : velocity.scalar_type() == kF16 ? static_cast<double>(static_cast<float>(c10::Half(next - now)))
                                                     : static_cast<double>(next - now);
  return (from + velocity * dt).to(velocity.scalar_type());
}

Tensor FlowMatchEuler::add_noise(const Schedule& schedule, int64_t i, const Tensor& latent, const Tensor& noise) const {
  const Tensor sigma =
      zeros({1}, kF32, latent.device()).fill_(schedule.sigmas[static_cast<size_t>(i)]).to(latent.scalar_type());
  return noise * sigma + latent * (sigma.neg() + 1.0);
}

}  // namespace cairn::diffusion
