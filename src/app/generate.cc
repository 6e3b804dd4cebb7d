// cairn generate: text (and a picture) to pictures.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>

#include "app/commands.h"
#include "app/flags.h"
#include "app/options.h"
#include "app/report.h"
#include "app/run.h"
#include "base/file.h"
#include "base/strings.h"
#include "device/device.h"
#include "image/metrics.h"
#include "image/resize.h"
#include "tensor/safetensors.h"

namespace cairn::app {
namespace {

namespace fs = std::filesystem;

struct GenerateOptions {
  std::vector<std::string> prompt;
  std::string prompts, save_path, save_latents, json, image;
  std::optional<std::string> negative_prompt, warmup_prompt;
  int64_t num_images = 1, steps = 28, height = 0, width = 0, text_length = 0, warmup = 0, repeat = 1, preview = 0;
  std::optional<int64_t> warmup_steps;
  std::vector<int64_t> seed, warmup_seed;
  std::vector<double> sigmas;
  double guidance_scale = 3.5, true_cfg_scale = 1.0, strength = 0.6;
  bool summary = false, track_memory = false, quiet = false, compare = false, grid = false, vae_tiling = false,
       vae_slicing = false, disable_graph = false;

  void fields(auto& f) {
    f("prompts", prompts, "file with a prompt a line")("negative_prompt", negative_prompt,
                                                       "what should not be there, with --true-cfg-scale above 1");
    f("num_inference_steps", steps, "denoising steps", alias({"steps"}).between(1, 10000));
    f("sigmas", sigmas, "noise levels, one a step, instead of --steps");
    f("height", height, "pixels; 0: the model's own", between(0, 16384))("width", width, "pixels; 0: the model's own",
                                                                         between(0, 16384));
    f("seed", seed, "one for all pictures, or one each; random without", between(0, 9e15))(
        "num_images", num_images, "pictures a prompt", between(1, 256));
    f("guidance_scale", guidance_scale, "of guidance-distilled models", between(0, 1000));
    f("true_cfg_scale", true_cfg_scale, "classifier-free guidance; above 1 costs a second forward a step",
      between(0, 1000));
    f("text_length", text_length, "tokens of the second text encoder; 0: its own limit, 512 at most",
      alias({"max_sequence_length"}).between(0, 512));
    f("image", image, "picture to start from", alias({"image_path"}))(
        "strength", strength, "share of the steps that change it", between(0, 1));
    f("vae_tiling", vae_tiling, "decode in tiles: less memory")("vae_slicing", vae_slicing,
                                                                "decode one picture at a time");
    f("disable_graph", disable_graph, "on an accelerator: start every kernel anew instead of replaying captured blocks",
      alias({"disable_cuda_graph"}));
    f("save_path", save_path, "where the picture goes: .png, .jpg or .webp; several get numbers");
    f("grid", grid, "also join the pictures of the batch into one")(
        "compare", compare, "also without the cache: speed-up, PSNR, SSIM, both side by side");
    f("preview", preview, "save the picture as it is every N steps", between(0, 10000));
    f("save_latents", save_latents, "final packed latents, as safetensors")("json", json,
                                                                            "what was done and measured, as JSON");
    f("warmup", warmup, "runs before the measured ones", between(0, 1000))("repeat", repeat, "measured runs",
                                                                           between(1, 1000));
    f("warmup_num_inference_steps", warmup_steps, "their steps", alias({"warmup_steps"}).between(1, 10000));
    f("warmup_seed", warmup_seed, "their seed", between(0, 9e15))("warmup_prompt", warmup_prompt, "their prompt");
    f("cache_summary", summary, "print what the cache did", alias({"summary"}));
    f("track_memory", track_memory, "print the most memory held", alias({"mem"}))("quiet", quiet,
                                                                                  "print only where the pictures are");
  }
};

Result<std::vector<std::string>> read_prompts(const GenerateOptions& o) {
  std::vector<std::string> prompts = o.prompt;
  if (!o.prompts.empty()) {
    for (const auto& line : split(TRY(read_file(o.prompts)), '\n'))
      if (!trim(line).empty()) prompts.emplace_back(trim(line));
    if (prompts.empty()) return invalid(o.prompts + " holds no prompt");
  }
  if (prompts.empty()) return invalid("no prompt given: cairn generate \"rocket on a blue background\"");
  return prompts;
}

Result<diffusion::Request> request_of(const GenerateOptions& o) {
  diffusion::Request r;
  r.prompts = TRY(read_prompts(o));
  r.negative_prompt = o.negative_prompt;
  r.images_per_prompt = o.num_images;
  r.steps = o.sigmas.empty() ? o.steps : static_cast<int64_t>(o.sigmas.size());
  r.height = o.height;
  r.width = o.width;
  r.guidance_scale = o.guidance_scale;
  r.true_cfg_scale = o.true_cfg_scale;
  r.sigmas = o.sigmas;
  r.text_length = o.text_length;
  r.strength = o.strength;
  r.portions = {.slicing = o.vae_slicing, .tiling = o.vae_tiling};
  if (!o.image.empty()) r.image = TRY(image::load(o.image));
  r.graphs = !o.disable_graph;
  r.seeds.assign(o.seed.begin(), o.seed.end());
  if (r.seeds.empty()) r.seeds = {std::random_device{}() % 1'000'000'000};
  // As many seeds as pictures were wanted without saying so: one picture each.
  if (r.prompts.size() == 1 && o.num_images == 1) r.images_per_prompt = static_cast<int64_t>(r.seeds.size());
  return r;
}

Result<void> make_folder_of(const std::string& path) {
  std::error_code e;
  const fs::path folder = fs::path(path).parent_path();
  if (!folder.empty()) fs::create_directories(folder, e);
  if (e) return invalid("cannot make the folder " + folder.string() + ": " + e.message());
  return {};
}

// Finds out before the work whether its results can be written.
Result<void> check_outputs(const GenerateOptions& o, const std::string& save_path) {
  TRY_VOID([&]() -> Result<void> {
    TRY(image::format_of_path(save_path));
    return {};
  }());
  for (const std::string& path : {save_path, o.save_latents, o.json})
    if (!path.empty()) TRY_VOID(make_folder_of(path));
  return {};
}

}  // namespace

Result<int> generate(const Arguments& args) {
  Flags flags("cairn generate PROMPT [FLAGS]", "Makes pictures from text, or from text and a picture.");
  GenerateOptions o;
  ModelOptions model;
  CacheOptions cache;
  flags.positionals("prompt", 1, o.prompt);
  flags.add("Picture", o);
  flags.add("Model", model);
  flags.add("Step cache", cache);
  if (!TRY(flags.parse(args))) return 0;

  auto request = TRY(request_of(o));
  request.cache = TRY(cache_config(cache, asks_for_cache(flags), request.steps, model.attn));
  const std::string save_path = o.save_path.empty() ? default_path(request.prompts[0], request.seeds[0]) : o.save_path;
  TRY_VOID(check_outputs(o, save_path));

  const double started = seconds_now();
  const auto pipe = TRY(load_model(model, o.quiet));
  Report report;
  report.model = pipe.parts().name;
  report.load = seconds_now() - started;

  for (int64_t i = 0; i < o.warmup; ++i) {
    auto warm = request;
    if (o.warmup_steps && warm.sigmas.empty()) warm.steps = *o.warmup_steps;
    if (o.warmup_prompt) warm.prompts.assign(warm.prompts.size(), *o.warmup_prompt);
    if (!o.warmup_seed.empty()) warm.seeds.assign(1, static_cast<uint64_t>(o.warmup_seed[0]));
    TRY(run_request(pipe, warm));
  }
  Progress progress(o.quiet);
  Run last;
  for (int64_t i = 0; i < o.repeat; ++i) {
    OnStep show = progress.listener(o.repeat > 1 ? fmt::format("run {}", i + 1) : "denoising");
    last = TRY(run_request(pipe, request, [&](const diffusion::Generation& g, double seconds) {
      if (show) show(g, seconds);
      if (o.preview > 0 && i == 0 && g.step() % o.preview == 0 && !g.done())
        or_throw(image::save(with_suffix(save_path, fmt::format("-step{:03}", g.step())), g.pictures()[0]));
    }));
    report.runs.push_back(last.timing);
  }
  for (const auto& warning : last.warnings) fmt::print(stderr, "warning: {}\n", warning);

  const bool several = last.pictures.size() > 1;
  for (size_t i = 0; i < last.pictures.size(); ++i) {
    const size_t prompt = i / static_cast<size_t>(request.images_per_prompt);
    const uint64_t seed = request.seeds[request.seeds.size() == 1 ? 0 : i];
    const std::string path = several ? with_suffix(save_path, fmt::format("-{}", i + 1)) : save_path;
    report.images.push_back({path, request.prompts[prompt], seed});
    TRY_VOID(image::save(path, last.pictures[i], metadata_of(report, request, last.cache.tag(), i)));
    fmt::print("{}\n", path);
  }
  if (o.grid && several) {
    const auto columns = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(last.pictures.size()))));
    TRY_VOID(image::save(with_suffix(save_path, "-grid"), TRY(image::grid(last.pictures, columns))));
    fmt::print("{}\n", with_suffix(save_path, "-grid"));
  }
  if (o.compare) {
    if (!request.cache) return invalid("--compare needs a cache to compare: add --cache");
    auto plain = request;
    plain.cache = diffusion::CacheConfig{};
    plain.cache->type = "NONE";
    std::vector<double> times;
    Run reference;
    for (int64_t i = 0; i < o.repeat; ++i) {
      reference = TRY(run_request(pipe, plain, progress.listener("without cache")));
      times.push_back(reference.timing.total);
    }
    TRY_VOID(report_comparison(report, last, reference, times, save_path));
  }
  if (!o.save_latents.empty())
    TRY_VOID(write_tensors(o.save_latents, {{"latents", last.latents.to(pipe.parts().dtype)}}));
  if (o.summary) fmt::print("{}", last.cache.summary(true));
  if (o.track_memory) fmt::print("peak memory: {}\n", human_bytes(static_cast<double>(device::peak_memory())));
  if (!o.json.empty()) TRY_VOID(write_file(o.json, to_json(report, last).dump(2) + "\n"));
  if (!o.quiet) fmt::print(stderr, "{}\n", timing_line(report));
  return 0;
}

}  // namespace cairn::app
