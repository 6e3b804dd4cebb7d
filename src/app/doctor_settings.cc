// Environment variables that users of torch_npu and HCCL know: what they may hold.
#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "app/doctor_checks.h"
#include "base/strings.h"

namespace cairn::app {
namespace {

std::optional<double> number(std::string_view text) {
  double n = 0;
  const auto r = std::from_chars(text.data(), text.data() + text.size(), n);
  if (text.empty() || r.ec != std::errc() || r.ptr != text.data() + text.size()) return std::nullopt;
  return n;
}

// What is wrong with one `key:value` of PYTORCH_NPU_ALLOC_CONF; empty for nothing.
std::string allocator_fault(const std::string& key, const std::string& value) {
  const auto n = number(value);
  const auto whole = whole_number(value);
  if (key == "expandable_segments") return value == "True" || value == "False" ? "" : "is True or False";
  if (key == "max_split_size_mb") return whole && *whole > 20 ? "" : "is a number of MiB above 20";
  if (key == "garbage_collection_threshold") return n && *n > 0 && *n < 1 ? "" : "lies between 0 and 1";
  if (key == "base_addr_aligned_kb") return whole && *whole >= 0 && *whole <= 16 ? "" : "lies in 0 to 16";
  if (key == "page_size") return value == "1g" ? "" : "is 1g";
  return "is no known key" + did_you_mean(key, {"expandable_segments", "max_split_size_mb", "page_size",
                                                "garbage_collection_threshold", "base_addr_aligned_kb"});
}

Answer allocator(const Machine& m) {
  const char* name = "PYTORCH_NPU_ALLOC_CONF";
  const std::string advised = std::string("export ") + name + "=expandable_segments:True";
  const auto text = m.variable(name);
  if (text.empty()) return has_ascend(m) ? warn("not set: device memory falls into pieces", advised) : skip("not set");
  for (const auto& part : split(text, ',')) {
    const auto colon = part.find(':');
    const auto key = std::string(trim(part.substr(0, colon)));
    const auto value = colon == std::string::npos ? "" : std::string(trim(part.substr(colon + 1)));
    if (const auto fault = allocator_fault(key, value); !fault.empty())
      return fail(fmt::format("{}: {} {}", text, key, fault), advised);
  }
  return ok(text);
}

// A variable that holds one of a few words.
Answer choice(const Machine& m, const char* name, const std::vector<std::string>& words, const char* advised) {
  const auto text = m.variable(name);
  if (text.empty()) return skip("not set");
  if (std::ranges::find(words, text) != words.end()) return ok(text);
  return fail(text + " is none of " + join(words, ", "), fmt::format("export {}={}", name, advised));
}

Answer task_queue(const Machine& m) {
  auto answer = choice(m, "TASK_QUEUE_ENABLE", {"0", "1", "2"}, "1");
  if (answer.verdict == Verdict::kOk && answer.found == "2")
    return warn("2, which cannot capture graphs; 1 is for decoding, 2 for prefill only", "export TASK_QUEUE_ENABLE=1");
  if (answer.verdict == Verdict::kOk && answer.found == "0")
    return warn("0: every operation waits until it is launched", "export TASK_QUEUE_ENABLE=1");
  return answer;
}

Answer streams(const Machine& m) { return choice(m, "STREAMS_PER_DEVICE", {"8", "32"}, "32"); }
Answer expansion(const Machine& m) {
  return choice(m, "HCCL_OP_EXPANSION_MODE", {"HOST", "HOST_TS", "AI_CPU", "AIV"}, "AIV");
}

Answer buffer(const Machine& m) {
  const auto text = m.variable("HCCL_BUFFSIZE");
  if (text.empty()) return skip("not set, which is 200 MiB");
  const auto n = whole_number(text);
  if (n && *n >= 1) return ok(text + " MiB");
  return fail(text + " is no number of MiB", "export HCCL_BUFFSIZE=200");
}

// HCCL_SOCKET_IFNAME takes beginnings of names, "=name" for whole ones, and ^ before either to leave them out.
Answer interface(const Machine& m, const char* name, bool prefixes) {
  const auto text = m.variable(name);
  if (text.empty()) return skip("not set");
  const auto there = m.entries("/sys/class/net");
  if (there.empty() || text.starts_with('^')) return ok(text);
  for (auto part : split(text, ',')) {
    const bool whole = !prefixes || part.starts_with('=');
    if (part.starts_with('=')) part.erase(0, 1);
    for (const auto& interface : there)
      if (whole ? interface == part : interface.starts_with(part)) return ok(text);
  }
  const auto other = std::ranges::find_if(there, [](const auto& i) { return i != "lo"; });
  return fail(text + " is no network interface: there are " + join(there, ", "),
              fmt::format("export {}={}", name, other == there.end() ? "lo" : *other));
}
Answer hccl_interface(const Machine& m) { return interface(m, "HCCL_SOCKET_IFNAME", true); }
Answer gloo_interface(const Machine& m) { return interface(m, "GLOO_SOCKET_IFNAME", false); }

Answer blocking(const Machine& m) {
  const auto text = m.variable("ASCEND_LAUNCH_BLOCKING");
  if (text.empty() || text == "0") return skip("not set");
  return warn(text + ": waits for every operation, for debugging", "unset ASCEND_LAUNCH_BLOCKING");
}

constexpr Question kQuestions[] = {
    {"Settings", "PYTORCH_NPU_ALLOC_CONF", allocator},  {"Settings", "TASK_QUEUE_ENABLE", task_queue},
    {"Settings", "STREAMS_PER_DEVICE", streams},        {"Settings", "HCCL_BUFFSIZE", buffer},
    {"Settings", "HCCL_OP_EXPANSION_MODE", expansion},  {"Settings", "HCCL_SOCKET_IFNAME", hccl_interface},
    {"Settings", "GLOO_SOCKET_IFNAME", gloo_interface}, {"Settings", "ASCEND_LAUNCH_BLOCKING", blocking}};

}  // namespace

std::span<const Question> settings_questions() { return kQuestions; }

}  // namespace cairn::app
