#include "device/health.h"

#include <fmt/core.h>

#include <map>
#include <mutex>

namespace cairn::device {
namespace {

using Clock = std::chrono::steady_clock;

struct State {
  std::mutex mutex;
  std::string fault;
  std::chrono::seconds patience{300};
  std::map<const Busy*, std::pair<c10::Device, Clock::time_point>> busy;
};
State& state() {
  static State* const s = new State();  // threads of a device that stands still may outlive main()
  return *s;
}

std::string name(c10::Device d) { return fmt::format("{}:{}", d.is_cuda() ? "cuda" : "npu", int{d.index()}); }

}  // namespace

Result<void> health() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const auto now = Clock::now();
  for (const auto& [busy, since] : s.busy)
    if (s.patience.count() > 0 && now - since.second > s.patience)
      s.fault = fmt::format("device {} has not answered for {} s: start the server anew", name(since.first),
                            s.patience.count());
  if (!s.fault.empty()) return failure(Code::kUnavailable, s.fault);
  return {};
}

void look_after(c10::Device device) {
  if (device.is_cpu()) return;
  try {
    (void)on_host(zeros({1}, kF32, device));
    synchronize(device);
  } catch (const std::exception& e) {
    const auto error = tensor_error(e);
    if (error && error->out_of_memory) return;
    State& s = state();
    const std::lock_guard lock(s.mutex);
    s.fault = fmt::format("device {} has failed and does not come back ({}): start the server anew", name(device),
                          error ? error->what : e.what());
  }
}

void set_patience(std::chrono::seconds patience) {
  const std::lock_guard lock(state().mutex);
  state().patience = patience;
}

Busy::Busy(c10::Device device) : counts_(!device.is_cpu()) {
  if (!counts_) return;
  const std::lock_guard lock(state().mutex);
  state().busy.emplace(this, std::pair(device, Clock::now()));
}
Busy::~Busy() {
  if (!counts_) return;
  const std::lock_guard lock(state().mutex);
  state().busy.erase(this);
}

}  // namespace cairn::device
