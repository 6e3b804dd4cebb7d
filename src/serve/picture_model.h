// A picture model behind the routes: requests become those of the engine, pictures become files.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "diffusion/engine.h"
#include "serve/api/images.h"
#include "serve/api/model_routes.h"
#include "serve/http/metrics.h"

namespace cairn::serve {

struct PictureMetrics {
  PictureMetrics(Registry& registry, const std::string& model, const diffusion::Engine& engine);
  Counter &requests, &aborted, &computed_steps, &cached_steps;
  Histogram& latency;
};

// Any thread.
class PictureModel {
 public:
  static Result<std::unique_ptr<PictureModel>> start(diffusion::Pipeline pipeline, std::string name,
                                                     diffusion::Engine::Options options, Registry& registry);

  const std::string& name() const { return name_; }
  ModelCard card() const;
  diffusion::Engine& engine() const { return *engine_; }
  PictureMetrics& metrics() const { return *metrics_; }

  // What the engine is asked for each of the request's pictures; the i-th has the seed + i. Decodes its files.
  Parsed<std::vector<diffusion::Request>> requests_for(const ImageRequest& request) const;

  // What "cache" of a request may be called.
  static const std::vector<std::string>& presets();

 private:
  PictureModel() = default;
  Parsed<std::optional<diffusion::CacheConfig>> cache_for(const Json& asked, int64_t steps) const;

  std::string name_;
  int64_t created_ = 0;
  std::unique_ptr<PictureMetrics> metrics_;
  std::unique_ptr<diffusion::Engine> engine_;
};

}  // namespace cairn::serve
