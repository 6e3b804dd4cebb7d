// What the guides of accelerators and servers tell to set on a host.
#include "app/doctor_checks.h"

#include <fmt/core.h>

#include <cmath>
#include <limits>

#include "base/strings.h"

namespace cairn::app {
namespace {

constexpr double kGiB = 1 << 30, kUnlimited = std::numeric_limits<double>::infinity();

bool has_accelerator(const Machine& m) { return !ascend_nodes(m).empty() || !cuda_nodes(m).empty(); }

Answer governor(const Machine& m) {
  std::map<std::string, int> governors;
  for (const int64_t cpu : m.numbered("/sys/devices/system/cpu", "cpu"))
    if (const auto g = m.line(fmt::format("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", cpu)); !g.empty())
      ++governors[g];
  if (governors.empty()) return skip("the system offers none, as in a virtual machine");
  if (governors.size() == 1 && governors.begin()->first == "performance") return ok("performance");
  std::vector<std::string> found;
  for (const auto& [name, count] : governors) found.push_back(fmt::format("{} on {} cores", name, count));
  return warn(join(found, ", "), "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor");
}

Answer numa_balancing(const Machine& m) {
  const auto value = m.line("/proc/sys/kernel/numa_balancing");
  if (value.empty()) return skip("this kernel has none");
  if (value == "0") return ok("off");
  return warn("on: memory moves between nodes while kernels read it", "sudo sysctl -w kernel.numa_balancing=0");
}

Answer swappiness(const Machine& m) {
  const auto value = whole_number(m.line("/proc/sys/vm/swappiness"));
  if (!value) return skip("the system does not say");
  if (*value <= 10) return ok(fmt::format("{}", *value));
  const auto swaps = m.read("/proc/swaps");
  if (swaps && split(trim(*swaps), '\n').size() <= 1) return ok(fmt::format("{}, and there is no swap", *value));
  return warn(fmt::format("{}; 10 is advised, so that weights stay in memory", *value),
              "sudo sysctl -w vm.swappiness=10");
}

// Soft and hard limit of a resource.
std::optional<std::pair<double, double>> limit(const Machine& m, const char* name) {
  std::vector<double> values;
  for (const auto& word : split(m.value("/proc/self/limits", name), ' ')) {
    if (word.empty()) continue;
    const auto n = whole_number(word);
    if (n || word == "unlimited") values.push_back(n ? static_cast<double>(*n) : kUnlimited);
  }
  if (values.size() < 2) return std::nullopt;
  return std::pair{values[0], values[1]};
}

bool may_lock(const Machine& m) {
  constexpr int kIpcLock = 14;  // CAP_IPC_LOCK
  const auto text = m.value("/proc/self/status", "CapEff");
  return text.size() >= 4 && text.size() <= 16 &&
         text.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos &&
         (std::stoull(text, nullptr, 16) >> kIpcLock & 1);
}

Answer locked_memory(const Machine& m) {
  const auto memory = limit(m, "Max locked memory");
  if (may_lock(m)) return ok("no limit: this process has CAP_IPC_LOCK");
  if (!memory) return skip("the system does not say");
  if (memory->first == kUnlimited) return ok("unlimited");
  const auto found = human_bytes(memory->first);
  if (!has_accelerator(m)) return skip(found + "; nothing is registered without an accelerator");
  return warn(found + ": host memory cannot be registered for copies to devices",
              "ulimit -l unlimited (in a container: --ulimit memlock=-1 --cap-add IPC_LOCK)");
}

Answer shared_memory(const Machine& m) {
  const auto space = m.exists("/dev/shm") ? m.space(m.root + "/dev/shm") : std::nullopt;
  const auto size = [&] { return fmt::format("{}, {} free", human_bytes(space->total), human_bytes(space->free)); };
  const bool devices = has_accelerator(m);
  if (!space) {
    if (!devices) return skip("there is no /dev/shm");
    return fail("there is no /dev/shm: ranks on several devices cannot meet",
                "sudo mount -t tmpfs -o size=16G tmpfs /dev/shm (in a container: --shm-size=16g)");
  }
  // 64 MiB is what Docker gives, and what collectives of several devices run out of.
  if (devices && space->free < kGiB)
    return warn(size(), "sudo mount -o remount,size=16G /dev/shm (in a container: --shm-size=16g)");
  return ok(size());
}

Answer large_pages(const Machine& m) {
  const auto text = m.line("/sys/kernel/mm/transparent_hugepage/enabled");
  const auto from = text.find('['), to = text.find(']');
  if (from == std::string::npos || to == std::string::npos || to < from) return skip("this kernel has none");
  const auto mode = text.substr(from + 1, to - from - 1);
  if (mode == "madvise" || mode == "always") return ok(mode);
  return warn(mode + ": weights lie on small pages, which costs up to a tenth of the speed",
              "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled");
}

Answer open_files(const Machine& m) {
  constexpr double kWanted = 4096;  // a socket a stream, a file a shard
  const auto files = limit(m, "Max open files");
  if (!files) return skip("the system does not say");
  if (files->first >= kWanted) return ok(files->first == kUnlimited ? "unlimited" : fmt::format("{}", files->first));
  return warn(fmt::format("{}: a server holds one a connection", files->first),
              files->second >= kWanted ? "ulimit -n 65536 (in a container: --ulimit nofile=65536)"
                                       : "raise nofile in /etc/security/limits.conf, or --ulimit nofile=65536");
}

// "0-3,8" -> 5.
std::optional<int64_t> listed(const std::string& list) {
  int64_t count = 0;
  for (const auto& part : split(list, ',')) {
    const auto dash = part.find('-');
    const auto from = whole_number(part.substr(0, dash));
    const auto to = dash == std::string::npos ? from : whole_number(part.substr(dash + 1));
    if (!from || !to || *from < 0 || *to < *from || *to > 1'000'000) return std::nullopt;
    count += *to - *from + 1;
  }
  return count;
}

// The cores' worth of time that the control group of this process and those around it have; infinity without a quota.
double quota(const Machine& m) {
  double least = kUnlimited;
  const auto note = [&](const std::string& share, const std::string& period) {
    const auto q = whole_number(share), p = whole_number(period);
    if (q && p && *q > 0 && *p > 0) least = std::min(least, static_cast<double>(*q) / static_cast<double>(*p));
  };
  const auto look = [&](const std::string& folder) {
    const auto words = split(m.line(folder + "/cpu.max"), ' ');  // version 2
    if (words.size() == 2) note(words[0], words[1]);
    note(m.line(folder + "/cpu.cfs_quota_us"), m.line(folder + "/cpu.cfs_period_us"));  // version 1
  };
  for (const auto& line : split(m.read("/proc/self/cgroup").value_or(""), '\n')) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path.find("..") != std::string::npos) continue;
    const bool cpu = controllers.empty() || controllers == "cpu" || controllers.find("cpu,") == 0;
    if (!cpu) continue;
    const std::string mount = "/sys/fs/cgroup" + (controllers.empty() ? "" : "/" + controllers);
    for (;;) {
      look(mount + (path == "/" ? "" : path));
      const auto slash = path.rfind('/');
      if (path.size() <= 1 || slash == std::string::npos) break;
      path.resize(slash == 0 ? 1 : slash);
    }
  }
  return least;
}

Answer cores(const Machine& m) {
  const auto allowed = listed(m.value("/proc/self/status", "Cpus_allowed_list"));
  const double most = quota(m);
  if (!allowed) return skip("the system does not say");
  if (most == kUnlimited) return ok(fmt::format("{}, no quota", *allowed));
  const auto found = fmt::format("{}, quota {:.4g}", *allowed, most);
  if (most >= static_cast<double>(*allowed)) return ok(found);
  return warn(found + ": more threads than the quota are halted in turns",
              fmt::format("--threads {} (or raise the quota: --cpus {})", std::max(1.0, std::floor(most)), *allowed));
}

constexpr Question kQuestions[] = {{"System", "CPU governor", governor},  {"System", "NUMA balancing", numa_balancing},
                                   {"System", "swappiness", swappiness},  {"System", "locked memory", locked_memory},
                                   {"System", "/dev/shm", shared_memory}, {"System", "large pages", large_pages},
                                   {"System", "open files", open_files},  {"System", "cores", cores}};

}  // namespace

std::span<const Question> host_questions() { return kQuestions; }

}  // namespace cairn::app
