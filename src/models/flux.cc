// FLUX.1 (diffusers FluxTransformer2DModel): double blocks, where text and picture keep weights of their own and attend
// together, then single blocks over the joint sequence.
#include <cmath>
#include <numeric>

#include "models/components.h"
#include "nn/layers.h"

namespace cairn::models {
namespace {

using diffusion::LatentSize;
using diffusion::Range;
using diffusion::Streams;
using nn::Activation;
using nn::Linear;
using nn::Weights;

constexpr int64_t kTimeWidth = 256, kPatch = 2, kMlpRatio = 4;
constexpr double kEps = 1e-6, kRopeTheta = 10000;
// Step caches see all blocks as one stack, as cache-dit does for FLUX.1.
constexpr const char* kStack = "transformer_blocks";

struct FluxConfig {
  int64_t in_channels = 64, num_layers = 19, num_single_layers = 38, attention_head_dim = 128, num_attention_heads = 24;
  std::optional<int64_t> out_channels;
  int64_t patch_size = 1, joint_attention_dim = 4096, pooled_projection_dim = 768;
  bool guidance_embeds = false;
  std::vector<int64_t> axes_dims_rope{16, 56, 56};

  int64_t dim() const { return num_attention_heads * attention_head_dim; }

  void fields(auto& f) {
    f("in_channels", in_channels, "channels of a token", between(4, 4096))("num_layers", num_layers, "double blocks",
                                                                           between(0, 1000));
    f("num_single_layers", num_single_layers, "single blocks", between(0, 1000))("out_channels", out_channels, "",
                                                                                 between(4, 4096));
    f("attention_head_dim", attention_head_dim, "head width", between(2, 1024))(
        "num_attention_heads", num_attention_heads, "heads", between(1, 1024));
    f("patch_size", patch_size, "", between(1, 1))("joint_attention_dim", joint_attention_dim, "width of the text",
                                                   between(1, 65536));
    f("pooled_projection_dim", pooled_projection_dim, "width of the pooled text", between(1, 65536));
    f("guidance_embeds", guidance_embeds, "guidance distilled")(
        "axes_dims_rope", axes_dims_rope, "rotary widths of index, row, column", between(2, 1024));
  }
};

// The modulation of the pictures at hand, at their steps.
using Context = diffusion::Batch::Modulated;

// Parts of a block's modulation: (shift, scale, gate) for attention, then for the MLP.
enum Part : int64_t { kShift, kScale, kGate, kMlpShift, kMlpScale, kMlpGate };

Tensor modulated(const Tensor& x, const Tensor& m, int64_t shift, int64_t scale, Dtype out) {
  return ops::norm_modulate(x, m, shift, scale, kEps, out);
}

Tensor attend(const ops::Qkv& a) {
  return ops::attention(a.q, a.k, a.v, {}, false, 1 / std::sqrt(static_cast<double>(a.q.size(-1))));
}

// One stream's half of a double block.
class Stream {
 public:
  Stream(const Weights& w, const FluxConfig& c, bool text)
      : Stream(w / "attn", w / (text ? "ff_context" : "ff"), c, text ? "add_q_proj" : "to_q",
               text ? "add_k_proj" : "to_k", text ? "add_v_proj" : "to_v", text ? "to_add_out" : "to_out.0",
               text ? "norm_added_" : "norm_") {}

  ops::QkvStream heads(const Tensor& x, const Tensor& m) const {
    return {
        modulated(x, m, kShift, kScale, q_.weight().dtype()), q_.weight(), k_.weight(), v_.weight(), q_norm_, k_norm_};
  }
  Tensor finish(const Tensor& x, const Tensor& attended, const Tensor& m) const {
    const Tensor h = out_.add_to(x, attended, m, kGate);
    return down_.add_to(h, up_(modulated(h, m, kMlpShift, kMlpScale, q_.weight().dtype()), Activation::kGeluTanh), m,
                        kMlpGate);
  }

 private:
  Stream(const Weights& attn, const Weights& ff, const FluxConfig& c, const char* q, const char* k, const char* v,
         const char* out, const std::string& norm)
      : q_(attn / q, c.dim(), c.dim()),
        k_(attn / k, c.dim(), c.dim()),
        v_(attn / v, c.dim(), c.dim()),
        out_(attn / out, c.dim(), c.dim()),
        up_(ff / "net.0.proj", c.dim(), kMlpRatio * c.dim()),
        down_(ff / "net.2", kMlpRatio * c.dim(), c.dim()),
        q_norm_((attn / (norm + "q")).read("weight", {c.attention_head_dim}, attn.norms())),
        k_norm_((attn / (norm + "k")).read("weight", {c.attention_head_dim}, attn.norms())) {}

  Linear q_, k_, v_, out_, up_, down_;
  Tensor q_norm_, k_norm_;
};

class DoubleBlock {
 public:
  DoubleBlock(const Weights& w, const FluxConfig& c)
      : image_(w, c, false), text_(w, c, true), head_dim_(c.attention_head_dim) {}

  Streams operator()(const Streams& x, const Tensor& image_mod, const Tensor& text_mod, const Tensor& rope) const {
    const int64_t text = x.encoder.size(1);
    const Tensor joint =
        attend(ops::qkv({text_.heads(x.encoder, text_mod), image_.heads(x.hidden, image_mod)}, rope, head_dim_, kEps));
    return {image_.finish(x.hidden, joint.slice(1, text), image_mod),
            text_.finish(x.encoder, joint.narrow(1, 0, text), text_mod)};
  }

 private:
  Stream image_, text_;
  int64_t head_dim_;
};

class SingleBlock {
 public:
  SingleBlock(const Weights& w, const FluxConfig& c)
      : q_(w / "attn" / "to_q", c.dim(), c.dim()),
        k_(w / "attn" / "to_k", c.dim(), c.dim()),
        v_(w / "attn" / "to_v", c.dim(), c.dim()),
        up_(w / "proj_mlp", c.dim(), kMlpRatio * c.dim()),
        out_(w / "proj_out", (1 + kMlpRatio) * c.dim(), c.dim()),
        q_norm_((w / "attn" / "norm_q").read("weight", {c.attention_head_dim}, w.norms())),
        k_norm_((w / "attn" / "norm_k").read("weight", {c.attention_head_dim}, w.norms())),
        head_dim_(c.attention_head_dim) {}

  Tensor operator()(const Tensor& x, const Tensor& m, const Tensor& rope) const {
    const Tensor h = modulated(x, m, kShift, kScale, q_.weight().dtype());
    const Tensor attended =
        attend(ops::qkv({{h, q_.weight(), k_.weight(), v_.weight(), q_norm_, k_norm_}}, rope, head_dim_, kEps));
    return out_.add_to(x, {attended, up_(h, Activation::kGeluTanh)}, m, kGate);
  }

 private:
  Linear q_, k_, v_, up_, out_;
  Tensor q_norm_, k_norm_;
  int64_t head_dim_;
};

// Text, then picture, in one sequence. Where they are the two parts of one already, as the single blocks leave them, it
// is that one: caches that run blocks one at a time copy nothing.
Tensor joined(const Streams& x) {
  const Tensor &text = x.encoder, &image = x.hidden;
  const int64_t end = text.storage_offset() + text.size(1) * text.stride(1);
  if (!text.is_alias_of(image) || text.strides() != image.strides() || image.storage_offset() != end)
    return ops::concat({text, image});
  return text.as_strided({text.size(0), text.size(1) + image.size(1), text.size(2)}, text.strides(),
                         text.storage_offset());
}

// Two linear layers with SiLU between: how timesteps, guidance and pooled text become a vector of the model's width.
struct Embedder {
  Embedder(const Weights& w, int64_t in, int64_t dim) : up(w / "linear_1", in, dim), down(w / "linear_2", dim, dim) {}
  Tensor operator()(const Tensor& x) const { return down.as(kF32, up(x, Activation::kSilu)); }
  Linear up, down;
};

class Flux final : public diffusion::Denoiser {
 public:
  Flux(const Weights& w, const FluxConfig& c)
      : config_(c),
        dtype_(w.dtype()),
        device_(w.device()),
        residual_(w.residual()),
        time_(w / "time_text_embed" / "timestep_embedder", kTimeWidth, c.dim()),
        pooled_(w / "time_text_embed" / "text_embedder", c.pooled_projection_dim, c.dim()),
        image_in_(w / "x_embedder", c.in_channels, c.dim()),
        text_in_(w / "context_embedder", c.joint_attention_dim, c.dim()),
        doubles_(nn::stack<DoubleBlock>(w / "transformer_blocks", c.num_layers, c)),
        singles_(nn::stack<SingleBlock>(w / "single_transformer_blocks", c.num_single_layers, c)),
        out_(w / "proj_out", c.dim(), c.out_channels.value_or(c.in_channels)) {
    if (c.guidance_embeds) guidance_.emplace(w / "time_text_embed" / "guidance_embedder", kTimeWidth, c.dim());
    for (int64_t i = 0; i < c.num_layers; ++i) {
      const Weights block = w / "transformer_blocks" / i;
      modulation_.emplace_back(block / "norm1" / "linear", c.dim(), 6 * c.dim());
      modulation_.emplace_back(block / "norm1_context" / "linear", c.dim(), 6 * c.dim());
    }
    for (int64_t i = 0; i < c.num_single_layers; ++i)
      modulation_.emplace_back(w / "single_transformer_blocks" / i / "norm" / "linear", c.dim(), 3 * c.dim());
    modulation_.emplace_back(w / "norm_out" / "linear", c.dim(), 2 * c.dim());
  }

  diffusion::Prepared prepare(const diffusion::Conditioning& c, const Tensor& timesteps, double guidance,
                              LatentSize size) const override {
    const Tensor t = timesteps * 1000.0;  // in the dtype of the latents, as diffusers rounds it
    const auto waves = [&](const Tensor& of) { return nn::sinusoid(of, kTimeWidth, dtype_).to(device_); };
    Tensor vectors = time_(waves(t)).unsqueeze(1) + pooled_(c.pooled).unsqueeze(0);
    if (guidance_)
      vectors = vectors + (*guidance_)(waves(zeros({1}, timesteps.scalar_type()).fill_(guidance) * 1000.0));
    std::vector<std::vector<int64_t>> positions(static_cast<size_t>(c.text.size(1)), {0, 0, 0});
    for (int64_t y = 0; y < size.height / kPatch; ++y)
      for (int64_t x = 0; x < size.width / kPatch; ++x) positions.push_back({0, y, x});
    return {text_in_.as(residual_, c.text), (vectors * vectors.sigmoid()).to(dtype_),
            ops::rope_table(nn::rotary_table(positions, config_.axes_dims_rope, kRopeTheta).to(device_), dtype_)};
  }

  diffusion::Modulation modulate(const Tensor& vectors) const override {
    diffusion::Modulation out;
    for (const Linear& layer : modulation_) out.push_back(layer.as(kF32, vectors).unflatten(-1, {-1, config_.dim()}));
    return out;
  }

  Tensor forward(const diffusion::Batch& batch) const override {
    const Streams x{image_in_.as(residual_, batch.latents()), batch.texts()};
    const auto depth = static_cast<int64_t>(doubles_.size() + singles_.size());
    const Streams y = batch.run(kStack, x, depth,
                                [&](const Streams& s, Range r, const Context& c) { return blocks(s, r, c, c.rope()); });
    const Tensor m = batch.modulated()[modulation_.size() - 1];
    return out_(modulated(y.hidden, m, 1, 0, dtype_));  // this layer's parts come as scale, shift
  }

  Tensor pack(const Tensor& x) const override {
    const int64_t n = x.size(0), c = x.size(1), h = x.size(2) / kPatch, w = x.size(3) / kPatch;
    return x.view({n, c, h, kPatch, w, kPatch}).permute({0, 2, 4, 1, 3, 5}).reshape({n, h * w, c * kPatch * kPatch});
  }
  Tensor unpack(const Tensor& x, LatentSize size) const override {
    const int64_t n = x.size(0), h = size.height / kPatch, w = size.width / kPatch, c = x.size(2) / (kPatch * kPatch);
    return x.view({n, h, w, c, kPatch, kPatch}).permute({0, 3, 1, 4, 2, 5}).reshape({n, c, size.height, size.width});
  }

  Dtype dtype() const override { return dtype_; }
  c10::Device device() const override { return device_; }
  int64_t latent_channels() const override { return config_.in_channels / (kPatch * kPatch); }
  int64_t patch() const override { return kPatch; }
  int64_t text_width() const override { return config_.joint_attention_dim; }
  int64_t pooled_width() const override { return config_.pooled_projection_dim; }
  bool guidance_embeds() const override { return guidance_.has_value(); }
  std::vector<diffusion::StackShape> stacks() const override {
    return {{kStack, config_.num_layers + config_.num_single_layers}};
  }
  double flops(int64_t batch, int64_t text_tokens, LatentSize size, int64_t last) const override;

 private:
  Streams blocks(const Streams& s, Range r, const Context& c, const Tensor& rope) const {
    const size_t doubles = doubles_.size(), first = static_cast<size_t>(r.first), last = static_cast<size_t>(r.last);
    Streams x = s;
    for (size_t i = first; i < std::min(last, doubles); ++i) x = doubles_[i](x, c[2 * i], c[2 * i + 1], rope);
    if (last <= doubles) return x;
    const int64_t text = x.encoder.size(1);
    Tensor joint = joined(x);
    for (size_t i = std::max(first, doubles); i < last; ++i) joint = singles_[i - doubles](joint, c[doubles + i], rope);
    return {joint.slice(1, text), joint.narrow(1, 0, text)};
  }

  FluxConfig config_;
  Dtype dtype_;
  c10::Device device_;
  Dtype residual_;
  Embedder time_, pooled_;
  std::optional<Embedder> guidance_;
  Linear image_in_, text_in_;
  std::vector<DoubleBlock> doubles_;
  std::vector<SingleBlock> singles_;
  std::vector<Linear> modulation_;  // picture and text of each double block, then the single blocks, then the output
  Linear out_;
};

double Flux::flops(int64_t batch, int64_t text_tokens, LatentSize size, int64_t last) const {
  const auto d = static_cast<double>(config_.dim());
  const auto image = static_cast<double>(size.height / kPatch * (size.width / kPatch)),
             n = image + static_cast<double>(text_tokens);
  const double block = 2 * (4 + 2 * kMlpRatio) * d * d * n + 4 * n * n * d;
  const double ends = 2 * image * d * static_cast<double>(config_.in_channels + out_.out());
  return static_cast<double>(batch) * (block * static_cast<double>(last) + ends);
}

}  // namespace

std::unique_ptr<diffusion::Denoiser> make_flux(const Weights& w, const Json& json) {
  const auto c = or_throw(read<FluxConfig>(json, "transformer config", Unknown::kIgnore));
  const auto refuse = [](const std::string& what) {
    throw Failure(Error{Code::kInvalidArgument, "transformer config: " + what});
  };
  if (c.axes_dims_rope.size() != 3) refuse("axes_dims_rope must name three widths");
  for (const int64_t d : c.axes_dims_rope)
    if (d % 2 != 0) refuse("axes_dims_rope must be even");
  if (std::accumulate(c.axes_dims_rope.begin(), c.axes_dims_rope.end(), int64_t{0}) != c.attention_head_dim)
    refuse("axes_dims_rope must add up to attention_head_dim");
  if (c.in_channels % (kPatch * kPatch) != 0) refuse("in_channels must be a multiple of 4");
  if (c.num_layers + c.num_single_layers < 1) refuse("there are no blocks");
  return std::make_unique<Flux>(w, c);
}

}  // namespace cairn::models
