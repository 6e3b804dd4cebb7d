// The network that says, for a noisy latent, which way the picture lies.
#pragma once
#include <functional>
#include <map>
#include <set>
#include <string_view>
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

// One request at one of its steps.
struct Input {
  const Tensor& latent;  // (N, tokens, channels)
  const Prepared& prepared;
  const Modulation& modulation;
  int64_t row = 0;  // this step within `modulation`
  StepInfo step;
};

class BlockGraphs;

// Requests of one shape (latent size and text length) in one forward, each at a step of its own and with a cache of its
// own. The guidance branch of a request is a member of its own, which comes after its main one. Their pictures follow
// one another in the first dimension: M pictures in all.
class Batch {
 public:
  // With graphs, blocks are replayed where they can be; they must outlive the batch.
  explicit Batch(BlockGraphs* graphs = nullptr) : graphs_(graphs) {}
  Batch(const Input& in, RequestCache& cache) { add(in, cache); }
  // What it refers to must outlive the batch.
  void add(const Input& in, RequestCache& cache);
  bool empty() const { return members_.empty(); }

  Tensor latents() const;  // (M, tokens, channels)
  Tensor texts() const;    // (M, T, D)
  // What a graph reads of requests, in the same memory at every replay.
  struct Fixed {
    std::map<size_t, Tensor> layers;
    Tensor rope;
  };

  // What blocks read of some requests, or of all: their modulation, and where their tokens are.
  class Modulated {
   public:
    Modulated(const Batch& batch, const std::vector<size_t>& members) : batch_(&batch), members_(&members) {}
    explicit Modulated(const Fixed& fixed) : fixed_(&fixed) {}
    Tensor operator[](size_t layer) const;  // (pictures, parts, D)
    const Tensor& rope() const;             // (2, tokens, head width), the same for all
    // The same, which notes the layers that it is asked for.
    Modulated noting(std::set<size_t>& layers) const;

   private:
    const Batch* batch_ = nullptr;
    const std::vector<size_t>* members_ = nullptr;
    const Fixed* fixed_ = nullptr;
    std::set<size_t>* noted_ = nullptr;
  };
  Modulated modulated() const { return {*this, all_}; }

  // Runs those blocks for the pictures of some requests, whose modulation it is given. Otherwise as diffusion::Blocks.
  using Blocks = std::function<Streams(const Streams&, Range, const Modulated&)>;
  // The streams of all pictures after a stack of `depth` blocks. Each request walks with its own cache; where several
  // want a block, it runs once for all of them, and where they want different ones, the lowest runs first, so that they
  // meet again. What a request gets does not depend on the others.
  Streams run(std::string_view stack, const Streams& in, int64_t depth, const Blocks& blocks) const;

  // One tensor a request, from one of all pictures.
  std::vector<Tensor> split(const Tensor& all) const;

 private:
  struct Member {
    Input in;
    RequestCache* cache;
    int64_t first, pictures;  // its place among all pictures
  };

  BlockGraphs* graphs_ = nullptr;
  std::vector<Member> members_;
  std::vector<size_t> all_;  // 0, 1, …
};

// Immutable; calls may come from several threads, each with caches of its own.
class Denoiser {
 public:
  virtual ~Denoiser() = default;

  // timesteps: sigma of each step, (steps) in the dtype of the latents, on the host. guidance counts where
  // guidance_embeds().
  virtual Prepared prepare(const Conditioning& text, const Tensor& timesteps, double guidance,
                           LatentSize size) const = 0;
  virtual Modulation modulate(const Tensor& vectors) const = 0;
  // The velocity, (M, tokens, channels) in the dtype of the weights.
  virtual Tensor forward(const Batch& batch) const = 0;

  // Between latents (N, C, h, w) and the tokens that forward() takes.
  virtual Tensor pack(const Tensor& latent) const = 0;
  virtual Tensor unpack(const Tensor& tokens, LatentSize size) const = 0;

  virtual Dtype dtype() const = 0;
  virtual c10::Device device() const { return c10::DeviceType::CPU; }
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
