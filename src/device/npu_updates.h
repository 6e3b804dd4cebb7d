// Tasks of an NPU's graph whose arguments on the host change from replay to replay (CANN: aclmdlRICaptureTaskGrpBegin
// and its relatives, which torch_npu's graph_task_* wrap).
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "device/device.h"

namespace cairn::device {

class NpuUpdates {
 public:
  // Before the capture begins.
  explicit NpuUpdates(c10::Device device);
  ~NpuUpdates();
  NpuUpdates(const NpuUpdates&) = delete;
  NpuUpdates& operator=(const NpuUpdates&) = delete;

  // In a capture on the current stream: issues the tasks as a group behind a point at which each replay waits.
  void capture(std::function<void()> issue);
  // After a replay was started: issues each group again, with the arguments of now, and lets the replay past its point.
  // So the first layers compute while the arguments of later ones are still being prepared.
  void issue();
  bool empty() const { return groups_.empty(); }

 private:
  struct Acl;
  struct Group;
  static const Acl& acl();

  c10::Device device_;
  Stream stream_;  // on which arguments are replaced
  Tensor words_;   // none of the capture's memory, which a replay may write to before it waits for its word
  std::vector<Group> groups_;
};

}  // namespace cairn::device
