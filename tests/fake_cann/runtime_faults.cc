// Switches, injected faults, broken rules and what the last error was.
#include <algorithm>
#include <cctype>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include "runtime_state.h"

namespace fake {
namespace {
thread_local std::string recent_message;
thread_local aclError last_error = ACL_SUCCESS;

std::mutex& faults_mutex() {
  static auto* mutex = new std::mutex;  // never destroyed: streams may still run when the process ends
  return *mutex;
}
std::string& throw_name() {
  static auto* name = new std::string;
  return *name;
}
int64_t throw_after = 0;
std::atomic<int64_t> broken_rules{0};

void tell_once(const char* rule, const char* text) {
  static auto* told = new std::set<std::string>;
  ++broken_rules;
  std::lock_guard lock(faults_mutex());
  if (told->insert(rule).second) std::fprintf(stderr, "[fake CANN] rule: %s: %s\n", rule, text);
}

// NAME[:COUNT]
std::pair<std::string, int64_t> counted(const std::string& value, int64_t fallback) {
  const auto colon = value.find(':');
  return {value.substr(0, colon), colon == std::string::npos ? fallback : std::atoll(value.c_str() + colon + 1)};
}

bool set(const std::string& key, const char* value) {
  auto& s = settings();
  const int64_t number = std::atoll(value);
  if (key == "trace") return s.trace = number, true;
  if (key == "strict") return s.strict = number, true;
  if (key == "streams") return s.streams = number, true;
  if (key == "hang_ms") return s.hang_ms = number, true;
  if (key == "hang_stream") return s.hang_stream = number, true;
  if (key == "sticky") return s.sticky = number, true;
  if (key == "oom_over") return s.oom_over = number, true;
  if (key == "delay_us") {
    s.random_delay = std::strchr(value, 'r') != nullptr;
    return s.delay_us = number, true;
  }
  if (key == "oom_after") {  // N[:TIMES]
    const auto [after, times] = counted(value, 1);
    s.oom_times = times;
    return s.oom_after = std::atoll(after.c_str()), true;
  }
  if (key == "throw_op") {
    const auto [name, after] = counted(value, 1);
    std::lock_guard lock(faults_mutex());
    throw_name() = name;
    throw_after = after;
    return s.throw_armed = !name.empty() && after > 0, true;
  }
  if (key == "clear") {
    s.hang_stream = s.sticky = s.throw_armed = false;
    s.oom_after = s.oom_times = s.oom_over = 0;
    return forget_errors(), true;
  }
  return false;
}

// How many of those devices ASCEND_RT_VISIBLE_DEVICES leaves: what is listed up to the first id that is none.
int32_t visible(int32_t devices) {
  const char* list = std::getenv("ASCEND_RT_VISIBLE_DEVICES");
  if (!list) return devices;
  int32_t count = 0;
  for (const char* p = list; *p;) {
    char* end = nullptr;
    const long id = std::strtol(p, &end, 10);
    if (end == p || id < 0 || id >= devices) break;
    ++count;
    p = *end == ',' ? end + 1 : end;
  }
  return count;
}

void from_environment(Settings& s) {
  const auto number = [](const char* name, long fallback) {
    const char* text = std::getenv(name);
    return text ? std::atol(text) : fallback;
  };
  s.sync = number("FAKE_CANN_SYNC", 0) != 0;
  s.devices = visible(std::clamp<int32_t>(static_cast<int32_t>(number("FAKE_CANN_DEVICES", 2)), 1, kMaxDevices));
  s.memory_bytes = static_cast<size_t>(number("FAKE_CANN_MEM_MB", 4096)) << 20;
}

// The rest needs settings() itself.
const bool kRead = [] {
  for (const char* key : {"trace", "strict", "streams", "hang_ms", "hang_stream", "sticky", "oom_over", "delay_us",
                          "oom_after", "throw_op"}) {
    std::string name = std::string("FAKE_CANN_") + key;
    for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    if (const char* value = std::getenv(name.c_str())) set(key, value);
  }
  return true;
}();
}  // namespace

Settings& settings() {
  static auto* all = [] {
    auto* s = new Settings;
    from_environment(*s);
    return s;
  }();
  return *all;
}

aclError fail(aclError code, const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  recent_message = std::string("[fake CANN] ") + text;
  return last_error = code;
}

aclError broken(const char* rule, aclError code, const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  tell_once(rule, text);
  return fail(code, "rule: %s: %s", rule, text);
}

int64_t rules_broken() { return broken_rules; }

aclError refuse() {
  if (!settings().sticky) return ACL_SUCCESS;
  return fail(ACL_ERROR_RT_AICORE_EXCEPTION, "the device has failed (sticky=1)");
}

void inject(const std::string& name) {
  if (!settings().throw_armed) return;
  {
    std::lock_guard lock(faults_mutex());
    const auto& wanted = throw_name();
    if (name != wanted && name != "aclnn" + wanted) return;
    if (--throw_after > 0) return;
    settings().throw_armed = false;
  }
  throw std::runtime_error("fault injected into " + name);
}

bool oom(size_t bytes) {
  auto& s = settings();
  const int64_t over = s.oom_over;
  if (over > 0 && bytes > static_cast<size_t>(over)) return true;
  if (s.oom_after <= 0) return false;
  if (--s.oom_after > 0) return false;
  if (--s.oom_times > 0) s.oom_after = 1;  // the next one fails, too
  return true;
}
}  // namespace fake

using namespace fake;

extern "C" {
// Found by tests through dlsym. 0, or -1 for a key that does not exist.
int fake_cann_set(const char* key, const char* value) { return set(key, value) ? 0 : -1; }

int64_t fake_cann_get(const char* key) {
  const std::string name = key;
  if (name == "rules") return rules_broken();
  if (name == "events") return live_events();
  if (name == "streams") return live_streams();
  if (name == "used_bytes") return used_bytes();
  return -1;
}

const char* aclGetRecentErrMsg() {
  static thread_local std::string told;
  told = std::move(recent_message);
  recent_message.clear();
  return told.c_str();
}
aclError aclrtGetLastError(aclrtLastErrLevel) { return std::exchange(last_error, ACL_SUCCESS); }
aclError aclrtPeekAtLastError(aclrtLastErrLevel) { return last_error; }
}  // extern "C"
