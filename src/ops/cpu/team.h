// One parallel region per operation, on the team of device/pool.h.
#pragma once
#include "device/graph.h"
#include "device/pool.h"
#include "ops/cpu/kernels.h"

namespace cairn::ops::cpu {

template <class F>
void spread(int64_t work, F& f) {
  const int count = device::threads_for(work);
  struct Context {
    F& f;
    int count;
  } context{f, count};
  const auto job = [](void* c, int worker) {
    const auto& shared = *static_cast<Context*>(c);
    shared.f(Worker{worker, shared.count});
  };
  if (count == 1 || !device::Pool::instance().run(count, work > device::kWorthWaiting, job, &context)) f(Worker{0, 1});
}

// Calls f(worker) on as many threads as `work` is worth, or on this one alone when the team is taken (several requests
// at once). f must not throw. No graph can hold it: see launch().
template <class F>
void share(int64_t work, F&& f) {
  if (device::Recording* r = device::recording()) r->refuse("an operation without a recorded form");
  spread(work, f);
}

// The same for a struct with work() and operator()(Worker) const, which `fill` completes in place; a graph that is
// being captured keeps it. Of memory it may hold plain pointers: a graph's tensors and weights outlive it.
template <class Call, class Fill>
void launch(Fill&& fill) {
  device::Recording* r = device::recording();
  if (!r) {
    Call call;
    fill(call);
    return spread(call.work(), call);
  }
  class Kept final : public device::Kernel {
   public:
    int64_t work() const override { return call.work(); }
    void run(int worker, int count) const override { call(Worker{worker, count}); }
    bool foresee(int worker, int count) const override {
      if constexpr (requires { call.foresee(Worker{worker, count}); })
        return call.foresee(Worker{worker, count});
      else
        return false;
    }
    Call call;
  };
  auto kept = std::make_shared<Kept>();
  fill(kept->call);
  spread(kept->work(), kept->call);
  r->add(std::move(kept));
}

// Inside f: waits until every worker has come here.
inline void barrier(Worker w) {
  if (w.count > 1) device::Pool::instance().barrier(w.id, w.count);
}

}  // namespace cairn::ops::cpu
