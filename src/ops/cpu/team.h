// One parallel region per operation, on the team of pool.h.
#pragma once
#include <ATen/Parallel.h>

#include <type_traits>

#include "ops/cpu/kernels.h"
#include "ops/cpu/pool.h"

namespace cairn::ops::cpu {

// Multiply-adds, or a comparable amount of elementwise work, below which one thread is faster than waking others.
inline constexpr int64_t kWorthSharing = 1 << 17;

// Calls f(worker) on at::get_num_threads() threads, or on this one alone when the work is small or the team is taken
// (several requests at once, or inside a parallel region of libtorch). f must not throw.
template <class F>
void share(int64_t work, F&& f) {
  const int count = work < kWorthSharing || at::in_parallel_region() ? 1 : at::get_num_threads();
  struct Context {
    std::remove_reference_t<F>& f;
    int count;
  } context{f, count};
  const auto job = [](void* c, int worker) {
    const auto& shared = *static_cast<Context*>(c);
    shared.f(Worker{worker, shared.count});
  };
  if (count == 1 || !Pool::instance().run(count, job, &context)) f(Worker{0, 1});
}

// Inside f: waits until every worker has come here.
inline void barrier(Worker w) {
  if (w.count > 1) Pool::instance().barrier(w.id, w.count);
}

}  // namespace cairn::ops::cpu
