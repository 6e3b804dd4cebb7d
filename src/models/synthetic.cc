// FLUX.1's shapes without its files: for benchmarks, memory tests, and trying things on sizes nobody has at hand.
#include <fmt/core.h>

#include <charconv>

#include "base/strings.h"
#include "models/autoencoder_kl.h"
#include "models/components.h"
#include "models/registry.h"
#include "ops/install.h"
#include "tensor/finite.h"

namespace cairn::models {
namespace {

constexpr uint64_t kSeed = 20;

// Stands in for CLIP and T5: a text's vectors are a hash of its ids.
class HashedText final : public diffusion::TextEncoder {
 public:
  HashedText(int64_t width, const LoadOptions& o) : width_(width), dtype_(o.products()), device_(o.device) {}

  diffusion::Encoded encode(const Tensor& ids) const override {
    uint64_t seed = kSeed;
    const Tensor flat = ids.contiguous();
    for (int64_t i = 0; i < flat.numel(); ++i)
      seed = (seed ^ static_cast<uint64_t>(static_cast<const int64_t*>(flat.data_ptr())[i])) * 0x100000001b3u;
    return {hashed_uniform({ids.size(0), ids.size(1), width_}, seed, 0, 1).to(dtype_).to(device_),
            hashed_uniform({ids.size(0), width_}, seed + 1, 0, 1).to(dtype_).to(device_)};
  }
  int64_t width() const override { return width_; }

 private:
  int64_t width_;
  Dtype dtype_;
  c10::Device device_;
};

// Bytes as tokens.
Result<std::shared_ptr<const text::Tokenizer>> byte_tokenizer(int64_t length) {
  Json vocab(Json::Object{});
  for (int b = 0; b < 256; ++b) vocab.set(fmt::format("<0x{:02X}>", b), b);
  vocab.set("<pad>", 256);
  Json model(
      Json::Object{{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", Json::Array{}}, {"byte_fallback", true}});
  const Json tokenizer(Json::Object{{"version", "1.0"}, {"model", std::move(model)}});
  const Json config(Json::Object{{"model_max_length", length}, {"pad_token", "<pad>"}});
  return std::make_shared<const text::Tokenizer>(TRY(text::Tokenizer::from_json(tokenizer.dump(), config.dump())));
}

Result<int64_t> layers_of(const std::string& option) {
  const std::string_view number = std::string_view(option).substr(std::min<size_t>(7, option.size()));
  int64_t n = 0;
  const auto r = std::from_chars(number.data(), number.data() + number.size(), n);
  if (!option.starts_with("layers=") || r.ec != std::errc() || r.ptr != number.data() + number.size() || n < 1 ||
      n > 100)
    return invalid("synthetic option \"" + option + "\" is not layers=N with N from 1 to 100");
  return n;
}

}  // namespace

Result<diffusion::Pipeline> synthetic_pipeline(const std::string& spec, const LoadOptions& options) {
  const device::LibtorchThreads all;
  const auto parts = split(spec, ':');
  const bool dev = parts[0] == "flux-dev";
  if (!dev && parts[0] != "flux-schnell")
    return invalid("unknown synthetic model \"" + parts[0] + "\": flux-dev and flux-schnell are known");
  if (parts.size() > 2) return invalid("synthetic model \"" + spec + "\" has more than one option");
  if (!options.loras.empty()) return invalid("a synthetic model takes no LoRA");
  int64_t doubles = 19, singles = 38;
  if (parts.size() == 2) doubles = singles = TRY(layers_of(parts[1]));
  ops::install_kernels(options.device);

  Json transformer(Json::Object{{"num_layers", doubles}, {"num_single_layers", singles}, {"guidance_embeds", dev}});
  const Json vae = *Json::parse(R"({
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 16, "norm_num_groups": 32,
    "scaling_factor": 0.3611, "shift_factor": 0.1159, "sample_size": 1024,
    "use_quant_conv": false, "use_post_quant_conv": false})");
  diffusion::Components p;
  p.name = spec;
  p.dtype = options.dtype;
  p.scheduler.shift = dev ? 3.0 : 1.0;
  p.scheduler.use_dynamic_shifting = dev;
  p.pooled_tokenizer = TRY(byte_tokenizer(77));
  p.tokenizer = TRY(byte_tokenizer(dev ? 512 : 256));
  p.pooled_encoder = std::make_shared<HashedText>(768, options);
  p.text_encoder = std::make_shared<HashedText>(4096, options);
  return caught([&] {
    p.autoencoder =
        make_autoencoder_kl(nn::Weights(nn::synthetic(kSeed, options.device), options.products(), options.device), vae);
    p.denoiser = make_flux(nn::Weights(nn::synthetic(kSeed + 1, options.device), options.products(), options.device),
                           transformer);
    device::synchronize(options.device);
    return diffusion::Pipeline(std::move(p));
  });
}

}  // namespace cairn::models
