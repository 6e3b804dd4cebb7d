// cairn bench dit: how long the parts of a picture take, against what the device's matrix product allows.
#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "app/bench.h"
#include "app/ceilings.h"
#include "app/flags.h"
#include "app/options.h"
#include "app/report.h"
#include "app/run.h"
#include "base/file.h"
#include "base/strings.h"
#include "device/device.h"
#include "ops/profile.h"

namespace cairn::app {
namespace {

constexpr double kLongEnough = 10;  // seconds spent on a part, after which it is measured no more
constexpr size_t kFewestSteps = 2;  // of each kind, however long they take

struct BenchOptions {
  int64_t height = 0, width = 0, steps = 8, repeat = 5, text_length = 0;
  std::string prompt = "rocket on a blue background", json;

  void fields(auto& f) {
    f("height", height, "pixels; 0: the model's own", between(0, 16384));
    f("width", width, "pixels; 0: the model's own", between(0, 16384));
    f("steps", steps, "steps a run, fewer where they are long; the first, which starts the request, is timed apart",
      between(3, 1000));
    f("repeat", repeat, "rounds, fewer where they are long; medians over them are shown", between(1, 1000));
    f("text_length", text_length, "tokens of the second text encoder; 0: its own limit", between(0, 512));
    f("prompt", prompt, "what to make");
    f("json", json, "the numbers as JSON");
  }
};

// One line of the result. Zero: not known, or without meaning here.
struct Part {
  const char* name;
  std::vector<double> seconds;
  double flops = 0, weight_bytes = 0;
  double spent = 0;  // seconds, also on steps that are no samples

  double ms() const { return median(seconds) * 1e3; }
  double best_ms() const { return seconds.empty() ? 0 : std::ranges::min(seconds) * 1e3; }
  double gflops() const { return flops / median(seconds) / 1e9; }
  bool enough(size_t fewest) const { return seconds.size() >= fewest && spent > kLongEnough; }
  void take(double s) {
    seconds.push_back(s);
    spent += s;
  }
};

struct Bench {
  double ceiling = 0, best_ceiling = 0;  // FLOP/s
  int64_t ceiling_side = 0, tokens = 0, text_tokens = 0;
  int64_t replays = 0;  // of block graphs
  std::string refused;  // why none is captured
  Part text{"text encoding", {}}, first{"modulation, once a request", {}}, computed{"step, computed", {}},
      cached{"step, cached", {}}, predicted{"step, cached, TaylorSeer", {}}, decode{"decoding", {}};
  ops::Profile::Row whole;  // the profiled step
  std::vector<std::pair<std::string, ops::Profile::Row>> operations;

  std::vector<const Part*> parts() const { return {&text, &first, &computed, &cached, &predicted, &decode}; }
};

// Computes the first steps, skips the rest: two of them, so that TaylorSeer has a slope.
diffusion::CacheConfig skipping(int64_t steps, bool taylorseer) {
  diffusion::CacheConfig c;
  c.front = 1;
  c.warmup = 2;
  c.mask = std::vector<int64_t>(static_cast<size_t>(steps), 0);
  (*c.mask)[0] = (*c.mask)[1] = 1;
  c.mask_policy = "static";
  c.taylorseer = c.encoder_taylorseer = taylorseer;
  return c;
}

c10::Device device_of(const diffusion::Pipeline& pipe) { return pipe.parts().denoiser->device(); }

// What was asked of the device is part of the time.
double seconds_since(double start, c10::Device device) {
  device::synchronize(device);
  return seconds_now() - start;
}

Result<double> seconds_of_step(diffusion::Generation& g, c10::Device device) {
  if (interrupted) return failure(Code::kCancelled, fmt::format("stopped after step {} of {}", g.step(), g.steps()));
  const double start = seconds_now();
  TRY_VOID(caught([&] { g.advance(); }));
  return seconds_since(start, device);
}

// One request. Its steps, but for the first `apart`, are samples of `part`, until that has enough.
Result<void> sample(Bench& out, const diffusion::Pipeline& pipe, const diffusion::Request& request, Part& part,
                    size_t apart) {
  const Inference no_gradients;
  const c10::Device device = device_of(pipe);
  double start = seconds_now();
  auto g = TRY(pipe.begin(request));
  out.text.take(seconds_since(start, device));
  std::vector<double> steps;
  while (!g.done() && !part.enough(kFewestSteps)) {
    steps.push_back(TRY(seconds_of_step(g, device)));
    if (steps.size() > apart)
      part.take(steps.back());
    else
      part.spent += steps.back();
  }
  if (&part == &out.computed && steps.size() > apart)
    out.first.take(std::max(0.0, steps[0] - median({steps.begin() + static_cast<ptrdiff_t>(apart), steps.end()})));
  if (const auto* graphs = g.graphs()) {
    out.replays += graphs->replays();
    out.refused = graphs->refused();
  }
  if (out.decode.enough(1)) return {};
  start = seconds_now();
  g.pictures();
  out.decode.take(seconds_since(start, device));
  return {};
}

// One more request, in which every operation of the second step is timed, one after the other and without graphs.
// Weights read by that step are counted with it.
Result<void> profile(Bench& out, const diffusion::Pipeline& pipe, diffusion::Request request) {
  const Inference no_gradients;
  const c10::Device device = device_of(pipe);
  request.graphs = false;
  auto g = TRY(pipe.begin(request));
  TRY(seconds_of_step(g, device));
  const ops::Profile profile(device);
  out.whole.seconds = TRY(seconds_of_step(g, device));
  for (const auto& [name, row] : profile.rows()) {
    out.operations.emplace_back(name, row);
    out.whole.calls += row.calls;
    out.whole.weight_bytes += row.weight_bytes;
  }
  std::ranges::sort(out.operations, [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  return {};
}

// Kernels pack weights at their first use: one step, and a picture. What takes so long that it shows little of that
// counts as a sample.
Result<void> warm_up(Bench& out, const diffusion::Pipeline& pipe, diffusion::Request request) {
  request.steps = 1;
  TRY_VOID(sample(out, pipe, request, out.computed, 1));
  for (Part* p : {&out.text, &out.computed, &out.decode}) {
    if (p->enough(1)) continue;
    p->seconds.clear();
    p->spent = 0;
  }
  return {};
}

Result<Bench> measure(const diffusion::Pipeline& pipe, const BenchOptions& o) {
  const auto& denoiser = *pipe.parts().denoiser;
  MatmulCeiling ceiling(denoiser.device(), denoiser.dtype());
  diffusion::Request plain, held, predicted;
  plain.prompts = {o.prompt};
  plain.steps = o.steps;
  plain.height = o.height;
  plain.width = o.width;
  plain.text_length = o.text_length;
  plain.cache = diffusion::CacheConfig{};
  plain.cache->type = "NONE";
  held = predicted = plain;
  held.cache = skipping(o.steps, false);
  predicted.cache = skipping(o.steps, true);

  // An accelerator's second step captures its blocks.
  const size_t apart = denoiser.device().is_cpu() ? 1 : 2;
  Bench out;
  ceiling.measure();
  TRY_VOID(warm_up(out, pipe, plain));
  for (int64_t i = 0; i < o.repeat; ++i) {
    for (auto [request, part] :
         {std::pair{&plain, &out.computed}, {&held, &out.cached}, {&predicted, &out.predicted}}) {
      if (part->enough(kFewestSteps)) continue;
      ceiling.measure();
      TRY_VOID(sample(out, pipe, *request, *part, request == &plain ? apart : 2));
    }
  }
  TRY_VOID(profile(out, pipe, plain));
  out.ceiling = ceiling.value();
  out.best_ceiling = ceiling.best();
  out.ceiling_side = ceiling.side();

  const auto extent = pipe.extent(plain);
  out.text_tokens = extent.text_tokens;
  out.tokens = extent.image_tokens;
  int64_t blocks = 0;
  for (const auto& s : denoiser.stacks()) blocks += s.depth;
  out.computed.flops = denoiser.flops(1, out.text_tokens, extent.size, blocks);
  out.computed.weight_bytes = out.whole.weight_bytes;
  out.cached.flops = out.predicted.flops = denoiser.flops(1, out.text_tokens, extent.size, 1);
  return out;
}

void print(const Bench& b, const diffusion::Pipeline& pipe) {
  fmt::print("{}, {}, {}, {} image and {} text tokens\n", pipe.parts().name, dtype_name(pipe.parts().denoiser->dtype()),
             where_computed(device_of(pipe)), b.tokens, b.text_tokens);
  fmt::print("ceiling: {:.0f} GFLOP/s, best {:.0f} (a product of {} x {} in the same run)\n\n", b.ceiling / 1e9,
             b.best_ceiling / 1e9, b.ceiling_side, b.ceiling_side);
  fmt::print("{:<28}{:>10}{:>10}{:>10}{:>11}{:>12}{:>11}{:>9}\n", "part", "ms", "best", "GFLOP", "GFLOP/s",
             "of ceiling", "weights", "GB/s");
  for (const Part* p : b.parts()) {
    fmt::print("{:<28}{:>10.2f}{:>10.2f}", p->name, p->ms(), p->best_ms());
    if (p->flops > 0)
      fmt::print("{:>10.3f}{:>11.0f}{:>11.0f}%", p->flops / 1e9, p->gflops(), 100 * p->gflops() * 1e9 / b.ceiling);
    if (p->weight_bytes > 0)
      fmt::print("{:>11}{:>9.1f}", human_bytes(p->weight_bytes), p->weight_bytes / p->ms() / 1e6);
    fmt::print("\n");
  }
  if (!b.refused.empty()) fmt::print("every kernel started anew: {}\n", b.refused);
  fmt::print("\n{:<28}{:>10}{:>10}{:>11}{:>12}{:>11}\n", "operation of one step", "ms", "calls", "us a call", "of step",
             "weights");
  double known = 0;
  for (const auto& [name, row] : b.operations) {
    known += row.seconds;
    fmt::print("{:<28}{:>10.3f}{:>10}{:>11.1f}{:>11.1f}%{:>11}\n", name, row.seconds * 1e3, row.calls,
               row.seconds / static_cast<double>(row.calls) * 1e6, 100 * row.seconds / b.whole.seconds,
               row.weight_bytes > 0 ? human_bytes(row.weight_bytes) : "");
  }
  fmt::print("{:<28}{:>10.3f}{:>10}{:>11}{:>11.1f}%\n", "between operations", (b.whole.seconds - known) * 1e3, "", "",
             100 * (1 - known / b.whole.seconds));
}

Json to_json(const Bench& b, const diffusion::Pipeline& pipe) {
  Json::Array parts, operations;
  for (const Part* p : b.parts()) {
    Json item(Json::Object{{"part", p->name},
                           {"ms", p->ms()},
                           {"best_ms", p->best_ms()},
                           {"samples", static_cast<int64_t>(p->seconds.size())}});
    if (p->flops > 0) {
      item.set("flops", p->flops);
      item.set("gflops_per_s", p->gflops());
      item.set("share_of_ceiling", p->gflops() * 1e9 / b.ceiling);
      item.set("share_of_ceiling_best", p->flops / p->best_ms() * 1e3 / b.best_ceiling);
    }
    if (p->weight_bytes > 0) item.set("weight_bytes", p->weight_bytes);
    parts.push_back(std::move(item));
  }
  for (const auto& [name, row] : b.operations)
    operations.push_back(Json::Object{
        {"operation", name}, {"ms", row.seconds * 1e3}, {"calls", row.calls}, {"weight_bytes", row.weight_bytes}});
  return Json::Object{{"model", pipe.parts().name},
                      {"dtype", dtype_name(pipe.parts().denoiser->dtype())},
                      {"device", device_of(pipe).str()},
                      {"threads", device::threads()},
                      {"graph_replays", b.replays},
                      {"graphs_refused", b.refused},
                      {"image_tokens", b.tokens},
                      {"text_tokens", b.text_tokens},
                      {"ceiling_gflops_per_s", b.ceiling / 1e9},
                      {"best_ceiling_gflops_per_s", b.best_ceiling / 1e9},
                      {"parts", std::move(parts)},
                      {"profiled_step_ms", b.whole.seconds * 1e3},
                      {"operations", std::move(operations)}};
}

}  // namespace

Result<int> bench_dit(const Arguments& args) {
  Flags flags("cairn bench dit [FLAGS]",
              "Times text encoding, one computed and one cached denoising step, and decoding, against the device's "
              "matrix product.");
  BenchOptions o;
  ModelOptions model;
  flags.add("Benchmark", o);
  flags.add("Model", model);
  if (!TRY(flags.parse(args))) return 0;
  const auto pipe = TRY(load_model(model, false));
  const Bench result = TRY(measure(pipe, o));
  print(result, pipe);
  if (!o.json.empty()) TRY_VOID(write_file(o.json, to_json(result, pipe).dump(2) + "\n"));
  return 0;
}

}  // namespace cairn::app
