// The threads that operations share: one team that runs a function together, with a barrier inside it.
// Waiting spins for some hundred microseconds, longer than the gaps between the operations of a step, and then sleeps.
// OpenMP's own teams spin for milliseconds, which on a machine that runs anything else costs more than all the work.
// Waking a sleeper can take milliseconds on a virtual machine, so small work does not wait for one.
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace cairn::device {

class Pool {
 public:
  // A function of (context, worker's index).
  using Job = void (*)(void* context, int worker);

  static Pool& instance();
  ~Pool();

  // Runs job(context, 0) here and job(context, 1 .. count - 1) on the team, and returns true when all are done. False,
  // with nothing run, when another thread has the team, or this thread is part of it, or a member sleeps and the caller
  // is not `patient` (it is woken for the next time): then the work is one thread's.
  bool run(int count, bool patient, Job job, void* context);

  // Inside a job of `count` workers: waits until all have come here.
  void barrier(int worker, int count);

 private:
  struct alignas(128) Line {
    std::atomic<uint32_t> value{0}, sleepers{0}, wakes{0};
  };
  Pool() = default;
  void resize(int count);
  void stop();
  void work(int worker, uint32_t seen);
  static void signal(Line& line);
  static void wake(Line& line);
  static uint32_t wait_past(Line& line, uint32_t seen);

  std::mutex owner_;
  Line job_;
  std::vector<Line> arrived_;  // one a worker, written by it alone
  Job function_ = nullptr;
  void* context_ = nullptr;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// How many threads an operation of this many multiply-adds, or comparable elementwise steps, is worth: this one alone
// when it is small or runs inside a parallel region of libtorch, else threads().
int threads_for(int64_t work);

// Work that is worth waiting for a sleeping thread: a millisecond or two of one core.
inline constexpr int64_t kWorthWaiting = 1 << 27;

}  // namespace cairn::device
