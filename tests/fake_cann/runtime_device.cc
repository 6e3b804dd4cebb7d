// Process, device and context; what they are asked and cannot do is answered with success.
#include <acl/acl_op_compiler.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "runtime_state.h"

namespace fake {
namespace {
thread_local int32_t device = -1;
}
int32_t current_device() { return std::max(0, device); }
bool is_310p() { return std::strncmp(aclrtGetSocName(), "Ascend310P", 10) == 0; }
}  // namespace fake

using namespace fake;

extern "C" {
static std::atomic<bool> started{false};
aclError aclInit(const char*) { return started.exchange(true) ? ACL_ERROR_REPEAT_INITIALIZE : ACL_SUCCESS; }
aclError aclFinalize() { return started = false, ACL_SUCCESS; }
void aclAppLog(aclLogLevel level, const char* func, const char* file, uint32_t line, const char* format, ...) {
  if (!settings().trace || level < ACL_WARNING) return;
  va_list args;
  va_start(args, format);
  std::fprintf(stderr, "[acl %d] %s:%u %s: ", static_cast<int>(level), file, line, func);
  std::vfprintf(stderr, format, args);
  std::fputc('\n', stderr);
  va_end(args);
}
const char* aclrtGetSocName() {
  const char* name = std::getenv("FAKE_CANN_SOC");
  return name && *name ? name : "Ascend910B2";
}
aclError aclsysGetCANNVersion(aclCANNPackageName, aclCANNPackageVersion* version) {
  std::memset(version, 0, sizeof *version);
  std::strcpy(version->version, "8.5.0");
  return ACL_SUCCESS;
}
aclError aclsysGetVersionStr(char*, char* out) { return std::strcpy(out, "8.5.0"), ACL_SUCCESS; }

aclError aclrtGetDeviceCount(uint32_t* count) { return *count = settings().devices, ACL_SUCCESS; }
aclError aclrtSetDevice(int32_t wanted) {
  if (auto error = refuse()) return error;
  if (wanted < 0 || wanted >= settings().devices)
    return fail(ACL_ERROR_RT_INVALID_DEVICEID, "there is no device %d", wanted);
  device = wanted;
  return ACL_SUCCESS;
}
aclError aclrtGetDevice(int32_t* out) {
  if (device < 0) return ACL_ERROR_RT_CONTEXT_NULL;  // torch_npu asks before it sets one: not an error worth keeping
  return *out = device, ACL_SUCCESS;
}
aclError aclrtResetDevice(int32_t) { return ACL_SUCCESS; }
// A context is its device's number, plus one.
aclError aclrtGetCurrentContext(aclrtContext* context) {
  if (device < 0) return ACL_ERROR_RT_CONTEXT_NULL;
  *context = reinterpret_cast<aclrtContext>(static_cast<uintptr_t>(device) + 1);
  return ACL_SUCCESS;
}
aclError aclrtSetCurrentContext(aclrtContext context) {
  return aclrtSetDevice(static_cast<int32_t>(reinterpret_cast<uintptr_t>(context)) - 1);
}
aclError aclrtGetPrimaryCtxState(int32_t which, uint32_t* flags, int32_t* active) {
  if (flags) *flags = 0;
  *active = which == device;
  return ACL_SUCCESS;
}
aclError aclrtSetDeviceSatMode(aclrtFloatOverflowMode) { return ACL_SUCCESS; }
aclError aclrtSetOpExecuteTimeOut(uint32_t) { return ACL_SUCCESS; }
aclError aclrtSetOpWaitTimeout(uint32_t) { return ACL_SUCCESS; }
aclError aclrtDeviceCanAccessPeer(int32_t* can, int32_t, int32_t) { return *can = 1, ACL_SUCCESS; }
aclError aclrtDeviceEnablePeerAccess(int32_t, uint32_t) { return ACL_SUCCESS; }
// The number of cores, whatever is asked: that is all torch_npu asks for.
aclError aclGetDeviceCapability(uint32_t, aclDeviceInfo, int64_t* value) { return *value = 24, ACL_SUCCESS; }
aclError aclrtGetDeviceInfo(uint32_t, aclrtDevAttr, int64_t* value) { return *value = 24, ACL_SUCCESS; }
aclError aclrtGetDeviceResLimit(int32_t, aclrtDevResLimitType, uint32_t* value) { return *value = 24, ACL_SUCCESS; }
aclError aclrtProcessReport(int32_t) { return ACL_SUCCESS; }

// Options of the operator compiler. torch_npu looks them up in libacl_op_compiler.so, which depends on this library, so
// dlsym finds them here.
// Whether graph operators are compiled for their shapes: by default on Ascend310P and older (torch_npu's documentation
// of set_compile_mode).
static std::mutex compile_mutex;
static std::map<aclCompileOpt, std::string>& compile_options() {
  static std::map<aclCompileOpt, std::string> options{{ACL_OP_JIT_COMPILE, is_310p() ? "enable" : "disable"}};
  return options;
}
aclError aclSetCompileopt(aclCompileOpt option, const char* value) {
  const std::lock_guard lock(compile_mutex);
  return compile_options()[option] = value, ACL_SUCCESS;
}
size_t aclGetCompileoptSize(aclCompileOpt option) {
  const std::lock_guard lock(compile_mutex);
  return compile_options()[option].size() + 1;
}
aclError aclGetCompileopt(aclCompileOpt option, char* value, size_t size) {
  const std::lock_guard lock(compile_mutex);
  const std::string& set = compile_options()[option];
  if (size < set.size() + 1) return ACL_ERROR_INVALID_PARAM;
  return std::strcpy(value, set.c_str()), ACL_SUCCESS;
}
static std::atomic<int64_t> system_options[8];
aclError aclrtSetSysParamOpt(aclSysParamOpt option, int64_t value) {
  return system_options[option & 7] = value, ACL_SUCCESS;
}
aclError aclrtCtxSetSysParamOpt(aclSysParamOpt option, int64_t value) { return aclrtSetSysParamOpt(option, value); }
aclError aclrtGetSysParamOpt(aclSysParamOpt option, int64_t* value) {
  return *value = system_options[option & 7], ACL_SUCCESS;
}
}  // extern "C"
