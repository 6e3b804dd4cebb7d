// Text (and a picture) to pictures: the components of a model, and the state of one request on its way through them.
//
//   Pipeline pipe = *models::load_pipeline("weights/cairn-emoji");
//   pipe.enable_cache({});                                     // DBCache with its defaults
//   auto run = *pipe.begin({.prompts = {"rocket"}, .seeds = {7}});
//   while (!run.done()) run.advance();
//   image::save("rocket.png", run.pictures()[0]);
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "diffusion/autoencoder.h"
#include "diffusion/block_graphs.h"
#include "diffusion/denoiser.h"
#include "diffusion/solver.h"
#include "diffusion/text_encoder.h"
#include "image/image.h"
#include "text/tokenizer.h"

namespace cairn::diffusion {

struct Request {
  std::vector<std::string> prompts;            // at least one; "" is a prompt
  std::optional<std::string> negative_prompt;  // counts with true_cfg_scale > 1
  int64_t images_per_prompt = 1;
  int64_t steps = 28;
  int64_t height = 0, width = 0;      // pixels; 0: the size the model was trained on
  double guidance_scale = 3.5;        // of guidance-distilled models
  double true_cfg_scale = 1.0;        // classifier-free guidance with two forwards a step
  std::vector<double> sigmas;         // given noise levels, one a step; empty: even spacing
  std::vector<uint64_t> seeds{0};     // one, from which all pictures are drawn, or one a picture
  int64_t text_length = 0;            // tokens of the second text encoder; 0: its tokenizer's limit, 512 at most
  std::optional<image::Image> image;  // image to image: where to start
  double strength = 0.6;              // image to image: share of the steps that are run
  Portions portions;                  // autoencoder tiling and slicing
  std::optional<CacheConfig> cache;   // overrides the pipeline's
  bool graphs = true;                 // on an accelerator: blocks are captured and replayed
};

// The parts of a pipeline. Shared, immutable.
struct Components {
  std::string name;     // "cairn-emoji"
  Dtype dtype = kBF16;  // of noise and saved latents; a device may compute in a wider one, which the denoiser names
  std::shared_ptr<const Denoiser> denoiser;
  std::shared_ptr<const TextEncoder> pooled_encoder, text_encoder;
  std::shared_ptr<const text::Tokenizer> pooled_tokenizer, tokenizer;
  std::shared_ptr<const Autoencoder> autoencoder;
  FlowMatchConfig scheduler;
  std::vector<std::string> notes;  // what loading noticed: tensors that nobody read, say
};

class Generation;

class Pipeline {
 public:
  explicit Pipeline(Components parts) : parts_(std::move(parts)) {}

  // Checks the request, encodes its texts and draws its noise. Errors name what is wrong with the request.
  Result<Generation> begin(const Request& request) const;
  // The checks alone.
  Result<void> validate(const Request& request) const;

  // The step cache of requests that bring none of their own.
  void enable_cache(CacheConfig config) { cache_ = std::move(config); }
  void disable_cache() { cache_.reset(); }
  const std::optional<CacheConfig>& cache() const { return cache_; }

  const Components& parts() const { return parts_; }
  int64_t size_multiple() const;  // height and width must be multiples of this
  // What a request comes to, with the model's own size and text length where it leaves them open.
  struct Extent {
    LatentSize size;
    int64_t image_tokens = 0, text_tokens = 0;
  };
  Extent extent(const Request& request) const;

 private:
  // The noise levels, and the first step that is run.
  Result<std::pair<Schedule, int64_t>> schedule(const Request& r) const;
  Result<std::unique_ptr<RequestCache>> cache_of(const Request& r) const;
  Conditioning encode(const std::vector<std::string>& texts, int64_t images_per_text, int64_t text_length,
                      std::vector<std::string>& warnings) const;
  Tensor draw(const Request& r, const Schedule& schedule, int64_t start, LatentSize size,
              std::vector<Noise>& noises) const;

  Components parts_;
  std::optional<CacheConfig> cache_;
};

// One request under way. Belongs to one thread at a time; several may be under way at once.
class Generation {
 public:
  int64_t steps() const { return schedule_.steps() - start_; }
  int64_t step() const { return step_ - start_; }
  bool done() const { return step_ == schedule_.steps(); }
  // Runs one denoising step. Throws Failure when the latents are no longer finite numbers.
  void advance();

  const Tensor& latents() const { return latents_; }  // packed (N, tokens, channels), in the denoiser's dtype
  std::vector<image::Image> pictures() const;         // of the latents as they are: also a preview
  const RequestCache& cache() const { return *cache_; }
  // The graphs of advance(); null where there are none.
  const BlockGraphs* graphs() const { return on_ ? &on_->graphs : nullptr; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  LatentSize size() const { return size_; }
  int64_t images() const { return latents_.size(0); }
  int64_t text_tokens() const { return sides_[0].prepared.text.size(1); }

 private:
  friend class Pipeline;
  friend std::vector<Result<void>> advance(std::span<Generation* const> runs, BlockGraphs* graphs);
  struct Device {
    explicit Device(c10::Device d) : stream(d), graphs(d) {}
    device::Stream stream;
    BlockGraphs graphs;
  };
  struct Side {  // one side of classifier-free guidance
    Prepared prepared;
    Modulation modulation;
    int64_t first = 0, rows = 0;  // the steps that `modulation` holds
  };
  Input input(Branch branch);
  Result<void> take(const Tensor& velocity);

  Components parts_;
  FlowMatchEuler solver_{FlowMatchConfig{}};
  Schedule schedule_;
  int64_t start_ = 0, step_ = 0;
  LatentSize size_;
  Portions portions_;
  double true_cfg_scale_ = 1;
  Tensor latents_;
  std::vector<Side> sides_;  // positive, then negative
  std::vector<Noise> noises_;
  std::unique_ptr<RequestCache> cache_;
  std::vector<std::string> warnings_;
  std::unique_ptr<Device> on_;  // where advance() works
};

// One denoising step of each, in one forward of the denoiser where several are given: of one pipeline, latent size and
// text length, none of them done. Their steps, caches and guidance may differ, and each gets what it would get alone.
// An error is of that request alone; what concerns all of them is thrown. `graphs`: of the thread that calls.
std::vector<Result<void>> advance(std::span<Generation* const> runs, BlockGraphs* graphs = nullptr);

}  // namespace cairn::diffusion
