// One parallel region per operation, on the team of device/pool.h.
#pragma once
#include <type_traits>

#include "device/graph.h"
#include "device/pool.h"
#include "ops/cpu/kernels.h"

namespace cairn::ops::cpu {

// Calls f(worker) for as many workers as `work` is worth threads, which do not wait for each other. f must not throw.
// No graph can hold it: see launch().
template <class F>
void share(int64_t work, F&& f) {
  if (device::Recording* r = device::recording()) r->refuse("an operation without a recorded form");
  const int count = device::threads_for(work);
  if (count == 1) return f(Worker{0, 1});
  struct Context {
    std::remove_reference_t<F>& f;
    int count;
  } context{f, count};
  const auto part = [](void* c, int index) {
    const auto& shared = *static_cast<Context*>(c);
    shared.f(Worker{index, shared.count});
  };
  device::Pool::instance().offer(count, part, &context);
}

// The same for a struct with work() and operator()(Worker) const, which `fill` completes in place; a graph that is
// being captured keeps it. Of memory it may hold plain pointers: a graph's tensors and weights outlive it.
template <class Call, class Fill>
void launch(Fill&& fill) {
  class Kept final : public device::Kernel {
   public:
    int64_t work() const override { return call.work(); }
    void run(int part, int count) const override { call(Worker{part, count}); }
    Call call;
  };
  if (device::Recording* r = device::recording()) {
    auto kept = std::make_shared<Kept>();
    fill(kept->call);
    device::run(*kept, device::threads_for(kept->work()));
    r->add(std::move(kept));
  } else {
    Kept now;
    fill(now.call);
    device::run(now, device::threads_for(now.work()));
  }
}

}  // namespace cairn::ops::cpu
