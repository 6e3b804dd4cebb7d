// What the bed's tests share.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/empty.h>

#include <string>
#include <utility>
#include <vector>

namespace fake {
inline const at::Device kNpu(at::kPrivateUse1, 0);

// Calls an npu:: operator by name with named arguments; the rest take the defaults of the schema that is registered.
// The typed functions of torch_npu's headers have forty arguments, and change between its releases.
using Named = std::vector<std::pair<std::string, c10::IValue>>;
std::vector<at::Tensor> npu_call(const char* name, const char* overload, const Named& given);

// fake_cann_set() and fake_cann_get() of the fake runtime, found as any program under test would find them.
void set(const char* key, const std::string& value);
int64_t get(const char* key);

// A switch that is set for a test and cleared after it, with every error that it caused.
struct Fault {
  Fault(const char* key, const std::string& value) { set(key, value); }
  ~Fault() { set("clear", ""); }
};

// Starts the Python interpreter that the wheel wants, and makes device 0 the current one. Given a library of torch_npu,
// opens it first: for a program that does not link it.
void start(const char* libpython, const char* library);

// Uninitialised memory of the device.
inline at::Tensor room(at::IntArrayRef sizes, at::ScalarType type = at::kFloat, at::Device device = kNpu) {
  return at::empty(sizes, at::TensorOptions(device).dtype(type));
}
}  // namespace fake
