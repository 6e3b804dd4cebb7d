// The network that says, for a noisy latent, which way the picture lies.
#pragma once
#include <vector>

#include "diffusion/cache/step_cache.h"
#include "tensor/tensor.h"

namespace cairn::diffusion {

// A picture's size in latent pixels.
struct LatentSize {
  int64_t height = 0, width = 0;
};

// What the text encoders say of N prompts.
struct Conditioning {
  Tensor text;    // (N, T, width)
  Tensor pooled;  // (N, width)
};

// What does not change over the steps of a request: computed once.
struct Prepared {
  Tensor text;     // (N, T, D): the text as the first block takes it
  Tensor vectors;  // (steps, N, D): timestep, guidance and pooled text of every step, ready for the modulation layers
  Tensor rope;     // (2, tokens, head width)
};

// Modulation of some consecutive steps, (steps, N, parts, D) a modulation layer. All of a request's steps in one
// product each cost far less than one row at a time.
using Modulation = std::vector<Tensor>;

struct Input {
  const Tensor& latent;  // (N, tokens, channels)
  const Prepared& prepared;
  const Modulation& modulation;
  int64_t row = 0;  // this step within `modulation`
  StepInfo step;
};

// Immutable; calls may come from several threads, each with caches of its own.
class Denoiser {
 public:
  virtual ~Denoiser() = default;

  // timesteps: sigma of each step, (steps) in the dtype of the latents. guidance counts where guidance_embeds().
  virtual Prepared prepare(const Conditioning& text, const Tensor& timesteps, double guidance,
                           LatentSize size) const = 0;
  virtual Modulation modulate(const Tensor& vectors) const = 0;
  // The velocity, (N, tokens, channels) in the dtype of the weights.
  virtual Tensor forward(const Input& in, RequestCache& cache) const = 0;

  // Between latents (N, C, h, w) and the tokens that forward() takes.
  virtual Tensor pack(const Tensor& latent) const = 0;
  virtual Tensor unpack(const Tensor& tokens, LatentSize size) const = 0;

  virtual Dtype dtype() const = 0;
  virtual int64_t latent_channels() const = 0;
  virtual int64_t patch() const = 0;  // latent pixels along a side of a token
  virtual int64_t text_width() const = 0;
  virtual int64_t pooled_width() const = 0;
  virtual bool guidance_embeds() const = 0;
  // Blocks of each stack that step caches run, by the stack's name in the checkpoint.
  virtual std::vector<StackShape> stacks() const = 0;
  // Multiply-add pairs count two. For one forward of N pictures, blocks [0, last) of the stacks in a row.
  virtual double flops(int64_t batch, int64_t text_tokens, LatentSize size, int64_t last) const = 0;
};

}  // namespace cairn::diffusion
