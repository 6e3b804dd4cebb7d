#include "models/autoencoder_kl.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "base/fields.h"
#include "ops/ops.h"
#include "ops/vision.h"

namespace cairn::models {
namespace {

using nn::Weights;
using ops::ConvShape;
using ops::GroupNorm;
using ops::Weight;

struct Config {
  int64_t in_channels = 3, out_channels = 3, latent_channels = 4;
  int64_t layers_per_block = 1, norm_num_groups = 32, sample_size = 32;
  std::vector<int64_t> block_out_channels = {64};
  std::vector<std::string> down_block_types, up_block_types;
  std::string act_fn = "silu";
  double scaling_factor = 0.18215;
  std::optional<double> shift_factor;
  bool use_quant_conv = true, use_post_quant_conv = true, mid_block_add_attention = true;

  void fields(auto& f) {
    f("in_channels", in_channels, "channels of a picture to encode", between(1, 64));
    f("out_channels", out_channels, "channels of a decoded picture", between(1, 64));
    f("latent_channels", latent_channels, "channels of a latent", between(1, 1024));
    f("block_out_channels", block_out_channels, "channels at each resolution, the finest first", between(1, 8192));
    f("down_block_types", down_block_types, "the encoder's blocks", one_of({"DownEncoderBlock2D"}));
    f("up_block_types", up_block_types, "the decoder's blocks", one_of({"UpDecoderBlock2D"}));
    f("layers_per_block", layers_per_block, "residual blocks at each resolution of the encoder", between(1, 64));
    f("norm_num_groups", norm_num_groups, "groups of the norms", between(1, 8192));
    f("act_fn", act_fn, "activation", one_of({"silu", "swish"}));
    f("sample_size", sample_size, "side of the pictures it was trained on, and of a tile", between(1, 1 << 16));
    f("scaling_factor", scaling_factor, "latents are multiplied by this", between(1e-6, 1e6));
    f("shift_factor", shift_factor, "subtracted from latents before that", between(-1e6, 1e6));
    f("use_quant_conv", use_quant_conv, "a 1x1 convolution after the encoder");
    f("use_post_quant_conv", use_post_quant_conv, "a 1x1 convolution before the decoder");
    f("mid_block_add_attention", mid_block_add_attention, "attention at the coarsest resolution");
  }

  void check_shape() const {
    const auto refuse = [](const std::string& what) {
      throw Failure({Code::kInvalidArgument, "AutoencoderKL config: " + what});
    };
    const size_t blocks = block_out_channels.size();
    if (blocks == 0 || blocks > 8) refuse("block_out_channels must have 1 to 8 numbers, not " + std::to_string(blocks));
    for (const auto* types : {&down_block_types, &up_block_types})
      if (!types->empty() && types->size() != blocks)
        refuse("down_block_types, up_block_types and block_out_channels must have the same length");
    for (const int64_t c : block_out_channels)
      if (c % norm_num_groups != 0)
        refuse("norm_num_groups " + std::to_string(norm_num_groups) + " does not divide the " + std::to_string(c) +
               " channels of a block");
  }
};

Weight conv(const Weights& w, int64_t out, int64_t in, int64_t kernel) {
  return {w("weight", {out, in, kernel, kernel}), w.read("bias", {out}, kF32)};
}

GroupNorm group_norm(const Weights& w, int64_t channels, int64_t groups, bool silu) {
  return {w.read("weight", {channels}, kF32), w.read("bias", {channels}, kF32), groups, 1e-6, silu};
}

Tensor conv1x1(const Tensor& x, const Weight& w) { return ops::norm_conv(x, {}, w, {1, 0, 0}, {}); }

// x + conv(silu(norm(conv(silu(norm(x)))))), with a 1x1 convolution of x where the number of channels changes.
class Resnet {
 public:
  Resnet(const Weights& w, int64_t in, int64_t out, int64_t groups)
      : norm1_(group_norm(w / "norm1", in, groups, true)),
        norm2_(group_norm(w / "norm2", out, groups, true)),
        conv1_(conv(w / "conv1", out, in, 3)),
        conv2_(conv(w / "conv2", out, out, 3)) {
    if (in != out) shortcut_ = conv(w / "conv_shortcut", out, in, 1);
  }

  Tensor operator()(const Tensor& x) const {
    const Tensor h = ops::norm_conv(x, norm1_, conv1_, {}, {});
    return ops::norm_conv(h, norm2_, conv2_, {}, shortcut_.defined() ? conv1x1(x, shortcut_) : x);
  }

 private:
  GroupNorm norm1_, norm2_;
  Weight conv1_, conv2_, shortcut_;
};

// Self-attention over all pixels with one head as wide as the picture has channels.
class PixelAttention {
 public:
  PixelAttention(const Weights& w, int64_t channels, int64_t groups)
      : norm_(group_norm(w / "group_norm", channels, groups, false)),
        q_(projection(w, "to_q", "query", channels)),
        k_(projection(w, "to_k", "key", channels)),
        v_(projection(w, "to_v", "value", channels)),
        out_(projection(w, "to_out.0", "proj_attn", channels)) {}

  Tensor operator()(const Tensor& x) const {
    const int64_t n = x.size(0), pixels = x.size(1) * x.size(2), c = x.size(3);
    const Dtype t = q_.dtype();
    const Tensor h = ops::group_norm(x, norm_, t).view({n, pixels, c});
    const auto head = [&](const Weight& w) {
      return ops::linear({h}, w, ops::Activation::kNone, t).view({n, pixels, 1, c});
    };
    const Tensor y = ops::attention(head(q_), head(k_), head(v_), {}, false, 1 / std::sqrt(static_cast<double>(c)));
    return ops::linear_add(x.view({n, pixels, c}), {y}, out_, {}, 0).view(x.sizes());
  }

 private:
  // Files from before diffusers 0.14 have other names, and some hold the matrix as a 1x1 convolution.
  static Weight projection(const Weights& w, const char* name, const char* old, int64_t channels) {
    const Weights now = w / name, before = w / old;
    if (now.has("weight") || !before.has("weight")) return now.matrix(channels, channels);
    Tensor m = before("weight");
    m = before("weight", m.dim() == 4 ? std::vector<int64_t>{channels, channels, 1, 1}
                                      : std::vector<int64_t>{channels, channels});
    return {m.view({channels, channels}), before("bias", {channels})};
  }

  GroupNorm norm_;
  Weight q_, k_, v_, out_;
};

// The residual blocks of one resolution, and the convolution that leads to the next (undefined after the last).
struct Stage {
  std::vector<Resnet> resnets;
  Weight resample;

  Stage(const Weights& w, int64_t in, int64_t out, int64_t layers, const Config& c) {
    for (int64_t i = 0; i < layers; ++i)
      resnets.emplace_back(w / "resnets" / i, i == 0 ? in : out, out, c.norm_num_groups);
  }
};

struct Middle {
  std::vector<Resnet> resnets;
  std::optional<PixelAttention> attention;

  Middle(const Weights& w, const Config& c) {
    const int64_t channels = c.block_out_channels.back();
    for (int64_t i = 0; i < 2; ++i) resnets.emplace_back(w / "resnets" / i, channels, channels, c.norm_num_groups);
    if (c.mid_block_add_attention) attention.emplace(w / "attentions" / 0, channels, c.norm_num_groups);
  }

  Tensor operator()(const Tensor& x) const {
    const Tensor h = resnets[0](x);
    return resnets[1](attention ? (*attention)(h) : h);
  }
};

class Encoder {
 public:
  Encoder(const Weights& w, const Config& c)
      : in_(conv(w / "conv_in", c.block_out_channels[0], c.in_channels, 3)),
        middle_(w / "mid_block", c),
        norm_(group_norm(w / "conv_norm_out", c.block_out_channels.back(), c.norm_num_groups, true)),
        out_(conv(w / "conv_out", 2 * c.latent_channels, c.block_out_channels.back(), 3)) {
    const auto& channels = c.block_out_channels;
    for (size_t i = 0; i < channels.size(); ++i) {
      const Weights block = w / "down_blocks" / static_cast<int64_t>(i);
      stages_.emplace_back(block, channels[i == 0 ? 0 : i - 1], channels[i], c.layers_per_block, c);
      if (i + 1 < channels.size())
        stages_.back().resample = conv(block / "downsamplers" / 0 / "conv", channels[i], channels[i], 3);
    }
  }

  Tensor operator()(Tensor x) const {
    x = ops::norm_conv(x, {}, in_, {}, {});
    for (const auto& stage : stages_) {
      for (const auto& resnet : stage.resnets) x = resnet(x);
      if (stage.resample.defined()) x = ops::norm_conv(x, {}, stage.resample, ConvShape{2, 0, 1}, {});
    }
    return ops::norm_conv(middle_(x), norm_, out_, {}, {});
  }

 private:
  Weight in_;
  std::vector<Stage> stages_;
  Middle middle_;
  GroupNorm norm_;
  Weight out_;
};

class Decoder {
 public:
  Decoder(const Weights& w, const Config& c)
      : in_(conv(w / "conv_in", c.block_out_channels.back(), c.latent_channels, 3)),
        middle_(w / "mid_block", c),
        norm_(group_norm(w / "conv_norm_out", c.block_out_channels[0], c.norm_num_groups, true)),
        out_(conv(w / "conv_out", c.out_channels, c.block_out_channels[0], 3)) {
    const std::vector<int64_t> channels(c.block_out_channels.rbegin(), c.block_out_channels.rend());
    for (size_t i = 0; i < channels.size(); ++i) {
      const Weights block = w / "up_blocks" / static_cast<int64_t>(i);
      stages_.emplace_back(block, channels[i == 0 ? 0 : i - 1], channels[i], c.layers_per_block + 1, c);
      if (i + 1 < channels.size())
        stages_.back().resample = conv(block / "upsamplers" / 0 / "conv", channels[i], channels[i], 3);
    }
  }

  Tensor operator()(Tensor x) const {
    x = middle_(ops::norm_conv(x, {}, in_, {}, {}));
    for (const auto& stage : stages_) {
      for (const auto& resnet : stage.resnets) x = resnet(x);
      if (stage.resample.defined()) x = ops::upsample_conv(x, stage.resample);
    }
    return ops::norm_conv(x, norm_, out_, {}, {});
  }

 private:
  Weight in_;
  Middle middle_;
  std::vector<Stage> stages_;
  GroupNorm norm_;
  Weight out_;
};

class AutoencoderKl final : public diffusion::Autoencoder {
 public:
  AutoencoderKl(const Weights& w, const Config& c)
      : encoder_(w / "encoder", c), decoder_(w / "decoder", c), in_channels_(c.in_channels), dtype_(w.dtype()) {
    if (c.use_quant_conv) quant_ = conv(w / "quant_conv", 2 * c.latent_channels, 2 * c.latent_channels, 1);
    if (c.use_post_quant_conv) post_quant_ = conv(w / "post_quant_conv", c.latent_channels, c.latent_channels, 1);
    space_ = {c.latent_channels, int64_t{1} << (c.block_out_channels.size() - 1), c.scaling_factor,
              c.shift_factor.value_or(0), c.sample_size};
  }

  const diffusion::LatentSpace& space() const override { return space_; }
  Dtype dtype() const override { return dtype_; }

  Tensor decode(const Tensor& z) const override {
    check(z.dim() == 4 && z.size(1) == space_.channels,
          "AutoencoderKL decodes latents of shape (N, latent_channels, h, w)");
    const Tensor x = channels_last(z);
    return channels_first(decoder_(post_quant_.defined() ? conv1x1(x, post_quant_) : x));
  }

  Tensor encode(const Tensor& pictures) const override {
    check(pictures.dim() == 4 && pictures.size(1) == in_channels_,
          "AutoencoderKL encodes pictures of shape (N, in_channels, H, W)");
    const Tensor y = encoder_(channels_last(pictures));
    return channels_first(quant_.defined() ? conv1x1(y, quant_) : y);
  }

 private:
  static Tensor channels_last(const Tensor& x) { return x.permute({0, 2, 3, 1}).to(kF32).contiguous(); }
  static Tensor channels_first(const Tensor& x) { return x.permute({0, 3, 1, 2}).contiguous(); }

  Encoder encoder_;
  Decoder decoder_;
  Weight quant_, post_quant_;
  diffusion::LatentSpace space_;
  int64_t in_channels_;
  Dtype dtype_;
};

}  // namespace

std::unique_ptr<diffusion::Autoencoder> make_autoencoder_kl(const Weights& weights, const Json& config) {
  const auto c = or_throw(read<Config>(config, "AutoencoderKL config", Unknown::kIgnore));
  c.check_shape();
  return std::make_unique<AutoencoderKl>(weights, c);
}

}  // namespace cairn::models
