#include "models/registry.h"

#include <fmt/core.h>

#include <filesystem>
#include <functional>

#include "base/strings.h"
#include "models/autoencoder_kl.h"
#include "models/components.h"
#include "models/lora.h"
#include "ops/install.h"

namespace cairn::models {
namespace {

namespace fs = std::filesystem;
using nn::Weights;

// What a component class is made by. One line a class: this is the whole list.
template <class T>
using Maker = std::unique_ptr<T> (*)(const Weights&, const Json&);
template <class T>
struct Entry {
  const char* name;
  Maker<T> make;
};
constexpr Entry<diffusion::Denoiser> kDenoisers[] = {{"FluxTransformer2DModel", make_flux}};
constexpr Entry<diffusion::TextEncoder> kTextEncoders[] = {{"CLIPTextModel", make_clip_text},
                                                           {"T5EncoderModel", make_t5_encoder}};
constexpr Entry<diffusion::Autoencoder> kAutoencoders[] = {{"AutoencoderKL", make_autoencoder_kl}};
constexpr const char* kPipelines[] = {"FluxPipeline", "FluxImg2ImgPipeline"};
constexpr const char* kSchedulers[] = {"FlowMatchEulerDiscreteScheduler"};

template <class Names>
Result<void> known(const std::string& what, const std::string& name, const Names& names) {
  std::vector<std::string> list;
  for (const auto& n : names) {
    if constexpr (requires { n.name; }) {
      list.emplace_back(n.name);
    } else {
      list.emplace_back(n);
    }
    if (list.back() == name) return {};
  }
  return failure(Code::kUnsupported, fmt::format("{} of class \"{}\" is not supported; known: {}{}", what, name,
                                                 join(list, ", "), did_you_mean(name, list)));
}

// A folder being loaded: its index, and the notes on the way.
struct Loading {
  std::string folder;
  Json index;
  const LoadOptions& options;
  std::vector<std::string> notes;

  std::string at(const std::string& component) const { return folder + "/" + component; }

  // The class that the index names for a component.
  Result<std::string> class_of(const std::string& component) const {
    const Json* entry = index.find(component);
    const auto* pair = entry ? entry->as_array() : nullptr;
    if (!pair || pair->size() != 2 || !(*pair)[1].as_string())
      return corrupt(folder + "/model_index.json names no " + component);
    return *(*pair)[1].as_string();
  }

  template <class T, size_t N>
  Result<std::shared_ptr<const T>> component(const std::string& name, const Entry<T> (&table)[N],
                                             const std::vector<Lora>& loras = {}) {
    const std::string kind = TRY(class_of(name));
    TRY_VOID(known(name, kind, table));
    const Json config = TRY(Json::read(at(name) + "/config.json"));
    auto source =
        TRY(with_loras(TRY(nn::open_checkpoint(at(name), {"diffusion_pytorch_model", "model"})), loras, notes));
    for (const auto& entry : table) {
      if (entry.name != kind) continue;
      const Weights w(source, options.products(), options.device);
      auto made = caught([&] { return std::shared_ptr<const T>(entry.make(w, config)); });
      if (!made) return tl::unexpected(within(at(name), std::move(made).error()));
      if (const auto unread = w.unread(); !unread.empty())
        notes.push_back(fmt::format("{}: {} tensors of the checkpoint are not used ({}{})", name, unread.size(),
                                    unread.front(), unread.size() > 1 ? ", …" : ""));
      return made;
    }
    throw Bug("a class of the table is not in the table");
  }

  Result<std::shared_ptr<const text::Tokenizer>> tokenizer(const std::string& name) const {
    return std::make_shared<const text::Tokenizer>(TRY(text::Tokenizer::load(at(name))));
  }
};

Result<diffusion::FlowMatchConfig> scheduler_of(const Loading& l) {
  TRY_VOID(known("scheduler", TRY(l.class_of("scheduler")), kSchedulers));
  const std::string path = l.at("scheduler") + "/scheduler_config.json";
  return read<diffusion::FlowMatchConfig>(TRY(Json::read(path)), path, Unknown::kIgnore);
}

Result<void> fit_together(const diffusion::Components& p) {
  if (p.text_encoder->width() != p.denoiser->text_width())
    return invalid(fmt::format("text_encoder_2 gives vectors of {}, the transformer takes {}", p.text_encoder->width(),
                               p.denoiser->text_width()));
  if (p.pooled_encoder->width() != p.denoiser->pooled_width())
    return invalid(fmt::format("text_encoder gives vectors of {}, the transformer takes {}", p.pooled_encoder->width(),
                               p.denoiser->pooled_width()));
  if (p.autoencoder->space().channels != p.denoiser->latent_channels())
    return invalid(fmt::format("the autoencoder has {} latent channels, the transformer {}",
                               p.autoencoder->space().channels, p.denoiser->latent_channels()));
  return caught([&] { diffusion::FlowMatchEuler check_config(p.scheduler); });
}

}  // namespace

std::vector<std::string> supported_classes() {
  std::vector<std::string> out(std::begin(kPipelines), std::end(kPipelines));
  for (const auto& e : kDenoisers) out.emplace_back(e.name);
  for (const auto& e : kTextEncoders) out.emplace_back(e.name);
  for (const auto& e : kAutoencoders) out.emplace_back(e.name);
  for (const auto* s : kSchedulers) out.emplace_back(s);
  return out;
}

Result<diffusion::Pipeline> load_pipeline(const std::string& folder, const LoadOptions& options) {
  const device::LibtorchThreads all;  // conversions and sums of whole weights
  ops::install_kernels(options.device);
  if (!fs::exists(folder + "/model_index.json"))
    return failure(Code::kNotFound, fmt::format("{} is no diffusers pipeline: it has no model_index.json", folder));
  Loading l{folder, TRY(Json::read(folder + "/model_index.json")), options, {}};
  TRY_VOID(known("a pipeline", l.index.text("_class_name"), kPipelines));
  diffusion::Components p;
  p.name = fs::path(folder + "/.").lexically_normal().parent_path().filename().string();
  p.dtype = options.dtype;
  p.scheduler = TRY(scheduler_of(l));
  p.pooled_tokenizer = TRY(l.tokenizer("tokenizer"));
  p.tokenizer = TRY(l.tokenizer("tokenizer_2"));
  p.pooled_encoder = TRY(l.component("text_encoder", kTextEncoders));
  p.text_encoder = TRY(l.component("text_encoder_2", kTextEncoders));
  p.autoencoder = TRY(l.component("vae", kAutoencoders));
  p.denoiser = TRY(l.component("transformer", kDenoisers, options.loras));
  if (auto ok = fit_together(p); !ok) return tl::unexpected(within(folder, std::move(ok).error()));
  p.notes = std::move(l.notes);
  device::synchronize(options.device);  // weights may be read from any thread and stream
  return diffusion::Pipeline(std::move(p));
}

}  // namespace cairn::models
