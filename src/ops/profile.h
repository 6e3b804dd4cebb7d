// Where the time of operations goes. While a Profile stands, every operation of the thread that made it is timed, and
// an accelerator waited for before and after each, so that nothing can be captured meanwhile:
//
//   Profile profile(device);
//   run.advance();
//   for (const auto& [name, row] : profile.rows()) …
#pragma once
#include <chrono>
#include <map>
#include <string_view>

#include "device/device.h"
#include "ops/op.h"

namespace cairn::ops {

// One at a time; made and destroyed while no operation runs. An operation that calls others counts as one.
class Profile final : public Observer {
 public:
  struct Row {
    int64_t calls = 0;
    double seconds = 0, weight_bytes = 0;  // weights in their plain form, read once a call
  };

  explicit Profile(c10::Device device = kCPU) : device_(device) { observer = this; }
  ~Profile() override { observer = nullptr; }
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  void enter(const AnyOp&, double weight_bytes) override {
    if (depth_++ > 0) return;
    bytes_ = weight_bytes;
    device::synchronize(device_);
    started_ = std::chrono::steady_clock::now();
  }
  void leave(const AnyOp& op) override {
    if (--depth_ > 0) return;
    device::synchronize(device_);
    Row& row = rows_[op.name()];
    row.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    row.weight_bytes += bytes_;
    ++row.calls;
  }

  const std::map<std::string_view, Row>& rows() const { return rows_; }

 private:
  c10::Device device_;
  std::map<std::string_view, Row> rows_;
  std::chrono::steady_clock::time_point started_;
  double bytes_ = 0;
  int depth_ = 0;
};

}  // namespace cairn::ops
