#include "device/npu_updates.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <fmt/core.h>

#include "device/accelerator.h"

namespace cairn::device {
namespace {

constexpr int64_t kMostGroups = 1024, kWord = 8;       // a cache line each
constexpr uint32_t kExternalEvent = 0x20, kEqual = 1;  // ACL_EVENT_EXTERNAL, ACL_STREAM_WAIT_VALUE_EQ

template <class F>
F function(const char* name) {
  static void* const library = ::dlopen("libascendcl.so", RTLD_NOW | RTLD_NOLOAD);
  return reinterpret_cast<F>(library ? ::dlsym(library, name) : nullptr);
}

void must(int code, const char* what) {
  if (code != 0) throw Failure(Error{Code::kUnavailable, fmt::format("{} failed with ACL error {}", what, code)});
}

// The handle of ACL; what torch_npu still has in its queue for the device goes out first.
void* current_stream(c10::Device device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  return guard.getStreamNativeHandle(guard.getStream(device));
}

}  // namespace

// What the library has of it; the second way to wait is the older one.
struct NpuUpdates::Acl {
  using OfStream = int (*)(void* stream);
  OfStream group_begin = function<OfStream>("aclmdlRICaptureTaskGrpBegin");
  int (*group_end)(void*, void**) = function<int (*)(void*, void**)>("aclmdlRICaptureTaskGrpEnd");
  int (*update_begin)(void*, void*) = function<int (*)(void*, void*)>("aclmdlRICaptureTaskUpdateBegin");
  OfStream update_end = function<OfStream>("aclmdlRICaptureTaskUpdateEnd");
  using OnValue = int (*)(void*, uint64_t, uint32_t, void*);
  OnValue value_wait = function<OnValue>("aclrtValueWait"), value_write = function<OnValue>("aclrtValueWrite");
  int (*event_create)(void**, uint32_t) = function<int (*)(void**, uint32_t)>("aclrtCreateEventExWithFlag");
  int (*event_destroy)(void*) = function<int (*)(void*)>("aclrtDestroyEvent");
  using OfEvent = int (*)(void*, void*);
  OfEvent event_record = function<OfEvent>("aclrtRecordEvent"), event_reset = function<OfEvent>("aclrtResetEvent");
  OfEvent stream_wait = function<OfEvent>("aclrtStreamWaitEvent");

  bool has_groups() const { return group_begin && group_end && update_begin && update_end; }
  bool has_values() const { return value_wait && value_write; }
  bool has_events() const { return event_create && event_destroy && event_record && event_reset && stream_wait; }
};

const NpuUpdates::Acl& NpuUpdates::acl() {
  static const Acl a;
  return a;
}

struct NpuUpdates::Group {
  std::function<void()> issue;
  void* handle = nullptr;
  void* event = nullptr;  // the older way
  void* word = nullptr;   // of device memory; 1 lets a replay past
};

NpuUpdates::NpuUpdates(c10::Device device) : device_(device), stream_(device) {
  if (!device.is_privateuseone() || !acl().has_values()) return;
  words_ = zeros({kMostGroups, kWord}, Dtype::Long, device);
  synchronize(device);
}

NpuUpdates::~NpuUpdates() {
  for (const Group& g : groups_)
    if (g.event) acl().event_destroy(g.event);
}

void NpuUpdates::capture(std::function<void()> issue) {
  const Acl& a = acl();
  if (!a.has_groups() || !(a.has_values() || a.has_events()))
    throw Failure(Error{Code::kUnsupported, "this CANN cannot change a captured graph's arguments"});
  Group g{std::move(issue)};
  void* stream = current_stream(device_);
  if (a.has_values()) {
    if (static_cast<int64_t>(groups_.size()) == kMostGroups)
      throw Failure(Error{Code::kUnsupported, fmt::format("a graph with more than {} attentions", kMostGroups)});
    g.word = static_cast<int64_t*>(words_.mutable_data_ptr()) + static_cast<int64_t>(groups_.size()) * kWord;
    must(a.value_wait(g.word, 1, kEqual, stream), "aclrtValueWait");
    must(a.value_write(g.word, 0, 0, stream), "aclrtValueWrite");
  } else {
    must(a.event_create(&g.event, kExternalEvent), "aclrtCreateEventExWithFlag");
    must(a.stream_wait(stream, g.event), "aclrtStreamWaitEvent");
    must(a.event_reset(g.event, stream), "aclrtResetEvent");
  }
  must(a.group_begin(stream), "aclmdlRICaptureTaskGrpBegin");
  g.issue();
  must(a.group_end(current_stream(device_), &g.handle), "aclmdlRICaptureTaskGrpEnd");
  groups_.push_back(std::move(g));
}

void NpuUpdates::issue() {
  const Acl& a = acl();
  const Stream::Use use(stream_);
  for (const Group& g : groups_) {
    void* stream = current_stream(device_);
    must(a.update_begin(stream, g.handle), "aclmdlRICaptureTaskUpdateBegin");
    g.issue();
    must(a.update_end(current_stream(device_)), "aclmdlRICaptureTaskUpdateEnd");
    if (g.event)
      must(a.event_record(g.event, stream), "aclrtRecordEvent");
    else
      must(a.value_write(g.word, 1, 0, stream), "aclrtValueWrite");
  }
}

}  // namespace cairn::device
