// cairn tune: measures many step caches on a few prompts, and says which to use.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "app/commands.h"
#include "app/flags.h"
#include "app/options.h"
#include "app/report.h"
#include "app/run.h"
#include "app/tune_front.h"
#include "base/file.h"
#include "base/strings.h"
#include "device/device.h"
#include "image/metrics.h"

namespace cairn::app {
namespace {

constexpr size_t kBaselineEvery = 8;    // runs between two of the uncached request: a shared machine's speed drifts
constexpr size_t kBaselines = 3;        // the latest so many are the measure
constexpr double kScreenShare = 0.6;    // of the time limit, at most, for the first prompt when others follow
constexpr double kScreenFaster = 1.08;  // after the first prompt, what is beaten by this factor and
constexpr double kScreenBetter = 1.5;   // so many dB is not tried on the others

struct TuneOptions {
  std::vector<std::string> model;
  std::string prompts, output, json, plot;
  std::optional<std::string> negative_prompt;
  int64_t steps = 28, height = 0, width = 0, seed = 0, text_length = 0, time_limit = 90;
  double guidance_scale = 3.5, true_cfg_scale = 1.0;
  std::optional<double> psnr, speedup;
  bool quick = false, quiet = false;

  void fields(auto& f) {
    f("psnr", psnr, "wanted picture: prints the fastest configuration of at least so many dB", between(0, 99));
    f("speedup", speedup, "wanted speed: prints the best configuration at least so many times faster",
      between(1, 1000));
    f("output", output, "write that configuration to a file for --config");
    f("quick", quick, "try a tenth of the configurations on one prompt");
    f("time_limit", time_limit, "seconds after which nothing new is started", between(1, 1e6));
    f("prompts", prompts, "file with a prompt a line; three of our own without");
    f("seed", seed, "of the first prompt; the next ones count on", between(0, 9e15));
    f("num_inference_steps", steps, "denoising steps", alias({"steps"}).between(2, 10000));
    f("height", height, "pixels; 0: the model's own", between(0, 16384));
    f("width", width, "pixels; 0: the model's own", between(0, 16384));
    f("text_length", text_length, "tokens of the second text encoder; 0: its own limit", between(0, 512));
    f("guidance_scale", guidance_scale, "of guidance-distilled models", between(0, 1000));
    f("true_cfg_scale", true_cfg_scale, "classifier-free guidance", between(0, 1000));
    f("negative_prompt", negative_prompt, "what should not be there, with --true-cfg-scale above 1");
    f("json", json, "everything that was measured, as JSON");
    f("plot", plot, "speed against PSNR, as an SVG file");
    f("quiet", quiet, "no progress line");
  }
};

std::vector<std::string> default_prompts() {
  return {"rocket on a blue background", "panda face on a pink background", "slice of pizza on a white background"};
}

double blocks_over_run(const diffusion::CacheStats& stats, int64_t depth) {
  double all = 0, run = 0;
  for (const auto& stack : stats.stacks)
    for (const auto* branch : {&stack.main, &stack.cfg}) {
      const double steps = static_cast<double>(branch->trace.size()) * static_cast<double>(depth);
      all += steps;
      if (stack.config.prune()) {
        run += steps * (1 - branch->pruned_ratio());
      } else {
        for (const char c : branch->trace)
          run += static_cast<double>(c == '1' ? depth : stack.config.front + stack.config.back);
      }
    }
  return run > 0 ? all / run : 1;
}

// Runs candidates against the uncached pictures of the prompts.
class Tuner {
 public:
  Tuner(const diffusion::Pipeline& pipe, const TuneOptions& options, std::vector<std::string> prompts)
      : pipe_(pipe),
        options_(options),
        prompts_(std::move(prompts)),
        start_(seconds_now()),
        deadline_(start_ + static_cast<double>(options.time_limit)) {
    for (const auto& s : pipe.parts().denoiser->stacks()) depth_ += s.depth;
  }

  Result<void> run() {
    auto candidates = cache_grid(options_.steps, depth_, options_.quick);
    tried_ = candidates.size();
    TRY_VOID(uncached(0));  // packs weights and the like; not counted
    baselines_.clear();
    for (auto& c : candidates) measured.push_back({std::move(c), {}, {}});
    std::vector<size_t> all(measured.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = i;
    const double share = prompts_.size() > 1 ? kScreenShare : 1;
    auto done = over(all, 0, start_ + share * (deadline_ - start_));
    std::erase_if(measured, [](const Measured& m) { return m.samples.empty(); });
    TRY_VOID(std::move(done));
    for (size_t prompt = 1; prompt < prompts_.size(); ++prompt) {
      TRY_VOID(over(survivors(prompt), prompt, deadline_));
      if (late()) break;
      finished = prompt + 1;
    }
    return {};
  }

  std::vector<Measured> measured;
  size_t finished = 1;  // prompts that every configuration still in the race was measured on
  size_t tried() const { return tried_; }
  bool late() const { return seconds_now() > deadline_; }

 private:
  diffusion::Request request(size_t prompt) const {
    diffusion::Request r;
    r.prompts = {prompts_[prompt]};
    r.negative_prompt = options_.negative_prompt;
    r.steps = options_.steps;
    r.height = options_.height;
    r.width = options_.width;
    r.text_length = options_.text_length;
    r.guidance_scale = options_.guidance_scale;
    r.true_cfg_scale = options_.true_cfg_scale;
    r.seeds = {static_cast<uint64_t>(options_.seed) + prompt};
    r.cache = diffusion::CacheConfig{};
    r.cache->type = "NONE";
    return r;
  }

  Result<void> uncached(size_t prompt) {
    Run run = TRY(run_request(pipe_, request(prompt)));
    baselines_.push_back(run.timing.denoise);
    reference_ = std::move(run.pictures[0]);
    return {};
  }

  Result<void> sample(Measured& m, size_t prompt) {
    auto r = request(prompt);
    r.cache = m.candidate.config;
    const Run run = TRY(run_request(pipe_, r));
    const auto scores = TRY(image::compare(reference_, run.pictures[0]));
    const std::vector<double> latest(
        baselines_.end() - static_cast<std::ptrdiff_t>(std::min(kBaselines, baselines_.size())), baselines_.end());
    m.samples.push_back({median(latest) / run.timing.denoise, blocks_over_run(run.cache, depth_),
                         std::min(scores.psnr, kMostPsnr), scores.ssim});
    if (m.trace.empty()) m.trace = trace_of(run.cache, options_.steps);
    return {};
  }

  // One prompt over those candidates, or as many of them as are started before `until`.
  Result<void> over(const std::vector<size_t>& which, size_t prompt, double until) {
    const double start = seconds_now();
    for (size_t i = 0; i < which.size() && seconds_now() < until; ++i) {
      if (i % kBaselineEvery == 0) TRY_VOID(uncached(prompt));
      TRY_VOID(sample(measured[which[i]], prompt));
      const double each = (seconds_now() - start) / static_cast<double>(i + 1);
      show(fmt::format("prompt {} of {}, configuration {} of {}", prompt + 1, prompts_.size(), i + 1, which.size()),
           std::min(each * static_cast<double>(which.size() - i - 1), until - seconds_now()),
           i + 1 == which.size() || seconds_now() >= until);
    }
    return {};
  }

  // What the first `prompts` prompts leave in the race: measured on all of them, not clearly beaten, and not the same
  // picture made in another way.
  std::vector<size_t> survivors(size_t prompts) const {
    std::vector<size_t> out;
    std::set<std::pair<double, double>> seen;
    for (size_t i = 0; i < measured.size(); ++i) {
      const Measured& m = measured[i];
      if (m.samples.size() < prompts || m.work() <= 1) continue;
      // By work, not by the clock: one lucky run must not push others out.
      const bool beaten = std::ranges::any_of(measured, [&](const Measured& other) {
        return other.work() >= m.work() * kScreenFaster && other.psnr() >= m.psnr() + kScreenBetter;
      });
      if (!beaten && seen.insert({m.work(), m.psnr()}).second) out.push_back(i);
    }
    return out;
  }

  void show(const std::string& what, double left, bool last) const {
    if (options_.quiet) return;
    if (::isatty(STDERR_FILENO))
      fmt::print(stderr, "\r{}, {:.0f} s left  {}", what, std::max(0.0, left), last ? "\n" : "");
    else if (last)
      fmt::print(stderr, "{}\n", what);
    std::fflush(stderr);
  }

  const diffusion::Pipeline& pipe_;
  const TuneOptions& options_;
  std::vector<std::string> prompts_;
  double start_, deadline_;
  int64_t depth_ = 0;
  size_t tried_ = 0;
  std::vector<double> baselines_;  // seconds of uncached loops, in order
  image::Image reference_;         // the uncached picture of the prompt at hand
};

Result<std::vector<std::string>> prompts_of(const TuneOptions& o) {
  std::vector<std::string> prompts;
  if (!o.prompts.empty()) {
    for (const auto& line : split(TRY(read_file(o.prompts)), '\n'))
      if (!trim(line).empty()) prompts.emplace_back(trim(line));
    if (prompts.empty()) return invalid(o.prompts + " holds no prompt");
  } else {
    prompts = default_prompts();
  }
  if (o.quick) prompts.resize(1);
  return prompts;
}

std::string describe(const diffusion::Pipeline& pipe, const TuneOptions& o) {
  return fmt::format("{}, {}, {} steps, {} threads", pipe.parts().name, dtype_name(pipe.parts().denoiser->dtype()),
                     o.steps, device::threads());
}

Result<void> write_results(const Tuner& tuner, const std::vector<size_t>& front, const TuneOptions& o,
                           const std::string& about) {
  if (!o.json.empty()) {
    Json::Array all, best;
    for (const auto& m : tuner.measured) all.push_back(to_json(m));
    for (const size_t i : front) best.push_back(to_json(tuner.measured[i]));
    const Json out(Json::Object{{"about", about}, {"front", std::move(best)}, {"measured", std::move(all)}});
    TRY_VOID(write_file(o.json, out.dump(2) + "\n"));
  }
  if (!o.plot.empty()) TRY_VOID(write_file(o.plot, front_svg("Step caches of " + about, tuner.measured, front)));
  return {};
}

// The configuration for --psnr and --speedup, to the screen and to --output.
Result<void> recommend(const Tuner& tuner, const std::vector<size_t>& front, const TuneOptions& o,
                       const std::string& about) {
  if (!o.psnr && !o.speedup) {
    fmt::print(
        "\n--psnr 40 or --speedup 2 prints the configuration to use; --output FILE.yaml writes it for generate "
        "--config.\n");
    return {};
  }
  const auto best = choose(tuner.measured, front, o.psnr, o.speedup);
  if (!best) {
    if (front.empty()) return failure(Code::kNotFound, "no configuration was faster than none");
    const auto &slow = tuner.measured[front.front()], &fast = tuner.measured[front.back()];
    return failure(Code::kNotFound, fmt::format("no configuration fulfils that: the best picture has {:.1f} dB at "
                                                "{:.2f} times the speed, the fastest {:.1f} dB at {:.2f} times",
                                                slow.psnr(), slow.speedup(), fast.psnr(), fast.speedup()));
  }
  const std::string yaml = to_yaml(tuner.measured[*best], "cairn tune: " + about);
  fmt::print("\n{}", yaml);
  if (!o.output.empty()) TRY_VOID(write_file(o.output, yaml));
  return {};
}

}  // namespace

Result<int> tune(const Arguments& args) {
  Flags flags("cairn tune [MODEL] [FLAGS]",
              "Measures step caches on a few prompts, each against its own uncached picture, and prints the best of "
              "speed and PSNR.");
  TuneOptions o;
  ModelOptions model;
  flags.positionals("model folder", 1, o.model);
  flags.add("Tuning", o);
  flags.add("Model", model);
  if (!TRY(flags.parse(args))) return 0;
  if (!o.output.empty() && !o.psnr && !o.speedup)
    return invalid("--output needs --psnr or --speedup, which choose what to write");
  if (!o.model.empty()) {
    if (!model.model_path.empty())
      return invalid("the model is given twice: " + o.model[0] + " and --model-path " + model.model_path);
    model.model_path = o.model[0];
  }
  for (const auto& path : {o.output, o.json, o.plot})  // before the work, not after it
    if (const auto folder = std::filesystem::path(path).parent_path();
        !folder.empty() && !std::filesystem::is_directory(folder))
      return invalid("cannot write " + path + ": there is no folder " + folder.string());
  const auto prompts = TRY(prompts_of(o));
  const auto pipe = TRY(load_model(model, o.quiet));

  Tuner tuner(pipe, o, prompts);
  const auto done = tuner.run();
  if (!done && done.error().code != Code::kCancelled) return tl::unexpected(done.error());
  const auto front = pareto_front(tuner.measured, tuner.finished);
  const std::string about = describe(pipe, o);
  fmt::print("{}: {} configurations, {} on the front\n\n{}", about, tuner.measured.size(), front.size(),
             front_table(tuner.measured, front));
  if (done && tuner.measured.size() < tuner.tried())
    fmt::print("\n{} of {} configurations were not reached; --time-limit gives more time.\n",
               tuner.tried() - tuner.measured.size(), tuner.tried());
  TRY_VOID(write_results(tuner, front, o, about));
  if (!done) return tl::unexpected(done.error());  // Ctrl-C: what there is has been shown
  TRY_VOID(recommend(tuner, front, o, about));
  return 0;
}

}  // namespace cairn::app
