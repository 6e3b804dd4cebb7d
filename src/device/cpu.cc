#include <ATen/Parallel.h>
#include <fmt/core.h>
#include <malloc.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <fstream>

#include "base/strings.h"
#include "device/accelerator.h"
#include "device/device.h"

namespace cairn::device {
namespace {

std::atomic<int64_t> count{0};  // 0: not set
std::vector<int> bound_to;      // by member of the team; empty: to none

cpu_set_t allowed() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) CPU_ZERO(&set);
  return set;
}

// "0-7,16"
Result<std::vector<int>> processors(const std::string& list) {
  const cpu_set_t may = allowed();
  std::vector<int> out;
  for (const std::string& part : split(list, ',')) {
    int first = 0, last = 0;
    const char *at = part.data(), *const end = at + part.size();
    auto r = std::from_chars(at, end, first);
    last = first;
    if (r.ec == std::errc() && r.ptr != end && *r.ptr == '-') r = std::from_chars(r.ptr + 1, end, last);
    if (r.ec != std::errc() || r.ptr != end || first < 0 || last < first || last >= CPU_SETSIZE)
      return invalid(
          fmt::format("--threads-bind {}: \"{}\" is neither a processor's number nor FIRST-LAST", list, part));
    for (int p = first; p <= last; ++p) {
      if (!CPU_ISSET(p, &may))
        return invalid(fmt::format("--threads-bind {}: this process may not run on processor {}", list, p));
      if (std::ranges::find(out, p) != out.end())
        return invalid(fmt::format("--threads-bind {}: processor {} is named twice", list, p));
      out.push_back(p);
    }
  }
  return out;
}

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
    const cpu_set_t may = allowed();
    threads = CPU_COUNT(&may);
  }
  if (threads <= 0) threads = at::get_num_threads();
  count = threads;
  bound_to.clear();
  at::set_num_threads(1);
}

Result<void> set_threads(int64_t threads, const std::string& bound) {
  if (bound.empty()) {
    set_threads(threads);
    return {};
  }
  const auto list = TRY(processors(bound));
  const auto size = static_cast<int64_t>(list.size());
  if (threads > 0 && threads != size)
    return invalid(fmt::format("--threads-bind {} names {} processors for {} threads", bound, size, threads));
  cpu_set_t all;
  CPU_ZERO(&all);
  for (const int p : list) CPU_SET(p, &all);
  if (::sched_setaffinity(0, sizeof all, &all) != 0)
    return failure(Code::kUnavailable, fmt::format("--threads-bind {}: the system refuses it", bound));
  set_threads(size);
  bound_to = list;
  return {};
}

void bind_member(int member) {
  if (static_cast<size_t>(member) >= bound_to.size()) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(bound_to[static_cast<size_t>(member)], &one);
  ::sched_setaffinity(0, sizeof one, &one);  // what is refused leaves the thread to the system
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
