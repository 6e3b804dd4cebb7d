// The threads that operations share: one team, whose members run a function together, or take parts of it as they come.
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
  // A function of (context, worker's or part's index).
  using Job = void (*)(void* context, int index);

  static Pool& instance();
  ~Pool();

  // Runs job(context, 0) here and job(context, 1 .. count - 1) on the team, and returns true when all are done. False,
  // with nothing run, when another thread has the team, or this thread is part of it, or a member sleeps and the caller
  // is not `patient` (it is woken for the next time): then the work is one thread's.
  bool run(int count, bool patient, Job job, void* context);

  // Inside a job of run(): waits until all `count` workers have come here.
  void barrier(int worker, int count);

  // Runs job(context, 0 .. count - 1) in any order on a team of `count`, this thread among them, and returns when all
  // are done. Parts are the members' own as long as they come for them in time: what a member leaves, since it sleeps
  // or its processor is busy with something else, others do. Parts must not wait for each other.
  void offer(int count, Job job, void* context);

 private:
  struct alignas(128) Line {
    std::atomic<uint64_t> value{0};
    std::atomic<uint32_t> sleepers{0}, wakes{0};
  };
  Pool() = default;
  void resize(int count);
  void stop();
  void work(int worker, uint64_t seen);
  void take_parts(int first, uint64_t serial);
  static void signal(Line& line, uint64_t value);
  static void wake(Line& line);
  static uint64_t wait_past(Line& line, uint64_t seen);

  std::mutex owner_;
  Line job_;                   // a serial number; its lowest bit says that the job is offered, not run together
  Line finished_;              // parts of offered jobs, of all time
  std::vector<Line> arrived_;  // one a worker, written by it alone
  std::vector<Line> taken_;    // one a part: the serial number of the last job whose part was taken
  Job function_ = nullptr;
  void* context_ = nullptr;
  uint64_t offered_ = 0;  // parts, of all time
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// How many threads an operation of this many multiply-adds, or comparable elementwise steps, is worth: this one alone
// when it is small or runs inside a parallel region of libtorch, else threads().
int threads_for(int64_t work);

// Work that is worth waiting for a sleeping thread: a millisecond or two of one core.
inline constexpr int64_t kWorthWaiting = 1 << 27;

}  // namespace cairn::device
