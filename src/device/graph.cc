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

// The team is awake in a replay, so smaller kernels are worth sharing.
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

void run(const Kernel& kernel, int count) {
  if (count == 1) return kernel.run(0, 1);
  struct Context {
    const Kernel& kernel;
    int count;
  } context{kernel, count};
  const auto part = [](void* c, int index) {
    const auto& shared = *static_cast<Context*>(c);
    shared.kernel.run(index, shared.count);
  };
  Pool::instance().offer(count, part, &context);
}

void Graph::replay() const {
  for (const auto& stage : stages_) {
    if (stage.host) stage.host();
    for (const auto& kernel : stage.kernels) run(*kernel, threads_for(kernel->work() * kCheaper));
  }
}

}  // namespace cairn::device
