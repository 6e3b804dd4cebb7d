#include "device/pool.h"

#include <ATen/Parallel.h>

#include <chrono>

#include "device/device.h"

namespace cairn::device {
namespace {

constexpr std::chrono::microseconds kSpin{300};
// Below this, one thread is faster than waking others.
constexpr int64_t kWorthSharing = 1 << 17;

thread_local bool in_team = false;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Pool& Pool::instance() {
  static Pool pool;
  return pool;
}

Pool::~Pool() { stop(); }

void Pool::stop() {
  stopping_ = true;
  signal(job_);
  for (auto& t : threads_) t.join();
  threads_.clear();
  stopping_ = false;
}

void Pool::resize(int count) {
  stop();
  arrived_ = std::vector<Line>(static_cast<size_t>(count));
  const uint32_t seen = job_.value.load();
  for (int i = 1; i < count; ++i) threads_.emplace_back([this, i, seen] { work(i, seen); });
}

void Pool::work(int worker, uint32_t seen) {
  in_team = true;
  const int count = static_cast<int>(arrived_.size());
  for (;;) {
    seen = wait_past(job_, seen);
    if (stopping_) return;
    function_(context_, worker);
    barrier(worker, count);
  }
}

bool Pool::run(int count, bool patient, Job job, void* context) {
  if (in_team) return false;
  const std::unique_lock lock(owner_, std::try_to_lock);
  if (!lock) return false;
  if (static_cast<size_t>(count) != arrived_.size()) resize(count);
  if (!patient && job_.sleepers.load() != 0) {
    wake(job_);
    return false;
  }
  function_ = job;
  context_ = context;
  signal(job_);
  in_team = true;
  job(context, 0);
  in_team = false;
  barrier(0, count);
  return true;
}

// Each worker announces its own arrival on its own cache line and reads the others': no counter bounces between cores.
void Pool::barrier(int worker, int count) {
  Line& mine = arrived_[static_cast<size_t>(worker)];
  const uint32_t epoch = mine.value.load(std::memory_order_relaxed);
  signal(mine);
  for (int i = 0; i < count; ++i)
    if (i != worker) wait_past(arrived_[static_cast<size_t>(i)], epoch);
}

// Both sides are sequentially consistent: either the sleeper sees the new value, or we see the sleeper.
void Pool::signal(Line& line) {
  line.value.fetch_add(1);
  if (line.sleepers.load() != 0) wake(line);
}

// Sleepers get up, find nothing changed, and spin for a while again.
void Pool::wake(Line& line) {
  line.wakes.fetch_add(1);
  line.wakes.notify_all();
}

uint32_t Pool::wait_past(Line& line, uint32_t seen) {
  const auto behind = [&](uint32_t v) { return static_cast<int32_t>(v - seen) <= 0; };  // counters may wrap
  for (;;) {
    const auto start = std::chrono::steady_clock::now();
    for (int tries = 1; tries % 32 != 0 || std::chrono::steady_clock::now() - start < kSpin; ++tries) {
      if (const uint32_t v = line.value.load(std::memory_order_acquire); !behind(v)) return v;
      pause();
    }
    const uint32_t wakes = line.wakes.load();
    line.sleepers.fetch_add(1);
    if (behind(line.value.load())) line.wakes.wait(wakes);
    line.sleepers.fetch_sub(1);
  }
}

int threads_for(int64_t work) {
  return work < kWorthSharing || at::in_parallel_region() ? 1 : static_cast<int>(threads());
}

}  // namespace cairn::device
