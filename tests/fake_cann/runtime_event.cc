// Events, and words of device memory that streams wait for (torch_npu's external events on CANN 8.5).
#include <algorithm>

#include "runtime_state.h"

namespace fake {
namespace {
std::atomic<int64_t> events{0};

// Counted: tasks hold it while they are queued, the handle until aclrtDestroyEvent.
struct Event : std::enable_shared_from_this<Event> {
  const uint32_t flags;
  const bool ex;  // made by aclrtCreateEventExWithFlag
  std::shared_ptr<Event> self;
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t issued = 0, completed = 0;
  bool flag = false;         // ACL_EVENT_EXTERNAL: set by record, cleared by reset
  uint32_t capture = 0;      // the capture that recorded it last, or 0
  Stream* stream = nullptr;  // in that capture
  uint64_t position = 0;     // number of the stream's tasks before it
  aclError error = ACL_SUCCESS;
  Clock::time_point when;

  Event(uint32_t f, bool e) : flags(f), ex(e) { ++events; }
  ~Event() { --events; }
  bool external() const { return flags & ACL_EVENT_EXTERNAL; }
  uint64_t next() {
    std::lock_guard lock(mutex);
    return ++issued;
  }
  uint64_t last() {
    std::lock_guard lock(mutex);
    return issued;
  }
  void complete(uint64_t n, aclError stream_error) {
    std::lock_guard lock(mutex);
    completed = std::max(completed, n);
    flag = true;
    error = stream_error;
    when = Clock::now();
    changed.notify_all();
  }
  void wait(uint64_t n) {
    std::unique_lock lock(mutex);
    await(changed, lock, external() ? "an external event that is not recorded" : "an event that is not recorded",
          [&] { return external() ? flag : completed >= n; });
  }
};
Event* as_event(aclrtEvent handle) { return static_cast<Event*>(handle); }

struct Words {
  std::mutex mutex;
  std::condition_variable changed;
};
Words& words() {
  static auto* all = new Words;  // never destroyed: streams may still wait when the process ends
  return *all;
}
aclError make(aclrtEvent* out, uint32_t flags, bool ex) {
  if (auto error = refuse()) return error;
  auto event = std::make_shared<Event>(flags, ex);
  event->self = event;
  return *out = event.get(), ACL_SUCCESS;
}
// Host calls on an event that was recorded into a capture: it has no state outside of it.
aclError check_captured(Event* event, const char* call) {
  if (!event->capture) return ACL_SUCCESS;
  if (auto* graph = live_capture(event->capture)) graph->invalid = true;
  return broken("a captured event is not waited for by the host", ACL_ERROR_RT_EVENT_CAPTURED, "%s", call);
}
aclError check_word(const void* address) {
  if (on_device(address, 8) && reinterpret_cast<uintptr_t>(address) % 8 == 0) return ACL_SUCCESS;
  // CANN, aclrtValueWait: 64 bits of device memory.
  return broken("values are waited for in device memory", ACL_ERROR_RT_PARAM_INVALID, "%p", address);
}
void check_live(const void* address) {
  if (!on_device(address, 8))
    throw Violation("memory is not freed before the tasks that use it", ACL_ERROR_RT_DEVICE_MEM_ERROR,
                    "the word of an external event");
}
}  // namespace

int64_t live_events() { return events; }
}  // namespace fake

using namespace fake;

extern "C" {
aclError aclrtCreateEventExWithFlag(aclrtEvent* e, uint32_t flags) { return make(e, flags, true); }
aclError aclrtCreateEventWithFlag(aclrtEvent* e, uint32_t flags) { return make(e, flags, false); }
aclError aclrtDestroyEvent(aclrtEvent e) { return as_event(e)->self.reset(), ACL_SUCCESS; }

aclError aclrtRecordEvent(aclrtEvent e, aclrtStream s) {
  if (auto error = refuse()) return error;
  auto event = as_event(e)->shared_from_this();
  auto* stream = as_stream(s);
  if (Graph* graph = stream->capture; graph && !event->external()) {
    event->capture = graph->id;
    event->stream = stream;
    event->position = stream->captured;
    return ACL_SUCCESS;
  }
  event->capture = 0;
  const uint64_t n = event->next();
  // A graph may outlive the stream that it was captured from, and is not that stream's work.
  const auto* worker = stream->capture ? nullptr : stream;
  return push(stream, "record", [=] { event->complete(n, worker ? worker->error.load() : ACL_SUCCESS); });
}

aclError aclrtStreamWaitEvent(aclrtStream s, aclrtEvent e) {
  if (auto error = refuse()) return error;
  auto event = as_event(e)->shared_from_this();
  auto* stream = as_stream(s);
  // CANN, aclrtCreateEventExWithFlag: without ACL_EVENT_SYNC an event cannot be used here.
  if (event->ex && !(event->flags & ACL_EVENT_SYNC))
    return broken("only events with ACL_EVENT_SYNC are waited for by streams", ACL_ERROR_RT_PARAM_INVALID, "flags %u",
                  event->flags);
  if (event->capture) {  // a fork or a join inside a capture: its list of tasks is in a valid order already
    Graph* graph = live_capture(event->capture);
    if (!graph) return check_captured(event.get(), "aclrtStreamWaitEvent after the capture");
    if (stream->is_default)
      return broken("the default stream rests during a capture", ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT,
                    "it waits for a captured event");
    if (!stream->capture) {
      if (auto error = take_streams(stream->device, 1)) return error;
      stream->capture = graph;
      stream->captured = stream->joined = 0;
      graph->members.push_back(stream);
    }
    if (event->stream != stream) event->stream->joined = std::max(event->stream->joined, event->position + 1);
    return ACL_SUCCESS;
  }
  const uint64_t n = event->last();
  // CANN, aclrtStreamWaitEvent: create, record, wait, in this order. Only a graph may wait for a later record.
  if (event->external() && n == 0 && !stream->capture)
    return broken("events are recorded before they are waited for", ACL_ERROR_RT_PARAM_INVALID, "an external event");
  return push(stream, "wait", [=] { event->wait(n); });
}

aclError aclrtResetEvent(aclrtEvent e, aclrtStream s) {
  if (auto error = refuse()) return error;
  auto event = as_event(e)->shared_from_this();
  if (event->ex)  // CANN, aclrtCreateEventExWithFlag
    return broken("events of aclrtCreateEventExWithFlag are not reset", ACL_ERROR_RT_PARAM_INVALID, "aclrtResetEvent");
  return push(as_stream(s), "reset", [=] {
    std::lock_guard lock(event->mutex);
    event->flag = false;
  });
}

aclError aclrtSynchronizeEvent(aclrtEvent e) {
  if (auto error = refuse()) return error;
  auto event = as_event(e)->shared_from_this();
  if (auto error = check_captured(event.get(), "aclrtSynchronizeEvent")) return error;
  std::unique_lock lock(event->mutex);
  event->changed.wait(lock, [&, n = event->issued] { return event->completed >= n; });
  return event->error ? fail(event->error, "the event's stream has failed") : ACL_SUCCESS;
}
aclError aclrtQueryEventStatus(aclrtEvent e, aclrtEventRecordedStatus* status) {
  if (auto error = refuse()) return error;
  if (auto error = check_captured(as_event(e), "aclrtQueryEventStatus")) return error;
  std::lock_guard lock(as_event(e)->mutex);
  *status = as_event(e)->completed >= as_event(e)->issued ? ACL_EVENT_RECORDED_STATUS_COMPLETE
                                                          : ACL_EVENT_RECORDED_STATUS_NOT_READY;
  return ACL_SUCCESS;
}
aclError aclrtQueryEventWaitStatus(aclrtEvent, aclrtEventWaitStatus* status) {
  return *status = ACL_EVENT_WAIT_STATUS_COMPLETE, ACL_SUCCESS;
}
aclError aclrtEventElapsedTime(float* ms, aclrtEvent a, aclrtEvent b) {
  for (auto* event : {as_event(a), as_event(b)})
    if (event->ex && !(event->flags & ACL_EVENT_TIME_LINE))  // CANN, aclrtCreateEventExWithFlag
      return fail(ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID, "an event without ACL_EVENT_TIME_LINE has no time");
  *ms = std::chrono::duration<float, std::milli>(as_event(b)->when - as_event(a)->when).count();
  return ACL_SUCCESS;
}
aclError aclrtEventGetTimestamp(aclrtEvent e, uint64_t* us) {
  const auto since = as_event(e)->when.time_since_epoch();
  return *us = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(since).count()), ACL_SUCCESS;
}

aclError aclrtValueWrite(void* address, uint64_t value, uint32_t, aclrtStream s) {
  if (auto error = refuse()) return error;
  if (auto error = check_word(address)) return error;
  return push(as_stream(s), "value_write", [=] {
    std::lock_guard lock(words().mutex);
    check_live(address);
    *static_cast<volatile uint64_t*>(address) = value;
    words().changed.notify_all();
  });
}
aclError aclrtValueWait(void* address, uint64_t value, uint32_t how, aclrtStream s) {
  if (auto error = refuse()) return error;
  if (auto error = check_word(address)) return error;
  return push(as_stream(s), "value_wait", [=] {
    std::unique_lock lock(words().mutex);
    await(words().changed, lock, "an external event that is not recorded", [=] {
      check_live(address);
      const uint64_t now = *static_cast<volatile uint64_t*>(address);
      switch (how) {
        case ACL_STREAM_WAIT_VALUE_GEQ:
          return static_cast<int64_t>(now - value) >= 0;
        case ACL_STREAM_WAIT_VALUE_EQ:
          return now == value;
        case ACL_STREAM_WAIT_VALUE_AND:
          return (now & value) != 0;
        default:
          return ~(now | value) != 0;
      }
    });
  });
}
}  // extern "C"
