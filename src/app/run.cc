#include "app/run.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "app/commands.h"

namespace cairn::app {

std::atomic<bool> interrupted{false};

namespace {

constexpr double kLogSeconds = 5;  // between lines of progress in a log

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double s = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return s;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

Result<Run> run_request(const diffusion::Pipeline& pipe, const diffusion::Request& request, const OnStep& on_step) {
  const Inference no_gradients;
  Run run;
  Stopwatch whole, watch;
  auto generation = TRY(pipe.begin(request));
  run.timing.text = watch.lap();
  while (!generation.done()) {
    if (interrupted)
      return failure(Code::kCancelled,
                     fmt::format("stopped after step {} of {}", generation.step(), generation.steps()));
    TRY_VOID(caught([&] { generation.advance(); }));
    run.timing.steps.push_back(watch.lap());
    run.timing.denoise += run.timing.steps.back();
    if (on_step) {
      on_step(generation, run.timing.steps.back());
      watch.lap();
    }
  }
  if (interrupted) return failure(Code::kCancelled, "stopped before decoding");
  run.latents = generation.latents();
  run.pictures = generation.pictures();
  run.timing.decode = watch.lap();
  run.timing.total = whole.lap();
  run.cache = generation.cache().stats();
  run.warnings = generation.warnings();
  return run;
}

Progress::Progress(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (open_) std::fputc('\n', stderr);
}

OnStep Progress::listener(std::string label) {
  if (quiet_) return {};
  return [this, label = std::move(label), total = 0.0, said = 0.0](const diffusion::Generation& g,
                                                                   double seconds) mutable {
    total += seconds;
    const double left = total / static_cast<double>(g.step()) * static_cast<double>(g.steps() - g.step());
    const std::string trace = trace_of(g.cache().stats(), g.step());
    std::string bar;
    for (const char c : trace) bar += c == '0' ? "░" : "█";
    if (terminal_) {
      fmt::print(stderr, "\r{} {}{:{}} {}/{} {:.1f} s left ", label, bar, "", g.steps() - g.step(), g.step(), g.steps(),
                 left);
      open_ = !g.done();
      if (g.done()) fmt::print(stderr, "\r{} {} {}/{} {:.2f} s      \n", label, bar, g.step(), g.steps(), total);
    } else if (g.done() || total - said > kLogSeconds) {
      said = total;
      fmt::print(stderr, "{} {} {}/{} {:.2f} s, {:.1f} s left\n", label, bar, g.step(), g.steps(), total, left);
    }
    std::fflush(stderr);
  };
}

std::string trace_of(const diffusion::CacheStats& stats, int64_t steps) {
  if (!stats.stacks.empty() && !stats.stacks[0].main.trace.empty()) return stats.stacks[0].main.trace;
  return std::string(static_cast<size_t>(steps), '1');
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace cairn::app
