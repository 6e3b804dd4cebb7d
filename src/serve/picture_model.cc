#include "serve/picture_model.h"

#include <fmt/core.h>

#include <random>

#include "base/strings.h"
#include "serve/api/completion_parts.h"

namespace cairn::serve {
namespace {

constexpr int64_t kSteps = 28;

// The preset's keys, in cache-dit's names. The masks are cache-dit's, with TaylorSeer for what they skip.
Json preset(const std::string& name) {
  if (name == "default")
    return Json::Object{{"Fn_compute_blocks", 1},
                        {"residual_diff_threshold", 0.12},
                        {"max_warmup_steps", 8},
                        {"max_continuous_cached_steps", 3}};
  return Json::Object{
      {"Fn_compute_blocks", 1},           {"residual_diff_threshold", 0.24},      {"max_warmup_steps", 4},
      {"steps_computation_mask", name},   {"steps_computation_policy", "static"}, {"enable_taylorseer", true},
      {"enable_encoder_taylorseer", true}};
}

}  // namespace

PictureMetrics::PictureMetrics(Registry& r, const std::string& model, const diffusion::Engine& engine)
    : requests(r.counter("cairn:image_requests_total", "Pictures that were asked for.", {{"model_name", model}})),
      aborted(r.counter("cairn:image_aborted_total", "Pictures whose client left.", {{"model_name", model}})),
      computed_steps(r.counter("cairn:image_steps_total", "Denoising steps, by what the step cache decided.",
                               {{"model_name", model}, {"verdict", "computed"}})),
      cached_steps(r.counter("cairn:image_steps_total", "Denoising steps, by what the step cache decided.",
                             {{"model_name", model}, {"verdict", "cached"}})),
      latency(r.histogram("cairn:image_latency_seconds", "From the request to its picture.", e2e_buckets(),
                          {{"model_name", model}})) {
  const auto gauge = [&](const char* name, const char* help, auto read) {
    r.gauge(name, help, [&engine, read] { return static_cast<double>(read(engine.stats())); }, {{"model_name", model}});
  };
  using S = diffusion::EngineStats;
  gauge("cairn:num_running_images", "Pictures under way.", [](const S& s) { return s.running_pictures; });
  gauge("cairn:num_queue_images", "Requests for pictures that wait.", [](const S& s) { return s.waiting; });
  gauge("cairn:image_batch_size", "Requests in one forward, on average.",
        [](const S& s) { return s.batches > 0 ? static_cast<double>(s.steps) / static_cast<double>(s.batches) : 0; });
}

Result<std::unique_ptr<PictureModel>> PictureModel::start(diffusion::Pipeline pipeline, std::string name,
                                                          diffusion::Engine::Options options, Registry& registry) {
  std::unique_ptr<PictureModel> m(new PictureModel());
  m->name_ = std::move(name);
  m->created_ = unix_seconds();
  m->engine_ = TRY(diffusion::Engine::start(std::move(pipeline), options));
  m->metrics_ = std::make_unique<PictureMetrics>(registry, m->name_, *m->engine_);
  return m;
}

const std::vector<std::string>& PictureModel::presets() {
  static const std::vector<std::string> names{"none", "default", "slow", "medium", "fast", "ultra"};
  return names;
}

ModelCard PictureModel::card() const {
  const diffusion::Pipeline& pipe = engine_->pipeline();
  const diffusion::LatentSize size = pipe.extent({}).size;
  const int64_t scale = pipe.parts().autoencoder->space().scale;
  Json::Array names;
  for (const auto& preset : presets()) names.emplace_back(preset);
  return {name_,
          created_,
          {},
          Json::Object{{"kind", "image"},
                       {"cache_presets", std::move(names)},
                       {"default_size", fmt::format("{}x{}", size.width * scale, size.height * scale)},
                       {"size_multiple", pipe.size_multiple()}}};
}

Parsed<std::optional<diffusion::CacheConfig>> PictureModel::cache_for(const Json& asked, int64_t steps) const {
  Json keys = asked;
  if (asked.is_null()) return engine_->pipeline().cache();
  if (const bool* on = asked.as_bool()) keys = *on ? Json("default") : Json("none");
  if (const std::string* name = keys.as_string()) {
    if (*name == "none") return std::nullopt;
    if (std::ranges::find(presets(), *name) == presets().end())
      return refused("cache", "cache: there is no preset \"" + name->substr(0, 100) + "\"" +
                                  did_you_mean(*name, presets()) + "; there are " + join(presets(), ", "));
    keys = preset(*name);
  }
  const Json* mask = keys.find("steps_computation_mask");
  if (mask && mask->as_string() && !keys.find("num_inference_steps")) keys.set("num_inference_steps", steps);
  auto config = diffusion::parse_cache_config(keys);
  if (!config) return refused("cache", "cache: " + config.error().what);
  return *std::move(config);
}

Parsed<std::vector<diffusion::Request>> PictureModel::requests_for(const ImageRequest& q) const {
  diffusion::Request r;
  r.prompts = {q.prompt};
  r.negative_prompt = q.negative_prompt;
  r.sigmas = q.sigmas;
  r.steps = q.sigmas.empty() ? q.num_inference_steps.value_or(kSteps) : static_cast<int64_t>(q.sigmas.size());
  if (q.size) r.width = q.size->width, r.height = q.size->height;
  r.guidance_scale = q.guidance_scale.value_or(r.guidance_scale);
  r.true_cfg_scale = q.true_cfg_scale.value_or(r.true_cfg_scale);
  r.strength = q.strength.value_or(r.strength);
  if (q.images.size() > 1)
    return refused("image", "image: this model starts from one picture, got " + std::to_string(q.images.size()));
  if (!q.images.empty()) {
    auto picture = image::decode(q.images.front());
    if (!picture) return refused("image", "image: " + picture.error().what);
    r.image = *std::move(picture);
  }
  auto cache = cache_for(q.cache, r.steps);
  if (!cache) return tl::unexpected<ApiError>(cache.error());
  r.cache = *std::move(cache);
  if (const auto good = engine_->pipeline().validate(r); !good)
    return tl::unexpected<ApiError>(api_error(good.error()));
  const int64_t seed = q.seed.value_or(static_cast<int64_t>(std::random_device{}() % 1'000'000'000));
  std::vector<diffusion::Request> out(static_cast<size_t>(q.n), r);
  for (int64_t i = 0; i < q.n; ++i) out[static_cast<size_t>(i)].seeds = {static_cast<uint64_t>(seed + i)};
  return out;
}

}  // namespace cairn::serve
