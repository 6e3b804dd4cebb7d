// One parallel region per operation, on the team of pool.h.
#pragma once
#include <type_traits>

#include "ops/cpu/kernels.h"
#include "ops/cpu/pool.h"

namespace cairn::ops::cpu {

// How many threads an operation of this many multiply-adds, or comparable elementwise steps, is worth: this one alone
// when it is small or runs inside a parallel region of libtorch, else device::threads().
int threads_for(int64_t work);

// Work that is worth waiting for a sleeping thread: a millisecond or two of one core.
inline constexpr int64_t kWorthWaiting = 1 << 27;

// Calls f(worker) on as many threads, or on this one alone when the team is taken (several requests at once). f must
// not throw.
template <class F>
void share(int64_t work, F&& f) {
  const int count = threads_for(work);
  struct Context {
    std::remove_reference_t<F>& f;
    int count;
  } context{f, count};
  const auto job = [](void* c, int worker) {
    const auto& shared = *static_cast<Context*>(c);
    shared.f(Worker{worker, shared.count});
  };
  if (count == 1 || !Pool::instance().run(count, work > kWorthWaiting, job, &context)) f(Worker{0, 1});
}

// Inside f: waits until every worker has come here.
inline void barrier(Worker w) {
  if (w.count > 1) Pool::instance().barrier(w.id, w.count);
}

}  // namespace cairn::ops::cpu
