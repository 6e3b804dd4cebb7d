#include "device/graph.h"

#include <ATen/record_function.h>
#if __has_include(<ATen/accelerator/Graph.h>)
#include <ATen/accelerator/Graph.h>
#endif
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "device/cuda_graph.h"
#include "device/npu_updates.h"
#include "device/pool.h"

namespace cairn::device {
namespace {

thread_local Recording* current = nullptr;
thread_local NpuUpdates* updates = nullptr;  // of the capture under way

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

// While one lives, updatable() notes what it is given.
class Updating {
 public:
  explicit Updating(NpuUpdates* to) { updates = to; }
  ~Updating() { updates = nullptr; }
  Updating(const Updating&) = delete;
  Updating& operator=(const Updating&) = delete;
};

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

void updatable(std::function<void()> issue) { updates ? updates->capture(std::move(issue)) : issue(); }

void Recording::refuse(const std::string& what) {
  if (refused_.empty()) refused_ = what;
}

Result<Graph> Graph::capture_kernels(GraphMemory& memory, const std::function<void()>& f) {
  check(!current, "one capture at a time on a thread");
  Recording r;
  {
    const Watch watch;
    const Arena::Use use(memory.arena_);
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
  return Graph(std::move(r.kernels_));
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

#if __has_include(<ATen/accelerator/Graph.h>)
struct DeviceGraph : at::accelerator::Graph {
  explicit DeviceGraph(c10::Device) {}
  // What other threads do is none of its business.
  void capture_begin(c10::MempoolId_t pool) { Graph::capture_begin(pool, at::GraphCaptureMode::ThreadLocal); }
};
#else
using DeviceGraph = CudaGraph;
#endif

struct Graph::Captured {
  explicit Captured(c10::Device on) : device(on), graph(on), updated(on) {}
  c10::Device device;
  DeviceGraph graph;
  NpuUpdates updated;
  std::optional<c10::Event> replayed;  // the last replay: its arguments must not change before it is over

  void replay() {
    if (updated.empty()) return graph.replay();
    if (replayed) replayed->synchronize();
    graph.replay();
    updated.issue();
    const c10::impl::VirtualGuardImpl guard(device.type());
    if (!replayed) replayed.emplace(device.type());
    replayed->record(guard.getStream(device));
  }
};

Result<Graph> Graph::capture(GraphMemory& memory, const std::function<void()>& f) {
  if (memory.device_.is_cpu()) return capture_kernels(memory, f);
  const auto why = [](const std::exception& e) {
    const auto error = tensor_error(e);
    return std::string("the device does not capture it: ") + (error ? error->what : e.what());
  };
  try {
    const auto captured = std::make_shared<Captured>(memory.device_);
    captured->graph.capture_begin(memory.pool_);
    try {
      const Updating updating(memory.device_.is_privateuseone() ? &captured->updated : nullptr);
      f();
    } catch (const std::exception& e) {
      const std::string reason = why(e);
      try {
        captured->graph.capture_end();  // the stream must leave capture mode, whatever became of the graph
      } catch (const std::exception&) {}
      return failure(Code::kUnsupported, reason);
    }
    captured->graph.capture_end();
    memory.pool_ = captured->graph.pool();
    return Graph(captured);
  } catch (const std::exception& e) { return failure(Code::kUnsupported, why(e)); }
}

void Graph::replay() const {
  if (captured_) return captured_->replay();
  for (const auto& kernel : kernels_) run(*kernel, threads_for(kernel->work() * kCheaper));
}

}  // namespace cairn::device
