// Device memory is host memory: blocks by address, copies, and virtual memory (expandable segments).
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>

#include "runtime_state.h"

namespace fake {
namespace {
constexpr unsigned char kFresh = 0xA5, kFreed = 0xDD;  // no test may rely on zeroed or on freed memory
constexpr size_t kPoison = size_t{32} << 20;           // of a larger block only so much: allocating stays fast
constexpr int32_t kPinned = -1;

struct Block {
  size_t size;
  int32_t device;
};
struct Memory {
  std::mutex mutex;
  std::map<uintptr_t, Block> blocks;
  std::map<uintptr_t, size_t> reserved;
  std::array<size_t, kMaxDevices> used{};
};
Memory& memory() {
  static auto* all = new Memory;  // never destroyed: streams may still run when the process ends
  return *all;
}
uintptr_t address(const void* ptr) { return reinterpret_cast<uintptr_t>(ptr); }

const Block* find(uintptr_t at) {  // with the mutex held
  const auto& blocks = memory().blocks;
  auto it = blocks.upper_bound(at);
  if (it == blocks.begin()) return nullptr;
  --it;
  return at - it->first < it->second.size ? &it->second : nullptr;
}
// The device (or kPinned) of a range; -2 when not all of it is ours. Segments mapped side by side are one range.
int32_t owner(const void* ptr, size_t size) {
  auto& all = memory();
  std::lock_guard lock(all.mutex);
  uintptr_t at = address(ptr);
  const uintptr_t end = at + size;
  const Block* first = find(at);
  if (!first) return -2;
  const int32_t device = first->device;
  while (at < end) {
    auto it = std::prev(all.blocks.upper_bound(at));
    if (it->second.device != device || at - it->first >= it->second.size) return -2;
    at = it->first + it->second.size;
    if (at < end && !find(at)) return -2;
  }
  return device;
}

bool charge(int32_t device, size_t size) {  // with the mutex held
  auto& used = memory().used[static_cast<size_t>(device)];
  if (used + size > settings().memory_bytes) return false;
  used += size;
  return true;
}
aclError out_of_memory(void** out, size_t size, int32_t device) {
  *out = nullptr;
  // torch_npu takes an error for one of memory by this number or these words.
  return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "EL0004: Failed to allocate memory: %zu bytes on device %d", size,
              device);
}

aclError allocate(void** out, size_t size, int32_t device) {
  if (auto error = refuse()) return error;
  if (device >= 0 && oom(size)) return out_of_memory(out, size, device);
  auto& all = memory();
  {
    std::lock_guard lock(all.mutex);
    if (device >= 0 && !charge(device, size)) return out_of_memory(out, size, device);
  }
  *out = std::aligned_alloc(512, (size + 511) / 512 * 512 + 512);
  std::memset(*out, kFresh, std::min(size, kPoison));
  std::lock_guard lock(all.mutex);
  all.blocks[address(*out)] = {size, device};
  return ACL_SUCCESS;
}
aclError release(void* ptr) {
  auto& all = memory();
  {
    std::lock_guard lock(all.mutex);
    auto it = all.blocks.find(address(ptr));
    if (it == all.blocks.end())
      return broken("memory is freed once", ACL_ERROR_RT_PARAM_INVALID, "free of unknown %p", ptr);
    if (it->second.device >= 0) all.used[static_cast<size_t>(it->second.device)] -= it->second.size;
    std::memset(ptr, kFreed, std::min(it->second.size, kPoison));
    all.blocks.erase(it);
  }
  std::free(ptr);
  return ACL_SUCCESS;
}

// aclrtMemcpy: the kind must say where both sides are, and no more than the destination holds is copied.
aclError check_copy(const void* dst, size_t room, const void* src, size_t size, aclrtMemcpyKind kind) {
  if (size > room)
    return broken("a copy fits its destination", ACL_ERROR_RT_PARAM_INVALID, "%zu bytes into %zu", size, room);
  const bool to = on_device(dst, size), from = on_device(src, size);
  const bool ok = kind == ACL_MEMCPY_HOST_TO_DEVICE     ? to && !from
                  : kind == ACL_MEMCPY_DEVICE_TO_HOST   ? !to && from
                  : kind == ACL_MEMCPY_DEVICE_TO_DEVICE ? to && from
                  : kind == ACL_MEMCPY_HOST_TO_HOST     ? !to && !from
                                                        : true;
  if (ok) return ACL_SUCCESS;
  return broken("memcpy kinds match the addresses", ACL_ERROR_RT_PARAM_INVALID, "kind %d: dst is %s, src is %s",
                static_cast<int>(kind), to ? "of a device" : "not of a device",
                from ? "of a device" : "not of a device");
}

// What a queued task checks again when it runs: what was device memory or pinned memory still is.
struct Range {
  const void* ptr;
  size_t size;
  bool known;
  Range(const void* p, size_t n) : ptr(p), size(n), known(owner(p, n) != -2) {}
  void check(const char* task) const {
    if (known && owner(ptr, size) == -2)
      throw Violation("memory is not freed before the tasks that use it", ACL_ERROR_RT_DEVICE_MEM_ERROR, task);
  }
};
}  // namespace

bool on_device(const void* ptr, size_t size) { return owner(ptr, size) >= 0; }
bool pinned(const void* ptr, size_t size) { return owner(ptr, size) == kPinned; }
int64_t used_bytes() {
  auto& all = memory();
  std::lock_guard lock(all.mutex);
  size_t sum = 0;
  for (size_t used : all.used) sum += used;
  return static_cast<int64_t>(sum);
}
}  // namespace fake

using namespace fake;

extern "C" {
aclError aclrtGetMemInfo(aclrtMemAttr, size_t* free, size_t* total) {
  if (auto error = refuse()) return error;
  auto& all = memory();
  std::lock_guard lock(all.mutex);
  *total = settings().memory_bytes;
  *free = *total - all.used[static_cast<size_t>(current_device())];
  return ACL_SUCCESS;
}
// Allowed in a capture of any mode: torch_npu's caching allocator does it (NPUCachingAllocator.cpp), and CANN's list of
// unsafe functions (aclmdlRICaptureThreadExchangeMode) has no allocation.
aclError aclrtMalloc(void** p, size_t n, aclrtMemMallocPolicy) { return allocate(p, n, current_device()); }
aclError aclrtMallocAlign32(void** p, size_t n, aclrtMemMallocPolicy) { return allocate(p, n, current_device()); }
aclError aclrtFree(void* p) { return release(p); }
aclError aclrtMallocHost(void** p, size_t n) { return allocate(p, n, kPinned); }
aclError aclrtFreeHost(void* p) { return release(p); }
aclError aclrtPointerGetAttributes(const void* p, aclrtPtrAttributes* attributes) {
  std::memset(attributes, 0, sizeof *attributes);
  const int32_t device = owner(p, 1);
  attributes->location.type = device >= 0         ? ACL_MEM_LOCATION_TYPE_DEVICE
                              : device == kPinned ? ACL_MEM_LOCATION_TYPE_HOST
                                                  : ACL_MEM_LOCATION_TYPE_UNREGISTERED;
  attributes->location.id = static_cast<uint32_t>(std::max(0, device));
  return ACL_SUCCESS;
}

aclError aclrtMemcpy(void* dst, size_t room, const void* src, size_t n, aclrtMemcpyKind kind) {
  if (auto error = refuse()) return error;
  if (auto error = forbidden_in_capture("aclrtMemcpy")) return error;
  if (auto error = device_error()) return error;
  if (n == 0) return ACL_SUCCESS;
  if (auto error = check_copy(dst, room, src, n, kind)) return error;
  return std::memmove(dst, src, n), ACL_SUCCESS;
}
aclError aclrtMemcpyAsync(void* dst, size_t room, const void* src, size_t n, aclrtMemcpyKind kind, aclrtStream s) {
  if (auto error = refuse()) return error;
  if (n == 0) return ACL_SUCCESS;
  if (auto error = check_copy(dst, room, src, n, kind)) return error;
  const Range to(dst, n), from(src, n);
  // CANN 8.5, aclmdlRICaptureThreadExchangeMode: with host memory that is not page-locked the copy is a synchronous
  // one.
  if (!to.known || !from.known) {
    if (auto error = forbidden_in_capture("aclrtMemcpyAsync of host memory that is not pinned",
                                          ACL_ERROR_RT_CAPTURE_MODE_BLOCK_ASYNC))
      return error;
  }
  return enqueue(s, "memcpy", [=] {
    to.check("memcpy");
    from.check("memcpy");
    std::memmove(dst, src, n);
  });
}
aclError aclrtMemset(void* p, size_t room, int32_t value, size_t n) {
  if (auto error = refuse()) return error;
  if (auto error = forbidden_in_capture("aclrtMemset")) return error;
  if (n > room || (n > 0 && owner(p, n) == -2))
    return broken("memset stays in its block", ACL_ERROR_RT_PARAM_INVALID, "%zu bytes at %p", n, p);
  return std::memset(p, value, n), ACL_SUCCESS;
}
aclError aclrtMemsetAsync(void* p, size_t room, int32_t value, size_t n, aclrtStream s) {
  if (auto error = refuse()) return error;
  const Range to(p, std::max<size_t>(n, 1));
  if (n > room || (n > 0 && !to.known))
    return broken("memset stays in its block", ACL_ERROR_RT_PARAM_INVALID, "%zu bytes at %p", n, p);
  return enqueue(s, "memset", [=] {
    to.check("memset");
    std::memset(p, value, n);
  });
}

// Virtual memory: addresses are reserved without access, and mapping allows it.
struct Physical {
  size_t size;
  int32_t device;
};
aclError aclrtReserveMemAddress(void** p, size_t n, size_t, void*, uint64_t) {
  *p = mmap(nullptr, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (*p == MAP_FAILED) return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "no room for %zu bytes of addresses", n);
  auto& all = memory();
  std::lock_guard lock(all.mutex);
  all.reserved[address(*p)] = n;
  return ACL_SUCCESS;
}
aclError aclrtReleaseMemAddress(void* p) {
  auto& all = memory();
  std::lock_guard lock(all.mutex);
  auto it = all.reserved.find(address(p));
  if (it == all.reserved.end()) return fail(ACL_ERROR_RT_PARAM_INVALID, "release of unknown addresses %p", p);
  munmap(p, it->second);
  all.reserved.erase(it);
  return ACL_SUCCESS;
}
aclError aclrtMallocPhysical(aclrtDrvMemHandle* handle, size_t n, const aclrtPhysicalMemProp*, uint64_t) {
  if (auto error = refuse()) return error;
  const int32_t device = current_device();
  void* none = nullptr;
  if (oom(n)) return out_of_memory(&none, n, device);
  std::lock_guard lock(memory().mutex);
  if (!charge(device, n)) return out_of_memory(&none, n, device);
  *handle = reinterpret_cast<aclrtDrvMemHandle>(new Physical{n, device});
  return ACL_SUCCESS;
}
aclError aclrtFreePhysical(aclrtDrvMemHandle handle) {
  auto* physical = reinterpret_cast<Physical*>(handle);
  std::lock_guard lock(memory().mutex);
  memory().used[static_cast<size_t>(physical->device)] -= physical->size;
  delete physical;
  return ACL_SUCCESS;
}
aclError aclrtMapMem(void* p, size_t n, size_t, aclrtDrvMemHandle handle, uint64_t) {
  mprotect(p, n, PROT_READ | PROT_WRITE);
  std::memset(p, kFresh, std::min(n, kPoison));
  std::lock_guard lock(memory().mutex);
  memory().blocks[address(p)] = {n, reinterpret_cast<Physical*>(handle)->device};
  return ACL_SUCCESS;
}
aclError aclrtUnmapMem(void* p) {
  auto& all = memory();
  std::lock_guard lock(all.mutex);
  auto it = all.blocks.find(address(p));
  if (it == all.blocks.end()) return fail(ACL_ERROR_RT_PARAM_INVALID, "unmap of unknown %p", p);
  madvise(p, it->second.size, MADV_DONTNEED);
  mprotect(p, it->second.size, PROT_NONE);  // a task that still uses it dies here, with its name in the backtrace
  all.blocks.erase(it);
  return ACL_SUCCESS;
}
}  // extern "C"
