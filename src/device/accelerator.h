// The insides of device/: what device.cc chooses from.
#pragma once
#include "device/device.h"

namespace cairn::device {

c10::Device open_cpu();
Memory host_memory();

// Loads the libraries that drive CUDA devices, or Ascend NPUs, into the process. Idempotent; any thread.
Result<void> load_cuda();
Result<void> load_torch_npu();

// Whether the NPUs of this machine are Ascend 310P. False before they are opened.
bool npu_is_310p();

// The folder of the libtorch in use.
std::string libtorch_folder();

}  // namespace cairn::device
