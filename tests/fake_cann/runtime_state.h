// The state behind the fake runtime: for its own files and the collectives. Operators need runtime.h only.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime.h"

namespace fake {
using Clock = std::chrono::steady_clock;
constexpr int32_t kMaxDevices = 16;

// The switches: FAKE_CANN_<KEY> in the environment when the library is loaded, then fake_cann_set().
struct Settings {
  bool sync = false;  // kernels run in the calling thread
  int32_t devices = 2;
  size_t memory_bytes = 0;  // of each device
  std::atomic<bool> trace{false}, strict{true}, hang_stream{false}, sticky{false}, throw_armed{false};
  std::atomic<bool> random_delay{false};
  std::atomic<int64_t> delay_us{0}, hang_ms{20000}, streams{0}, oom_after{0}, oom_times{0}, oom_over{0};
};
Settings& settings();

// A rule broken by a task of a stream, where no call is left to fail.
struct Violation : std::runtime_error {
  const char* rule;
  aclError code;
  Violation(const char* r, aclError c, const std::string& what) : std::runtime_error(what), rule(r), code(c) {}
};

aclError refuse();                     // not 0 while the device is to look dead (sticky=1)
void inject(const std::string& name);  // throws when it is this operator's turn to fail (throw_op)
bool oom(size_t bytes);                // this allocation is to fail (oom_after, oom_over)
int64_t rules_broken();

int32_t current_device();  // 0 in a thread that has set none, -1 is only seen by aclrtGetDevice

// Whether [ptr, ptr + size) lies in one live block of a device, or of pinned host memory.
bool on_device(const void* ptr, size_t size = 1);
bool pinned(const void* ptr, size_t size = 1);
int64_t used_bytes();

// Tasks that run and do not wait for another stream. A wait is only called a hang while there are none.
extern std::atomic<int> running_tasks;

struct Graph;
struct Group;

struct Stream {
  const int32_t id, device;
  const bool is_default;
  std::atomic<Graph*> capture{nullptr};
  Group* recording = nullptr;  // between TaskGrpBegin and TaskGrpEnd
  Group* updating = nullptr;   // between TaskUpdateBegin and TaskUpdateEnd
  size_t next_update = 0;
  uint64_t captured = 0;  // number of its tasks in the capture, and how many of those another stream waits for
  uint64_t joined = 0;
  std::atomic<bool> stop_on_failure{false};
  std::atomic<aclError> error{ACL_SUCCESS};  // of its tasks; stays, and is told by every synchronisation

  Stream(int32_t on_device, bool as_default);
  ~Stream();  // waits for its tasks
  // A kernel is skipped when the stream has failed and stops then; the rest (events, host functions) is always run.
  void push(Task task, bool kernel = false);
  void set_error(aclError code, const std::string& what);
  std::string error_text();
  bool done();
  bool wait(int64_t timeout_ms);  // -1: for ever; false after the timeout
  void drop();                    // forgets what has not begun

 private:
  struct Queued {
    Task task;
    bool kernel;
  };
  void loop();
  void run(const Queued& queued);
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<Queued> queue_;
  bool busy_ = false;
  std::atomic<bool> stop_{false};
  std::string error_text_;
  std::thread worker_;  // started by the first task: torch_npu makes 32 streams at a time and uses few
};
Stream* as_stream(aclrtStream handle);  // null: the default stream of the current device
// Like enqueue(), but never part of a task group.
aclError push(Stream* stream, const char* name, Task task, bool kernel = false);
aclError take_streams(int32_t device, int64_t count);  // against the limit of the device
void give_streams(int32_t device, int64_t count);
int64_t live_streams();   // of the current device, with those that graphs hold
aclError device_error();  // of the current device: a kernel that has failed takes its whole device with it
void forget_errors();

// Waits for what another stream or the host will do. Throws a Violation when that never comes: after hang_ms, when
// nothing runs that could bring it, or at the latest after five times that.
template <class Ready>
void await(std::condition_variable& changed, std::unique_lock<std::mutex>& lock, const char* what, Ready ready) {
  if (ready()) return;
  if (settings().sync) throw std::runtime_error("a stream waits for something later: needs FAKE_CANN_SYNC=0");
  --running_tasks;
  struct Back {
    ~Back() { ++running_tasks; }
  } back;
  const auto begin = Clock::now();
  while (!ready()) {
    const auto limit = std::chrono::milliseconds(settings().hang_ms);
    changed.wait_for(lock, std::min<Clock::duration>(limit, std::chrono::milliseconds(100)));
    const auto waited = Clock::now() - begin;
    if (!ready() && ((waited > limit && running_tasks == 0) || waited > 5 * limit))
      throw Violation("a stream waits for what never comes", ACL_ERROR_RT_WAIT_TIMEOUT, what);
  }
}

struct Node {
  const std::string name;
  Node(const char* n, Task t) : name(n), task_(std::make_shared<const Task>(std::move(t))) {}
  void set(Task task);
  void run();

 private:
  std::mutex mutex_;  // an update may swap the task while another replay runs
  std::shared_ptr<const Task> task_;
};

struct Group : std::enable_shared_from_this<Group> {
  std::vector<std::shared_ptr<Node>> nodes;
  std::atomic<uint64_t> updates{0}, seen{0};  // in all, and up to the last replay
};

struct Graph {
  const uint32_t id;
  const aclmdlRICaptureMode mode;
  Stream* const origin;
  const std::thread::id thread = std::this_thread::get_id();
  const int32_t device = origin->device;  // the stream may go before the graph
  std::vector<Stream*> members{};         // while it is captured; then their number counts
  std::vector<std::shared_ptr<Node>> nodes{};
  std::vector<std::shared_ptr<Group>> groups{};
  std::atomic<bool> invalid{false};
};
// For a call that waits on the host: fails where the mode of a capture under way forbids that, and invalidates it.
aclError forbidden_in_capture(const char* call, aclError code = ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT);
aclError add_node(Stream* stream, const char* name, Task task, Group* group);
Graph* live_capture(uint32_t id);  // null when that capture has ended
bool capturing();
int64_t live_events();
}  // namespace fake
