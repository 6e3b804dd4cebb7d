// The device that tests compute on: what CAIRN_TEST_DEVICE names, as --device does; the processor without it.
#pragma once
#include <cstdlib>

#include "device/device.h"

namespace cairn {

inline c10::Device device_under_test() {
  static const c10::Device device = [] {
    const char* name = std::getenv("CAIRN_TEST_DEVICE");
    return or_throw(device::open(name ? name : "cpu"));
  }();
  return device;
}

// Opened before the statics of tests that hold tensors of it, and so closed after them.
inline const c10::Device opened_first = device_under_test();

}  // namespace cairn
