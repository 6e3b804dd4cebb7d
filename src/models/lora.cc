#include "models/lora.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>

#include "base/strings.h"
#include "tensor/safetensors.h"

namespace cairn::models {
namespace {

// One adapter as its file holds it.
struct Adapter {
  Tensor down, up;  // (rank, in), (out, rank)
  std::optional<double> alpha;
};

// What an adapter adds to one weight: rows of `up` times `down`.
struct Update {
  Tensor down, up;
  double scale;
};

// Where kohya's names, which follow the original code, lead in diffusers' names. Several targets share the rows.
struct Renamed {
  const char* from;
  std::vector<const char*> to;
};
const std::vector<Renamed>& double_names() {
  static const std::vector<Renamed> names{{"img_attn_qkv", {"attn.to_q", "attn.to_k", "attn.to_v"}},
                                          {"txt_attn_qkv", {"attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"}},
                                          {"img_attn_proj", {"attn.to_out.0"}},
                                          {"txt_attn_proj", {"attn.to_add_out"}},
                                          {"img_mlp_0", {"ff.net.0.proj"}},
                                          {"img_mlp_2", {"ff.net.2"}},
                                          {"txt_mlp_0", {"ff_context.net.0.proj"}},
                                          {"txt_mlp_2", {"ff_context.net.2"}},
                                          {"img_mod_lin", {"norm1.linear"}},
                                          {"txt_mod_lin", {"norm1_context.linear"}}};
  return names;
}
const std::vector<Renamed>& single_names() {
  static const std::vector<Renamed> names{{"linear1", {"attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"}},
                                          {"linear2", {"proj_out"}},
                                          {"modulation_lin", {"norm.linear"}}};
  return names;
}
const std::vector<Renamed>& other_names() {
  static const std::vector<Renamed> names{{"img_in", {"x_embedder"}},
                                          {"txt_in", {"context_embedder"}},
                                          {"time_in_in_layer", {"time_text_embed.timestep_embedder.linear_1"}},
                                          {"time_in_out_layer", {"time_text_embed.timestep_embedder.linear_2"}},
                                          {"vector_in_in_layer", {"time_text_embed.text_embedder.linear_1"}},
                                          {"vector_in_out_layer", {"time_text_embed.text_embedder.linear_2"}},
                                          {"guidance_in_in_layer", {"time_text_embed.guidance_embedder.linear_1"}},
                                          {"guidance_in_out_layer", {"time_text_embed.guidance_embedder.linear_2"}},
                                          {"final_layer_linear", {"proj_out"}}};
  return names;
}

std::vector<std::string> renamed(const std::vector<Renamed>& names, std::string_view from, const std::string& prefix) {
  for (const auto& n : names)
    if (n.from == from) {
      std::vector<std::string> out;
      for (const char* to : n.to) out.push_back(prefix + to);
      return out;
    }
  return {};
}

// The weights that an adapter of that name adds to; empty when the name is not understood.
std::vector<std::string> targets(std::string name, const std::map<std::string, std::string>& by_flat_name) {
  for (const char* prefix : {"transformer.", "base_model.model.", "diffusion_model."})
    if (name.starts_with(prefix)) name = name.substr(std::string_view(prefix).size());
  if (!name.starts_with("lora_unet_") && !name.starts_with("lora_transformer_")) return {name};
  const std::string flat = name.substr(name.find('_', 5) + 1);
  if (const auto it = by_flat_name.find(flat); it != by_flat_name.end()) return {it->second};
  for (const auto& [kind, folder, names] : {std::tuple{"double_blocks_", "transformer_blocks.", &double_names()},
                                            {"single_blocks_", "single_transformer_blocks.", &single_names()}})
    if (flat.starts_with(kind)) {
      const std::string rest = flat.substr(std::string_view(kind).size());
      const size_t end = rest.find('_');
      if (end == 0 || end == std::string::npos || rest.find_first_not_of("0123456789") != end) return {};
      return renamed(*names, std::string_view(rest).substr(end + 1), folder + rest.substr(0, end) + ".");
    }
  return renamed(other_names(), flat, "");
}

class LoraSource final : public nn::WeightSource {
 public:
  explicit LoraSource(std::shared_ptr<nn::WeightSource> base) : base_(std::move(base)) {
    for (const auto& name : base_->names())
      if (name.ends_with(".weight")) {
        const std::string module = name.substr(0, name.size() - 7);
        std::string flat = module;
        std::ranges::replace(flat, '.', '_');
        by_flat_name_[flat] = module;
      }
  }

  Result<void> add(const Lora& lora, std::vector<std::string>& notes) {
    std::map<std::string, Adapter> adapters;
    size_t skipped = 0;
    for (auto& [key, tensor] : TRY(read_tensors(lora.path))) {
      if (key.starts_with("text_encoder") || key.starts_with("lora_te")) {
        ++skipped;
        continue;
      }
      const auto module_of = [&](std::string_view suffix) { return key.substr(0, key.size() - suffix.size()); };
      bool known = false;
      for (const char* suffix : {".lora_A.weight", ".lora_A.default.weight", ".lora_down.weight"})
        if (key.ends_with(suffix)) known = true, adapters[module_of(suffix)].down = tensor.to(kF32);
      for (const char* suffix : {".lora_B.weight", ".lora_B.default.weight", ".lora_up.weight"})
        if (key.ends_with(suffix)) known = true, adapters[module_of(suffix)].up = tensor.to(kF32);
      if (key.ends_with(".alpha") && tensor.numel() == 1)
        known = true, adapters[module_of(".alpha")].alpha = tensor.to(kF32).item<double>();
      if (!known)
        return failure(Code::kUnsupported, lora.path + ": key " + key + " is no part of a LoRA that Cairn knows");
    }
    if (skipped) notes.push_back(fmt::format("{}: {} tensors for text encoders were left out", lora.path, skipped));
    if (adapters.empty()) return corrupt(lora.path + " holds no adapter for the transformer");
    for (const auto& [name, a] : adapters)
      if (auto ok = place(name, a, lora.scale); !ok)
        return tl::unexpected(within(lora.path + ": adapter " + name, std::move(ok).error()));
    return {};
  }

  bool has(const std::string& name) const override { return base_->has(name); }
  std::vector<std::string> names() const override { return base_->names(); }
  std::string describe() const override { return base_->describe(); }
  Result<Tensor> read(const std::string& name, at::IntArrayRef shape) const override {
    Tensor t = TRY(base_->read(name, shape));
    const auto it = updates_.find(name);
    if (it == updates_.end()) return t;
    t = t.to(kF32, /*non_blocking=*/false, /*copy=*/true);
    for (const Update& u : it->second) t.add_(u.up.mm(u.down), u.scale);
    return t;
  }

 private:
  Result<void> place(const std::string& name, const Adapter& a, double scale) {
    if (!a.down.defined() || !a.up.defined()) return corrupt("has only one of its two halves");
    if (a.down.dim() != 2 || a.up.dim() != 2 || a.down.size(0) != a.up.size(1) || a.down.size(0) == 0)
      return corrupt("halves do not fit each other");
    const auto to = targets(name, by_flat_name_);
    std::vector<std::string> weights;
    int64_t rows = 0;
    for (const auto& t : to) {
      weights.push_back(t + ".weight");
      if (!base_->has(weights.back())) return failure(Code::kNotFound, "the model has no " + weights.back());
      const Tensor w = TRY(base_->read(weights.back(), {}));
      if (w.dim() != 2 || w.size(1) != a.down.size(1)) return corrupt("does not fit the shape of " + weights.back());
      rows += w.size(0);
    }
    if (weights.empty()) return failure(Code::kUnsupported, "names nothing that Cairn knows");
    if (rows != a.up.size(0)) return corrupt(fmt::format("has {} outputs, the model {}", a.up.size(0), rows));
    const double factor =
        scale * a.alpha.value_or(static_cast<double>(a.down.size(0))) / static_cast<double>(a.down.size(0));
    int64_t at = 0;
    for (const auto& w : weights) {
      const int64_t out = TRY(base_->read(w, {})).size(0);
      updates_[w].push_back({a.down, a.up.narrow(0, at, out), factor});
      at += out;
    }
    return {};
  }

  std::shared_ptr<nn::WeightSource> base_;
  std::map<std::string, std::string> by_flat_name_;  // transformer_blocks_0_attn_to_q -> transformer_blocks.0.attn.to_q
  std::map<std::string, std::vector<Update>> updates_;
};

}  // namespace

Result<std::shared_ptr<nn::WeightSource>> with_loras(std::shared_ptr<nn::WeightSource> base,
                                                     const std::vector<Lora>& loras, std::vector<std::string>& notes) {
  if (loras.empty()) return base;
  auto source = std::make_shared<LoraSource>(std::move(base));
  for (const Lora& l : loras) TRY_VOID(source->add(l, notes));
  return source;
}

}  // namespace cairn::models
