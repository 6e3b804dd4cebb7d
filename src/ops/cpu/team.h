// One parallel region per operation, on the OpenMP pool that libtorch uses too.
#pragma once
#include <ATen/Parallel.h>
#include <omp.h>

#include "ops/cpu/kernels.h"

namespace cairn::ops::cpu {

// Multiply-adds, or a comparable amount of elementwise work, below which one thread is faster than waking others.
inline constexpr int64_t kWorthSharing = 1 << 17;

// Calls f(worker) on at::get_num_threads() threads, or on this one alone when the work is small. f must not throw.
template <class F>
void share(int64_t work, F&& f) {
  const int threads = work < kWorthSharing || omp_in_parallel() ? 1 : at::get_num_threads();
  if (threads == 1) return f(Worker{0, 1});
#pragma omp parallel num_threads(threads)
  f(Worker{omp_get_thread_num(), omp_get_num_threads()});
}

}  // namespace cairn::ops::cpu
