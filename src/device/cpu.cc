#include <ATen/Parallel.h>
#include <malloc.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <fstream>

#include "device/accelerator.h"
#include "device/device.h"

namespace cairn::device {
namespace {

std::atomic<int64_t> count{0};  // 0: not set

}  // namespace

c10::Device open_cpu() {
  // Activations come and go many times a step. Returning them to the system each time means faulting them in again, so
  // let the allocator keep what it can: 32 MiB is the most that glibc takes for the first of these.
  check(::mallopt(M_MMAP_THRESHOLD, 32 << 20) == 1, "the allocator refuses its threshold");
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  return c10::Device(c10::DeviceType::CPU);
}

Dtype compute_dtype(c10::Device device, Dtype dtype) {
  if (device.is_cpu() && dtype == kF16) return kF32;
  return device.is_privateuseone() && dtype == kBF16 && npu_is_310p() ? kF16 : dtype;
}

void set_threads(int64_t threads) {
  if (threads <= 0) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0) threads = CPU_COUNT(&allowed);
  }
  if (threads <= 0) threads = at::get_num_threads();
  count = threads;
  at::set_num_threads(1);
}

int64_t threads() {
  const int64_t set = count;
  return set ? set : at::get_num_threads();
}

LibtorchThreads::LibtorchThreads() : before_(at::get_num_threads()) {
  at::set_num_threads(static_cast<int>(threads()));
}
LibtorchThreads::~LibtorchThreads() { at::set_num_threads(before_); }

int64_t last_level_cache() {
  static const int64_t size = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  return size > 0 ? size : 32 << 20;
}

Memory host_memory() {
  std::ifstream file("/proc/meminfo");
  Memory out{int64_t{4} << 30, int64_t{4} << 30};
  for (std::string key, unit; file >> key;) {
    int64_t kib = 0;
    file >> kib >> unit;
    if (key == "MemTotal:") out.total = kib * 1024;
    if (key == "MemAvailable:") out.available = kib * 1024;
  }
  return out;
}

int64_t peak_memory() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace cairn::device
