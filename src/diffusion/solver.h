// Solvers walk the probability flow from noise to picture.
#pragma once
#include <optional>
#include <vector>

#include "base/fields.h"
#include "tensor/tensor.h"

namespace cairn::diffusion {

// diffusers' FlowMatchEulerDiscreteScheduler: scheduler_config.json.
struct FlowMatchConfig {
  int64_t num_train_timesteps = 1000;
  double shift = 1.0;
  bool use_dynamic_shifting = false;
  double base_shift = 0.5, max_shift = 1.15;
  int64_t base_image_seq_len = 256, max_image_seq_len = 4096;
  bool invert_sigmas = false;
  std::optional<double> shift_terminal;
  bool use_karras_sigmas = false, use_exponential_sigmas = false, use_beta_sigmas = false;
  std::string time_shift_type = "exponential";
  bool stochastic_sampling = false;

  void fields(auto& f) {
    f("num_train_timesteps", num_train_timesteps, "timesteps of training", between(1, 1e6));
    f("shift", shift, "static time shift", between(1e-3, 1e3));
    f("use_dynamic_shifting", use_dynamic_shifting, "shift by the number of picture tokens");
    f("base_shift", base_shift, "log shift at base_image_seq_len tokens", between(-20, 20));
    f("max_shift", max_shift, "log shift at max_image_seq_len tokens", between(-20, 20));
    f("base_image_seq_len", base_image_seq_len, "tokens of base_shift", between(0, 1e7));
    f("max_image_seq_len", max_image_seq_len, "tokens of max_shift", between(1, 1e7));
    f("invert_sigmas", invert_sigmas, "run sigmas from 0 to 1");
    f("shift_terminal", shift_terminal, "stretch sigmas to end here", between(0, 0.999));
    f("use_karras_sigmas", use_karras_sigmas)("use_exponential_sigmas", use_exponential_sigmas)("use_beta_sigmas",
                                                                                                use_beta_sigmas);
    f("time_shift_type", time_shift_type, "form of the dynamic shift", one_of({"exponential", "linear"}));
    f("stochastic_sampling", stochastic_sampling, "draw new noise at every step");
  }
};

// Sigmas of the steps, and the timesteps that the model is told (sigma x num_train_timesteps).
struct Schedule {
  std::vector<float> sigmas;  // steps + 1, the last is where the walk ends
  std::vector<float> timesteps;
  int64_t steps() const { return static_cast<int64_t>(timesteps.size()); }
};

class FlowMatchEuler {
 public:
  explicit FlowMatchEuler(const FlowMatchConfig& config);

  // The log shift for that many picture tokens (FLUX's calculate_shift).
  double mu(int64_t image_tokens) const;
  // The schedule from given sigmas (before shifting), or from the scheduler's own even spacing when `given` is empty.
  // `mu` counts with dynamic shifting only. Errors: no steps, sigmas that are no finite numbers in (0, 1].
  Result<Schedule> schedule(int64_t steps, const std::vector<double>& given, double mu) const;

  // One Euler step from sigma[i] to sigma[i + 1] along `velocity`, in fp32, back in the dtype of velocity. `noise` is
  // drawn from for stochastic sampling only.
  Tensor step(const Schedule& schedule, int64_t i, const Tensor& latent, const Tensor& velocity, Noise& noise) const;
  // sigma[i] noise + (1 - sigma[i]) latent: where image to image starts.
  Tensor add_noise(const Schedule& schedule, int64_t i, const Tensor& latent, const Tensor& noise) const;

  const FlowMatchConfig& config() const { return config_; }

 private:
  FlowMatchConfig config_;
  double sigma_min_, sigma_max_;
};

// FLUX's own even spacing before shifting: 1 to 1/steps.
std::vector<double> even_sigmas(int64_t steps);

}  // namespace cairn::diffusion
