// A few threads for what takes too long on a thread that reads sockets: templates, tokenizing, grammars, pictures.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace cairn::serve {

class Workers {
 public:
  Workers(int threads, size_t most_queued);
  ~Workers() { stop(); }

  // Finishes what runs, drops what waits, and takes nothing any more. Once; not on a worker.
  void stop();

  // Runs `job` soon. False when too much is waiting already. Whatever a job throws ends it alone.
  bool post(std::function<void()> job);

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  const size_t most_queued_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace cairn::serve
