// A stream is a worker thread with a queue, or the calling thread with FAKE_CANN_SYNC=1.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>

#include "runtime_state.h"

namespace fake {
std::atomic<int> running_tasks{0};

namespace {
struct Streams {
  std::mutex mutex;
  std::map<Stream*, std::shared_ptr<Stream>> made;
  std::array<std::atomic<Stream*>, kMaxDevices> defaults{};
  std::array<std::atomic<aclError>, kMaxDevices> device_error{};
  // Two exist before the first is made: the default stream and one for internal synchronisation (aclrtCreateStream).
  std::array<int64_t, kMaxDevices> taken;
  Streams() { taken.fill(2); }
};
Streams& streams() {
  static auto* all = new Streams;  // never destroyed: its threads may still run when the process ends
  return *all;
}
std::atomic<int32_t> next_id{1};

// CANN's aclrtCreateStream: 1984 streams on Atlas A2 and A3, 1024 on Atlas inference products (Ascend310P).
int64_t stream_limit() {
  if (settings().streams > 0) return settings().streams;
  return is_310p() ? 1024 : 1984;
}

void delay() {
  int64_t us = settings().delay_us;
  if (us <= 0) return;
  if (settings().random_delay) {
    static thread_local std::minstd_rand random(std::random_device{}());
    us = std::uniform_int_distribution<int64_t>(0, us)(random);
  }
  std::this_thread::sleep_for(std::chrono::microseconds(us));
}

// All streams of a device that have ever had a task.
std::vector<std::shared_ptr<Stream>> streams_of(int32_t device) {
  auto& all = streams();
  std::lock_guard lock(all.mutex);
  std::vector<std::shared_ptr<Stream>> found;
  for (const auto& [handle, stream] : all.made)
    if (stream->device == device) found.push_back(stream);
  return found;
}
}  // namespace

Stream::Stream(int32_t on_device, bool as_default) : id(next_id++), device(on_device), is_default(as_default) {}
Stream::~Stream() {
  if (!worker_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  worker_.join();
}
void Stream::set_error(aclError code, const std::string& what) {
  std::lock_guard lock(mutex_);
  if (error) return;  // the first one is the cause
  error_text_ = what;
  error = code;
}
std::string Stream::error_text() {
  std::lock_guard lock(mutex_);
  return error_text_;
}
void Stream::run(const Queued& queued) {
  if (queued.kernel && stop_on_failure && error) return;
  delay();
  while (settings().hang_stream && !stop_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ++running_tasks;
  try {
    queued.task();
  } catch (const Violation& e) {
    broken(e.rule, e.code, "%s", e.what());
    if (settings().strict) set_error(e.code, std::string("rule: ") + e.rule + ": " + e.what());
  } catch (const std::exception& e) {
    streams().device_error[static_cast<size_t>(device)] = ACL_ERROR_RT_AICORE_EXCEPTION;
    set_error(ACL_ERROR_RT_AICORE_EXCEPTION, std::string("kernel failed: ") + e.what());
  }
  --running_tasks;
}
void Stream::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Queued queued = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    lock.unlock();
    run(queued);
    queued.task = nullptr;  // what it holds goes before the stream is called idle
    lock.lock();
    busy_ = false;
    if (queue_.empty()) idle_.notify_all();
  }
}
void Stream::push(Task task, bool kernel) {
  if (settings().sync) return run({std::move(task), kernel});
  {
    std::lock_guard lock(mutex_);
    if (!worker_.joinable()) worker_ = std::thread([this] { loop(); });
    queue_.push_back({std::move(task), kernel});
  }
  wake_.notify_one();
}
void Stream::drop() {
  std::lock_guard lock(mutex_);
  queue_.clear();
}
bool Stream::done() {
  std::lock_guard lock(mutex_);
  return queue_.empty() && !busy_;
}
bool Stream::wait(int64_t timeout_ms) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return queue_.empty() && !busy_; };
  if (timeout_ms >= 0) return idle_.wait_for(lock, std::chrono::milliseconds(timeout_ms), ready);
  idle_.wait(lock, ready);
  return true;
}

Stream* as_stream(aclrtStream handle) {
  if (handle) return static_cast<Stream*>(handle);
  auto& slot = streams().defaults[static_cast<size_t>(current_device())];
  if (!slot) {
    std::lock_guard lock(streams().mutex);
    if (!slot) {
      auto made = std::make_shared<Stream>(current_device(), true);
      slot = made.get();
      streams().made[slot] = std::move(made);
    }
  }
  return slot;
}
aclError take_streams(int32_t device, int64_t count) {
  auto& all = streams();
  std::lock_guard lock(all.mutex);
  auto& taken = all.taken[static_cast<size_t>(device)];
  if (taken + count > stream_limit())
    return broken("a device has only so many streams", ACL_ERROR_RT_NO_STREAM_RESOURCE,
                  "all %lld are in use; captured graphs hold some, too", static_cast<long long>(stream_limit()));
  taken += count;
  return ACL_SUCCESS;
}
void give_streams(int32_t device, int64_t count) {
  std::lock_guard lock(streams().mutex);
  streams().taken[static_cast<size_t>(device)] -= count;
}
int64_t live_streams() {
  std::lock_guard lock(streams().mutex);
  return streams().taken[static_cast<size_t>(current_device())] - 2;
}
aclError device_error() {
  const aclError error = streams().device_error[static_cast<size_t>(current_device())];
  return error ? fail(error, "a kernel has failed on this device") : ACL_SUCCESS;
}
void forget_errors() {
  std::lock_guard lock(streams().mutex);
  for (const auto& [handle, stream] : streams().made) stream->error = ACL_SUCCESS;
  for (auto& error : streams().device_error) error = ACL_SUCCESS;
}

aclError push(Stream* s, const char* name, Task task, bool kernel) {
  if (s->is_default && capturing())  // CANN, "Building a Model Running Instance Based on the Capture Mode"
    return broken("the default stream rests during a capture", ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT, "%s", name);
  if (s->capture) return add_node(s, name, std::move(task), nullptr);
  return s->push(std::move(task), kernel), ACL_SUCCESS;
}

aclError enqueue(aclrtStream handle, const char* name, Task task) {
  if (auto error = refuse()) return error;
  Stream* s = as_stream(handle);
  if (settings().trace)
    std::fprintf(stderr, "[fake CANN] stream %d %s %s\n", s->id,
                 s->updating  ? "update"
                 : s->capture ? "capture"
                              : "launch",
                 name);
  if (s->updating) {
    if (s->next_update >= s->updating->nodes.size())
      return broken("an update has its group's tasks", ACL_ERROR_RT_MODEL_UPDATE_FAILED, "%s is one too many", name);
    auto node = s->updating->nodes[s->next_update++];
    if (node->name != name)
      return broken("an update has its group's tasks", ACL_ERROR_RT_MODEL_UPDATE_FAILED, "%s in the place of %s", name,
                    node->name.c_str());
    return s->push([node, task = std::move(task)]() mutable { node->set(std::move(task)); }), ACL_SUCCESS;
  }
  if (s->capture) return add_node(s, name, std::move(task), s->recording);
  // aclrtSetStreamFailureMode: after a failure a stream that stops takes no more tasks and runs none. torch_npu makes
  // all its streams so (AclInterface.cpp).
  if (s->stop_on_failure && s->error) return fail(s->error, "%s", s->error_text().c_str());
  if (settings().throw_armed)
    task = [name = std::string(name), task = std::move(task)] {
      inject(name);
      task();
    };
  return push(s, name, std::move(task), /*kernel=*/true);
}

namespace {
aclError synchronized(Stream* s, int64_t timeout_ms) {
  if (auto error = refuse()) return error;
  if (Graph* graph = s->capture) {  // CANN: a stream in the capture state cannot be synchronised
    graph->invalid = true;
    return broken("a capture is not synchronised", ACL_ERROR_RT_STREAM_CAPTURED, "synchronize of a capturing stream");
  }
  if (!s->wait(timeout_ms))
    return fail(ACL_ERROR_RT_STREAM_SYNC_TIMEOUT, "stream %d has not finished after %lld ms", s->id,
                static_cast<long long>(timeout_ms));
  return s->error ? fail(s->error, "%s", s->error_text().c_str()) : device_error();
}
}  // namespace
}  // namespace fake

using namespace fake;

extern "C" {
aclError aclrtCreateStreamWithConfig(aclrtStream* out, uint32_t, uint32_t) {
  if (auto error = refuse()) return error;
  const int32_t device = current_device();
  if (auto error = take_streams(device, 1)) return error;
  auto stream = std::make_shared<Stream>(device, false);
  *out = stream.get();
  std::lock_guard lock(streams().mutex);
  streams().made[stream.get()] = std::move(stream);
  return ACL_SUCCESS;
}
aclError aclrtCreateStream(aclrtStream* s) { return aclrtCreateStreamWithConfig(s, 0, 0); }
aclError aclrtDestroyStream(aclrtStream s) {
  std::shared_ptr<Stream> stream;  // goes after the lock: it waits for its tasks
  {
    std::lock_guard lock(streams().mutex);
    auto it = streams().made.find(static_cast<Stream*>(s));
    if (it == streams().made.end()) return fail(ACL_ERROR_RT_PARAM_INVALID, "destroy of an unknown stream");
    stream = std::move(it->second);
    streams().made.erase(it);
    streams().taken[static_cast<size_t>(stream->device)]--;
  }
  if (Graph* graph = stream->capture) {
    std::erase(graph->members, stream.get());
    graph->invalid = true;
    give_streams(stream->device, 1);
  }
  return ACL_SUCCESS;
}
aclError aclrtDestroyStreamForce(aclrtStream s) {
  static_cast<Stream*>(s)->drop();
  return aclrtDestroyStream(s);
}
aclError aclrtStreamGetId(aclrtStream s, int32_t* id) { return *id = as_stream(s)->id, ACL_SUCCESS; }
aclError aclrtSetStreamOverflowSwitch(aclrtStream, uint32_t) { return ACL_SUCCESS; }
aclError aclrtSetStreamFailureMode(aclrtStream s, uint64_t mode) {
  return as_stream(s)->stop_on_failure = mode == ACL_STOP_ON_FAILURE, ACL_SUCCESS;
}
aclError aclrtSetStreamAttribute(aclrtStream, aclrtStreamAttr, aclrtStreamAttrValue*) { return ACL_SUCCESS; }
aclError aclrtStreamQuery(aclrtStream s, aclrtStreamStatus* status) {
  if (auto error = refuse()) return error;
  auto* stream = as_stream(s);
  *status = stream->done() ? ACL_STREAM_STATUS_COMPLETE : ACL_STREAM_STATUS_NOT_READY;
  return stream->error ? fail(stream->error, "%s", stream->error_text().c_str()) : ACL_SUCCESS;
}
aclError aclrtSynchronizeStream(aclrtStream s) { return synchronized(as_stream(s), -1); }
aclError aclrtSynchronizeStreamWithTimeout(aclrtStream s, int32_t ms) { return synchronized(as_stream(s), ms); }
aclError aclrtSynchronizeDeviceWithTimeout(int32_t ms) {
  if (auto error = refuse()) return error;
  if (auto error = forbidden_in_capture("aclrtSynchronizeDevice")) return error;
  const auto end = Clock::now() + std::chrono::milliseconds(ms);
  aclError first = ACL_SUCCESS;
  for (const auto& s : streams_of(current_device())) {
    if (s->capture) continue;  // of a capture in the mode RELAXED; it has nothing under way
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    const auto error = synchronized(s.get(), ms < 0 ? -1 : std::max<int64_t>(left, 0));
    if (!first) first = error;
  }
  return first;
}
aclError aclrtSynchronizeDevice() { return aclrtSynchronizeDeviceWithTimeout(-1); }
aclError aclrtLaunchHostFunc(aclrtStream s, aclrtHostFunc function, void* argument) {
  if (auto error = refuse()) return error;
  return push(as_stream(s), "host_func", [=] { function(argument); });
}
aclError aclrtLaunchCallback(aclrtCallback function, void* argument, aclrtCallbackBlockType, aclrtStream s) {
  if (auto error = refuse()) return error;
  return push(as_stream(s), "callback", [=] { function(argument); });
}
aclError aclrtSubscribeReport(uint64_t, aclrtStream) { return ACL_SUCCESS; }
aclError aclrtUnSubscribeReport(uint64_t, aclrtStream) { return ACL_SUCCESS; }
}  // extern "C"
