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
  signal(job_, job_.value.load() + 1);
  for (auto& t : threads_) t.join();
  threads_.clear();
  stopping_ = false;
}

void Pool::resize(int count) {
  stop();
  taken_ = std::vector<Line>(static_cast<size_t>(count));
  const uint64_t seen = job_.value.load();
  for (int i = 1; i < count; ++i) threads_.emplace_back([this, i, seen] { work(i, seen); });
}

void Pool::work(int worker, uint64_t seen) {
  in_team = true;
  bind_member(worker);
  for (;;) {
    seen = wait_past(job_, seen);
    if (stopping_) return;
    take_parts(worker, seen);
  }
}

void Pool::offer(int count, Job job, void* context) {
  std::unique_lock lock(owner_, std::defer_lock);
  if (in_team || !lock.try_lock()) {
    for (int part = 0; part < count; ++part) job(context, part);
    return;
  }
  if (static_cast<size_t>(count) != taken_.size()) resize(count);
  function_ = job;
  context_ = context;
  offered_ += static_cast<uint64_t>(count);
  const uint64_t serial = job_.value.load() + 1;
  signal(job_, serial);
  in_team = true;
  take_parts(0, serial);
  in_team = false;
  wait_past(finished_, offered_ - 1);
}

// A part that could be taken belongs to a job that is still under way, since that waits for all its parts: only then is
// it safe to look at the function. Whoever comes late finds all parts taken.
void Pool::take_parts(int first, uint64_t serial) {
  const int count = static_cast<int>(taken_.size());
  for (int i = 0; i < count; ++i) {
    const int part = (first + i) % count;
    std::atomic<uint64_t>& taken = taken_[static_cast<size_t>(part)].value;
    uint64_t last = taken.load();
    if (last >= serial || !taken.compare_exchange_strong(last, serial)) continue;
    function_(context_, part);
    finished_.value.fetch_add(1);
    if (finished_.sleepers.load() != 0) wake(finished_);
  }
}

// Both sides are sequentially consistent: either the sleeper sees the new value, or we see the sleeper.
void Pool::signal(Line& line, uint64_t value) {
  line.value.store(value);
  if (line.sleepers.load() != 0) wake(line);
}

// Sleepers get up, find nothing changed, and spin for a while again.
void Pool::wake(Line& line) {
  line.wakes.fetch_add(1);
  line.wakes.notify_all();
}

uint64_t Pool::wait_past(Line& line, uint64_t seen) {
  for (;;) {
    const auto start = std::chrono::steady_clock::now();
    for (int tries = 1; tries % 32 != 0 || std::chrono::steady_clock::now() - start < kSpin; ++tries) {
      if (const uint64_t v = line.value.load(std::memory_order_acquire); v > seen) return v;
      pause();
    }
    const uint32_t wakes = line.wakes.load();
    line.sleepers.fetch_add(1);
    if (line.value.load() <= seen) line.wakes.wait(wakes);
    line.sleepers.fetch_sub(1);
  }
}

int threads_for(int64_t work) {
  return work < kWorthSharing || at::in_parallel_region() ? 1 : static_cast<int>(threads());
}

}  // namespace cairn::device
