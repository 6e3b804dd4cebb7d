#include "device/device.h"

#include <ATen/DeviceAccelerator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <fmt/core.h>

#include <charconv>
#include <filesystem>

#include "device/accelerator.h"

namespace cairn::device {
namespace {

struct Kind {
  const char* name;
  c10::DeviceType type;
};
constexpr Kind kKinds[] = {
    {"cpu", c10::DeviceType::CPU}, {"cuda", c10::DeviceType::CUDA}, {"npu", c10::DeviceType::PrivateUse1}};

Result<c10::Device> parsed(const std::string& name) {
  const size_t colon = name.find(':');
  for (const Kind& kind : kKinds) {
    if (name.substr(0, colon) != kind.name) continue;
    if (colon == std::string::npos) return c10::Device(kind.type, kind.type == c10::DeviceType::CPU ? -1 : 0);
    int index = -1;
    const char *from = name.data() + colon + 1, *end = name.data() + name.size();
    const auto r = std::from_chars(from, end, index);
    if (r.ec == std::errc() && r.ptr == end && index >= 0 && index < 128 && kind.type != c10::DeviceType::CPU)
      return c10::Device(kind.type, static_cast<c10::DeviceIndex>(index));
  }
  return invalid(fmt::format("device \"{}\" is none of cpu, cuda, npu, cuda:N and npu:N", name));
}

}  // namespace

std::string libtorch_folder() {
  Dl_info where{};
  if (::dladdr(reinterpret_cast<const void*>(&at::accelerator::deviceCount), &where) == 0 || !where.dli_fname)
    return {};
  std::error_code ignored;
  return std::filesystem::weakly_canonical(where.dli_fname, ignored).parent_path().parent_path().string();
}

Result<void> load_cuda() {
  if (c10::impl::hasDeviceGuardImpl(c10::DeviceType::CUDA)) return {};
  const std::string library = libtorch_folder() + "/lib/libtorch_cuda.so";
  std::error_code ignored;
  if (!std::filesystem::exists(library, ignored))
    return failure(Code::kUnsupported, fmt::format("the libtorch in {} was built without CUDA: set CAIRN_TORCH to the "
                                                   "torch folder of a CUDA build, and start again",
                                                   libtorch_folder()));
  if (!::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL))
    return failure(Code::kUnavailable, fmt::format("CUDA cannot be opened: {}", ::dlerror()));
  return {};
}

Result<c10::Device> open(const std::string& name) {
  const c10::Device device = TRY(parsed(name));
  if (device.is_cpu()) return open_cpu();
  TRY_VOID(device.is_cuda() ? load_cuda() : load_torch_npu());
  try {
    const c10::impl::VirtualGuardImpl guard(device.type());
    const int count = guard.deviceCount();
    if (count == 0)
      return failure(Code::kUnavailable,
                     fmt::format("device {}: none answers; `cairn doctor` says what may be wrong", name));
    if (device.index() >= count)
      return failure(Code::kUnavailable,
                     fmt::format("device {} is not there: they are numbered 0 to {}", name, count - 1));
    guard.setDevice(device);
    (void)zeros({1}, kF32, device);  // what is wrong with it shows here
    synchronize(device);
  } catch (const std::exception& e) {
    const auto error = tensor_error(e);
    return failure(Code::kUnavailable,
                   fmt::format("device {} cannot be used: {}", name, error ? error->what : e.what()));
  }
  return device;
}

void synchronize(c10::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

Memory memory(c10::Device device) {
  if (device.is_cpu()) return host_memory();
  const auto [available, total] = at::getDeviceAllocator(device.type())->getMemoryInfo(device.index());
  return {static_cast<int64_t>(available), static_cast<int64_t>(total)};
}

Stream::Stream(c10::Device device) {
  if (!device.is_cpu())
    stream_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device, /*isHighPriority=*/false);
}

void Stream::synchronize() const {
  if (stream_) stream_->synchronize();
}

Stream::Use::Use(const Stream& stream) {
  if (!stream.stream_) return;
  const c10::impl::VirtualGuardImpl guard(stream.stream_->device_type());
  guard.setDevice(stream.stream_->device());
  before_ = guard.exchangeStream(*stream.stream_);
}
Stream::Use::~Use() {
  if (before_) c10::impl::VirtualGuardImpl(before_->device_type()).exchangeStream(*before_);
}

}  // namespace cairn::device
