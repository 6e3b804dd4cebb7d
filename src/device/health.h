// Whether the devices in use still answer. A fault that stays (an operator that took the device with it, a stream that
// stands still) is a matter of the whole process: whoever meets it says so here, and a supervisor starts the process
// anew.
#pragma once
#include <chrono>

#include "device/device.h"

namespace cairn::device {

// What is wrong, as kUnavailable; any thread. It stays, also where a step ends long after the patience: requests have
// been failed by then.
Result<void> health();

// After work on a device has failed: asks it for something small. What then fails too is health()'s from now on. An
// accelerator that has merely no memory left is well.
void look_after(c10::Device device);

// How long a step may take; 0: as long as it likes.
void set_patience(std::chrono::seconds patience);

// A step under way: one that outlives the patience is a device that stands still.
class Busy {
 public:
  explicit Busy(c10::Device device);
  ~Busy();
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  bool counts_;
};

}  // namespace cairn::device
