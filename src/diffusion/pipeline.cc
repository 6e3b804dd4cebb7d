#include "diffusion/pipeline.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "image/resize.h"
#include "ops/ops.h"
#include "tensor/finite.h"

namespace cairn::diffusion {
namespace {

constexpr int64_t kMaxImages = 256;
constexpr int64_t kMaxTextLength = 512;
constexpr int64_t kModulationRows = 32;  // rows of modulation computed at once: enough to use every weight well

Tensor to_ids(const std::vector<std::vector<int64_t>>& rows) {
  const auto n = static_cast<int64_t>(rows.size()), length = static_cast<int64_t>(rows.front().size());
  Tensor ids = empty({n, length}, Dtype::Long);
  auto* p = static_cast<int64_t*>(ids.data_ptr());
  for (const auto& row : rows) p = std::copy(row.begin(), row.end(), p);
  return ids;
}

// A picture as the autoencoder takes it: (1, 3, H, W) in [-1, 1].
Tensor to_tensor(const image::Image& picture) {
  Tensor t = empty({1, 3, picture.height, picture.width}, kF32);
  auto* p = static_cast<float*>(t.data_ptr());
  for (size_t c = 0; c < 3; ++c)
    for (size_t i = c; i < picture.rgb.size(); i += 3) *p++ = static_cast<float>(picture.rgb[i]) / 255.0f * 2 - 1;
  return t;
}

std::vector<image::Image> to_images(const Tensor& pictures) {
  const Tensor t = on_host(pictures).to(kF32).contiguous();
  std::vector<image::Image> out;
  const int64_t n = t.size(0), height = t.size(2), width = t.size(3), pixels = height * width;
  const auto* p = static_cast<const float*>(t.data_ptr());
  for (int64_t i = 0; i < n; ++i, p += 3 * pixels) {
    image::Image picture(width, height);
    for (int64_t c = 0; c < 3; ++c)
      for (int64_t k = 0; k < pixels; ++k)
        picture.rgb[static_cast<size_t>(3 * k + c)] =
            static_cast<uint8_t>(std::lrint(std::clamp(p[c * pixels + k] / 2 + 0.5f, 0.0f, 1.0f) * 255));
    out.push_back(std::move(picture));
  }
  return out;
}

// As torch's random tensors for a list of generators: each draws one picture's share, a single one draws all. Drawn in
// the dtype of the run, since each dtype has numbers of its own.
Tensor draw_normal(std::vector<Noise>& noises, int64_t images, int64_t channels, LatentSize size, Dtype dtype) {
  if (noises.size() == 1) return noises[0].normal({images, channels, size.height, size.width}, dtype);
  Tensor out = empty({images, channels, size.height, size.width}, dtype);
  for (int64_t i = 0; i < images; ++i)
    out.select(0, i).copy_(noises[static_cast<size_t>(i)].normal({1, channels, size.height, size.width}, dtype)[0]);
  return out;
}

}  // namespace

int64_t Pipeline::size_multiple() const { return parts_.autoencoder->space().scale * parts_.denoiser->patch(); }

Pipeline::Extent Pipeline::extent(const Request& r) const {
  const LatentSpace& space = parts_.autoencoder->space();
  const int64_t patch = parts_.denoiser->patch();
  const auto limit = static_cast<int64_t>(parts_.tokenizer->model_max_length());
  Extent e{.size = {(r.height ? r.height : space.sample_size) / space.scale,
                    (r.width ? r.width : space.sample_size) / space.scale}};
  e.image_tokens = e.size.height / patch * (e.size.width / patch);
  e.text_tokens = r.text_length ? r.text_length : limit > 0 ? std::min(limit, kMaxTextLength) : kMaxTextLength;
  return e;
}

Result<std::pair<Schedule, int64_t>> Pipeline::schedule(const Request& r) const {
  const FlowMatchEuler solver(parts_.scheduler);
  const bool even = r.sigmas.empty() && r.steps >= 1 && r.steps <= 10'000;
  Schedule s = TRY(solver.schedule(r.steps, even ? even_sigmas(r.steps) : r.sigmas, solver.mu(extent(r).image_tokens)));
  int64_t start = 0;
  if (r.image) {
    const auto steps = static_cast<double>(s.steps());
    start = static_cast<int64_t>(std::max(steps - std::min(steps * r.strength, steps), 0.0));
    if (start >= s.steps()) return invalid(fmt::format("strength {} leaves no step of {}", r.strength, s.steps()));
  }
  return std::pair{std::move(s), start};
}

Result<std::unique_ptr<RequestCache>> Pipeline::cache_of(const Request& r) const {
  const auto& config = r.cache ? r.cache : cache_;
  if (!config) return std::make_unique<RequestCache>();
  auto cache = TRY(caught([&] { return std::make_unique<RequestCache>(*config); }));
  TRY_VOID(cache->fits(parts_.denoiser->stacks()));
  return cache;
}

Result<void> Pipeline::validate(const Request& r) const {
  if (r.prompts.empty()) return invalid("no prompt given");
  // Bounded before they are multiplied.
  const int64_t images = std::min<int64_t>(static_cast<int64_t>(r.prompts.size()), kMaxImages + 1) *
                         std::clamp<int64_t>(r.images_per_prompt, 0, kMaxImages + 1);
  if (images < 1 || images > kMaxImages)
    return invalid(fmt::format("a request makes 1 to {} pictures, this one asks for {}", kMaxImages, images));
  const auto seeds = static_cast<int64_t>(r.seeds.size());
  if (seeds != 1 && seeds != images)
    return invalid(fmt::format("{} seeds for {} pictures: give one seed for all, or one each", seeds, images));
  const int64_t multiple = size_multiple();
  for (const auto& [name, side] : {std::pair{"height", r.height}, {"width", r.width}})
    if (side < 0 || side > image::kMostSide || side % multiple != 0)
      return invalid(fmt::format(
          "{} must be a multiple of {} up to {}, got {}{}", name, multiple, image::kMostSide, side,
          side > 0 && side < image::kMostSide
              ? fmt::format("; the nearest is {}", std::max(multiple, (side + multiple / 2) / multiple * multiple))
              : ""));
  for (const auto& [name, v] : {std::pair{"guidance_scale", r.guidance_scale}, {"true_cfg_scale", r.true_cfg_scale}})
    if (!std::isfinite(v) || std::abs(v) > 1000)
      return invalid(fmt::format("{} must be a number up to 1000, got {}", name, v));
  if (r.image && !(r.strength > 0 && r.strength <= 1))
    return invalid(fmt::format("strength must lie in (0, 1], got {}", r.strength));
  if (r.text_length < 0 || r.text_length > kMaxTextLength)
    return invalid(fmt::format("text_length must lie in [1, {}], got {}", kMaxTextLength, r.text_length));
  for (const auto& text : r.prompts)
    if (!valid_utf8(text)) return invalid("a prompt is not valid UTF-8");
  TRY(schedule(r));
  TRY(cache_of(r));
  return {};
}

Conditioning Pipeline::encode(const std::vector<std::string>& texts, int64_t images_per_text, int64_t text_length,
                              std::vector<std::string>& warnings) const {
  const auto ids_of = [&](const text::Tokenizer& t, size_t length, const char* encoder) {
    std::vector<std::vector<int64_t>> rows;
    for (const auto& text : texts) {
      auto e = or_throw(t.encode(text, {.max_length = length, .pad_to = length}));
      if (!e.lost.empty())
        warnings.push_back(
            fmt::format("the prompt is longer than the {} text encoder's {} tokens; it does not see: \"{}\"", encoder,
                        length, e.lost));
      rows.push_back(std::move(e.ids));
    }
    return to_ids(rows);
  };
  const Tensor pooled_ids = ids_of(*parts_.pooled_tokenizer, parts_.pooled_tokenizer->model_max_length(), "first");
  const Tensor text_ids = ids_of(*parts_.tokenizer, static_cast<size_t>(text_length), "second");
  Conditioning c{parts_.text_encoder->encode(text_ids).hidden, parts_.pooled_encoder->encode(pooled_ids).pooled};
  if (images_per_text > 1)
    c = {c.text.repeat_interleave(images_per_text, 0), c.pooled.repeat_interleave(images_per_text, 0)};
  return c;
}

// The latent that the walk starts from: noise, or for image to image the encoded picture with noise on it.
Tensor Pipeline::draw(const Request& r, const Schedule& schedule, int64_t start, LatentSize size,
                      std::vector<Noise>& noises) const {
  const auto images = static_cast<int64_t>(r.prompts.size()) * r.images_per_prompt;
  const Denoiser& denoiser = *parts_.denoiser;
  const int64_t channels = denoiser.latent_channels();
  const auto noise = [&] {
    return draw_normal(noises, images, channels, size, parts_.dtype).to(denoiser.dtype()).to(denoiser.device());
  };
  if (!r.image) return noise();
  const LatentSpace& space = parts_.autoencoder->space();
  image::Image picture = *r.image;
  if (const int64_t h = size.height * space.scale, w = size.width * space.scale;
      picture.height != h || picture.width != w)
    picture = or_throw(image::resize(picture, w, h));
  const Tensor moments = diffusion::encode(*parts_.autoencoder, to_tensor(picture).to(denoiser.device()), r.portions);
  // diffusers draws the sample of the picture first, from the first generator, then the noise from all of them.
  const Tensor sample = sample_latents(moments, noises[0].normal({1, channels, size.height, size.width}, parts_.dtype));
  const Tensor latent =
      ((sample + -space.shift_factor) * space.scaling_factor).to(denoiser.dtype()).expand({images, -1, -1, -1});
  return FlowMatchEuler(parts_.scheduler).add_noise(schedule, start, latent, noise());
}

Result<Generation> Pipeline::begin(const Request& r) const {
  TRY_VOID(validate(r));
  const Extent extent = this->extent(r);
  Generation g;
  g.parts_ = parts_;
  g.solver_ = FlowMatchEuler(parts_.scheduler);
  g.size_ = extent.size;
  g.portions_ = r.portions;
  g.true_cfg_scale_ = r.true_cfg_scale;
  std::tie(g.schedule_, g.start_) = TRY(schedule(r));
  g.step_ = g.start_;
  g.cache_ = TRY(cache_of(r));
  const bool guided = r.true_cfg_scale > 1 && r.negative_prompt.has_value();
  return caught([&] {
    std::vector<Conditioning> texts{encode(r.prompts, r.images_per_prompt, extent.text_tokens, g.warnings_)};
    if (guided) {
      std::vector<std::string> unused;
      texts.push_back(encode(std::vector<std::string>(r.prompts.size(), *r.negative_prompt), r.images_per_prompt,
                             extent.text_tokens, unused));
    }
    for (const uint64_t seed : r.seeds) g.noises_.emplace_back(seed);
    g.latents_ = parts_.denoiser->pack(draw(r, g.schedule_, g.start_, g.size_, g.noises_));
    Tensor timesteps = empty({g.schedule_.steps()}, kF32);
    std::ranges::copy(g.schedule_.timesteps, static_cast<float*>(timesteps.data_ptr()));
    timesteps = timesteps.to(parts_.denoiser->dtype()).div(static_cast<double>(parts_.scheduler.num_train_timesteps));
    for (const auto& text : texts)
      g.sides_.push_back({parts_.denoiser->prepare(text, timesteps, r.guidance_scale, g.size_), {}, 0, 0});
    if (const c10::Device device = parts_.denoiser->device(); !device.is_cpu() && r.graphs) {
      device::synchronize(device);  // its steps run on another stream
      g.on_ = std::make_unique<Generation::Device>(device);
    }
    return std::move(g);
  });
}

// This step of one branch, with modulation for it and some steps to come.
Input Generation::input(Branch branch) {
  Side& b = sides_[branch == Branch::kMain ? 0 : 1];
  if (step_ < b.first || step_ >= b.first + b.rows) {
    const int64_t window = std::max<int64_t>(1, kModulationRows / latents_.size(0));
    b.first = step_;
    b.rows = std::min(window, schedule_.steps() - step_);
    b.modulation = parts_.denoiser->modulate(b.prepared.vectors.narrow(0, b.first, b.rows));
  }
  const StepInfo step{.index = step_ - start_, .total = steps(), .branch = branch};
  return {latents_, b.prepared, b.modulation, step_ - b.first, step};
}

Result<void> Generation::take(const Tensor& velocity) {
  latents_ = solver_.step(schedule_, step_, latents_, velocity, noises_[0]);
  ++step_;
  if (all_finite(latents_)) return {};
  return failure(
      Code::kInternal,
      fmt::format("step {} gave numbers that are not finite: the weights may be damaged, or the dtype too narrow",
                  step()));
}

void Generation::advance() {
  Generation* const self = this;
  if (!on_) return or_throw(std::move(diffusion::advance({&self, 1}).front()));
  const device::Stream::Use use(on_->stream);
  or_throw(std::move(diffusion::advance({&self, 1}, &on_->graphs).front()));
}

std::vector<Result<void>> advance(std::span<Generation* const> runs, BlockGraphs* graphs) {
  std::vector<Result<void>> out;
  if (runs.empty()) return out;
  Batch batch(graphs), later(graphs);
  for (Generation* g : runs) {
    check(!g->done(), "advance() after the last step");
    batch.add(g->input(Branch::kMain), *g->cache_);
  }
  for (Generation* g : runs)
    if (g->sides_.size() > 1) (g->cache_->in_turn() ? later : batch).add(g->input(Branch::kCfg), *g->cache_);
  const Denoiser& denoiser = *runs.front()->parts_.denoiser;
  const auto velocities = batch.split(denoiser.forward(batch));
  const auto negatives = later.empty() ? std::vector<Tensor>() : later.split(denoiser.forward(later));
  size_t next = runs.size(), next_later = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    Generation& g = *runs[i];
    Tensor velocity = velocities[i];
    if (g.sides_.size() > 1) {
      const Tensor& negative = g.cache_->in_turn() ? negatives[next_later++] : velocities[next++];
      velocity = negative + (velocity - negative) * g.true_cfg_scale_;
    }
    out.push_back(g.take(velocity));
  }
  return out;
}

std::vector<image::Image> Generation::pictures() const {
  const LatentSpace& space = parts_.autoencoder->space();
  const Tensor latent = parts_.denoiser->unpack(latents_, size_);
  return to_images(
      diffusion::decode(*parts_.autoencoder, latent * (1 / space.scaling_factor) + space.shift_factor, portions_));
}

}  // namespace cairn::diffusion
