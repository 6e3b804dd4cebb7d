#include "bed.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <dlfcn.h>

namespace fake {
namespace {
void* open_global(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  TORCH_CHECK(library, dlerror());
  return library;
}
template <class F>
F* symbol(void* library, const char* name) {
  void* found = dlsym(library, name);
  TORCH_CHECK(found, name, " is nowhere");
  return reinterpret_cast<F*>(found);
}
}  // namespace

std::vector<at::Tensor> npu_call(const char* name, const char* overload, const Named& given) {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
  torch::jit::Stack stack;
  size_t used = 0;
  for (const auto& argument : op.schema().arguments()) {
    const c10::IValue* value = nullptr;
    for (const auto& [key, v] : given)
      if (key == argument.name()) value = &v, ++used;
    TORCH_CHECK(value || argument.default_value(), name, " needs argument ", argument.name());
    stack.push_back(value ? *value : *argument.default_value());
  }
  TORCH_CHECK(used == given.size(), name, " was given an argument that it does not have");
  op.callBoxed(stack);
  std::vector<at::Tensor> results;
  for (const auto& value : stack) results.push_back(value.toTensor());
  return results;
}

void set(const char* key, const std::string& value) {
  static const auto call = symbol<int(const char*, const char*)>(RTLD_DEFAULT, "fake_cann_set");
  TORCH_CHECK(call(key, value.c_str()) == 0, key, " is no switch of the fake CANN");
}
int64_t get(const char* key) {
  static const auto call = symbol<int64_t(const char*)>(RTLD_DEFAULT, "fake_cann_get");
  return call(key);
}

void start(const char* libpython, const char* library) {
  void* python = open_global(libpython);  // first: libtorch_python.so needs its symbols and does not name it
  symbol<void(int)>(python, "Py_InitializeEx")(0);
  // The first tensor made on a device calls torch_npu.npu._lazy_init(): an empty stand-in will do.
  symbol<int(const char*)>(python, "PyRun_SimpleString")(
      "import sys, types\n"
      "npu = types.ModuleType('torch_npu.npu')\n"
      "npu._lazy_init = lambda: None\n"
      "sys.modules['torch_npu'] = types.ModuleType('torch_npu')\n"
      "sys.modules['torch_npu.npu'] = npu\n");
  symbol<void*()>(python, "PyEval_SaveThread")();  // gives the lock back, or torch_npu's own threads hang
  if (library) open_global(library);
  at::accelerator::setDeviceIndex(0);
}
}  // namespace fake
