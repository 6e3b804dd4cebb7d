// The threads that operations share: one team, whose members take parts of a job as they come. Waiting spins for some
// hundred microseconds, longer than the gaps between the operations of a step, and then sleeps. OpenMP's own teams spin
// for milliseconds, which on a machine that runs anything else costs more than all the work.
// Nobody waits for a member that has not begun: waking one can take milliseconds on a virtual machine, and one whose
// processor is busy with something else comes back as late.
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace cairn::device {

class Pool {
 public:
  // A function of (context, part).
  using Job = void (*)(void* context, int part);

  static Pool& instance();
  ~Pool();

  // Runs job(context, 0 .. count - 1) in any order on a team of `count`, this thread among them, and returns when all
  // are done. Parts are the members' own as long as they come for them in time: what a member leaves, others do. This
  // thread does all of them when another one has the team, or it is part of it. Parts must not wait for each other.
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
  Line job_;                 // its serial number
  Line finished_;            // parts, of all time
  std::vector<Line> taken_;  // one a part: the serial number of the last job whose part was taken
  Job function_ = nullptr;
  void* context_ = nullptr;
  uint64_t offered_ = 0;  // parts, of all time
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

// How many threads an operation of this many multiply-adds, or comparable elementwise steps, is worth: this one alone
// when it is small or runs inside a parallel region of libtorch, else threads().
int threads_for(int64_t work);

}  // namespace cairn::device
