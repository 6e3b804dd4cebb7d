// What the fake runtime (libascendcl.so) offers to the fake operators (libopapi.so) and collectives (libhccl.so).
#pragma once
#include <acl/acl.h>

#include <functional>

namespace fake {
using Task = std::function<void()>;

// Puts a kernel on a stream: runs it in stream order, records it while the stream is being captured, or swaps it into a
// task group while that is being updated. What the task throws becomes the stream's error, as an AI Core exception.
aclError enqueue(aclrtStream stream, const char* name, Task task);

// Whether the device is an Atlas inference product (Ascend310P), which lacks much of what the others have.
bool is_310p();

// Sets what aclGetRecentErrMsg() and aclrtGetLastError() tell this thread; returns `code`, for use in `return`.
[[gnu::format(printf, 2, 3)]] aclError fail(aclError code, const char* format, ...);

// The same for a rule of the real thing that the caller broke: also told on stderr, once for each `rule`.
[[gnu::format(printf, 3, 4)]] aclError broken(const char* rule, aclError code, const char* format, ...);
}  // namespace fake
