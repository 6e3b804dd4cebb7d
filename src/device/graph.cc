#include "device/graph.h"

#include <ATen/record_function.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "device/pool.h"

namespace cairn::device {
namespace {

thread_local Recording* current = nullptr;

// A barrier costs so much less than a parallel region, and smaller kernels are worth sharing.
constexpr int64_t kCheaper = 8;

// Those that touch no numbers: they need not happen again.
bool is_view(std::string_view name) {
  constexpr std::array<std::string_view, 18> kViews{
      "aten::select",  "aten::narrow",  "aten::slice", "aten::unsqueeze",      "aten::squeeze",    "aten::view",
      "aten::reshape", "aten::flatten", "aten::to",    "aten::unflatten",      "aten::as_strided", "aten::transpose",
      "aten::permute", "aten::expand",  "aten::alias", "aten::_reshape_alias", "aten::contiguous", "aten::detach"};
  return std::ranges::find(kViews, name) != kViews.end();
}

// libtorch's own operations leave no kernel of ours behind, so one that computes ends a capture.
std::unique_ptr<at::ObserverContext> seen(const at::RecordFunction& f) {
  if (current && !is_view(f.name())) current->refuse(f.name());
  return nullptr;
}

class Watch {
 public:
  Watch()
      : handle_(at::addThreadLocalCallback(at::RecordFunctionCallback(&seen).scopes({at::RecordScope::FUNCTION}))) {}
  ~Watch() { at::removeCallback(handle_); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  at::CallbackHandle handle_;
};

// Some kernels in order, each with the number of workers that take part.
struct Region {
  const std::vector<std::shared_ptr<const Kernel>>& kernels;
  std::vector<int> counts;
  int team = 1;
};

void work(void* context, int worker) {
  const Region& r = *static_cast<const Region*>(context);
  size_t foreseen = 0;  // kernels before this one have been
  for (size_t i = 0; i < r.kernels.size(); ++i) {
    // Kernels of one worker that follow each other need no barrier between them.
    if (i > 0 && (r.counts[i - 1] > 1 || r.counts[i] > 1)) {
      for (bool found = foreseen > i; !found && foreseen < r.kernels.size(); ++foreseen)
        found = worker < r.counts[foreseen] && r.kernels[foreseen]->foresee(worker, r.counts[foreseen]);
      Pool::instance().barrier(worker, r.team);
    }
    if (worker < r.counts[i]) r.kernels[i]->run(worker, r.counts[i]);
  }
}

}  // namespace

Recording* recording() { return current; }

void Recording::add(std::shared_ptr<const Kernel> kernel) {
  if (stages_.empty()) stages_.emplace_back();
  stages_.back().kernels.push_back(std::move(kernel));
}

void Recording::add(std::function<void()> host) { stages_.push_back({std::move(host), {}}); }

void Recording::refuse(const std::string& what) {
  if (refused_.empty()) refused_ = what;
}

Graph::Graph(Arena memory, std::vector<Recording::Stage> stages)
    : memory_(std::move(memory)), stages_(std::move(stages)) {}

Result<Graph> Graph::capture(Arena& memory, const std::function<void()>& f) {
  check(!current, "one capture at a time on a thread");
  Recording r;
  {
    const Watch watch;
    const Arena::Use use(memory);
    current = &r;
    try {
      f();
    } catch (...) {
      current = nullptr;
      throw;
    }
    current = nullptr;
  }
  if (!r.refused_.empty())
    return failure(Code::kUnsupported, fmt::format("{} cannot be captured on a processor", r.refused_));
  return Graph(memory, std::move(r.stages_));
}

size_t Graph::kernels() const {
  size_t count = 0;
  for (const auto& s : stages_) count += s.kernels.size();
  return count;
}

void Graph::replay() const {
  for (const auto& stage : stages_) {
    if (stage.host) stage.host();
    Region region{stage.kernels, {}};
    region.counts.reserve(stage.kernels.size());
    int64_t total = 0;
    for (const auto& k : stage.kernels) {
      const int64_t some = k->work();
      region.counts.push_back(threads_for(some * kCheaper));
      region.team = std::max(region.team, region.counts.back());
      total += some;
    }
    if (region.team > 1 && Pool::instance().run(region.team, total > kWorthWaiting, work, &region)) continue;
    for (const auto& k : stage.kernels) k->run(0, 1);
  }
}

}  // namespace cairn::device
