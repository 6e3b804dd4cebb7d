// What `cairn doctor` asks of a machine: one function a question, answered by what was found and how to mend it.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace cairn::app {

enum class Verdict : uint8_t { kOk, kWarn, kFail, kSkip };  // kSkip: the question means nothing here

struct Answer {
  Verdict verdict;
  std::string found;
  std::string mend = {};  // a command wherever there is one; empty where there is nothing to do
};

struct Check {
  std::string topic, name;
  Answer answer;
};

struct Space {  // bytes
  double total = 0, free = 0;
};

struct DeviceSeen {
  std::string kind, name;  // "npu", "npu:0"
  std::string error{};     // why it cannot be opened
};

// The accelerators that Cairn can compute on, opened, and of each kind that is asked for the first that cannot be.
std::vector<DeviceSeen> devices_seen(bool ascend, bool cuda);

// Where the questions look. Tests make machines of files in a folder. Nothing here throws for what a file holds.
struct Machine {
  std::string root;  // stands before every path: empty for this machine
  std::map<std::string, std::string> environment;
  std::string architecture;                   // as uname has it
  std::string program;                        // the folder of the program
  std::string torch;                          // the folder of the libtorch in use; empty when unknown
  std::string torch_built_with;               // the version whose headers the program was compiled with
  bool cuda_kernels = false;                  // compiled in
  std::vector<std::string> instruction_sets;  // that there are kernels for and that run here, best first
  // The folder of a module that the Python on PATH could import; empty for none.
  std::function<std::string(const std::string& module)> python_module = [](const auto&) { return std::string(); };
  std::function<std::optional<Space>(const std::string& path)> space = [](const auto&) { return std::nullopt; };
  std::function<Result<void>(const std::string& name)> weights;  // whether embedded weights can be read
  std::function<std::vector<DeviceSeen>()> devices = [] { return std::vector<DeviceSeen>(); };

  static Machine here();

  bool exists(const std::string& path) const;
  // At most 64 KiB of a regular file; nothing where it cannot be read.
  std::optional<std::string> read(const std::string& path) const;
  // The first line without blanks around it; empty where there is none.
  std::string line(const std::string& path) const;
  // What follows `key` (and blanks, = or :) on the first line that begins with it; empty where there is none.
  std::string value(const std::string& path, std::string_view key) const;
  // The entries of a folder that are `prefix` and digits, as numbers in order.
  std::vector<int64_t> numbered(const std::string& folder, const std::string& prefix) const;
  std::vector<std::string> entries(const std::string& folder) const;
  // An environment variable; one that is not set counts as empty.
  std::string variable(const std::string& name) const;
  // The first of these that exists; empty for none.
  std::string first_of(const std::vector<std::string>& paths) const;
};

struct Question {
  const char *topic, *name;
  Answer (*ask)(const Machine&);
};

std::span<const Question> host_questions();      // doctor_checks.cc
std::span<const Question> program_questions();   // doctor_program.cc
std::span<const Question> ascend_questions();    // doctor_accelerators.cc
std::span<const Question> cuda_questions();      // the same
std::span<const Question> settings_questions();  // doctor_settings.cc

// All questions in the order shown. One whose function throws is a warning that says so.
std::vector<Check> examine(const Machine& machine);

inline Answer ok(std::string found) { return {Verdict::kOk, std::move(found)}; }
inline Answer skip(std::string found) { return {Verdict::kSkip, std::move(found)}; }
inline Answer warn(std::string found, std::string mend) { return {Verdict::kWarn, std::move(found), std::move(mend)}; }
inline Answer fail(std::string found, std::string mend) { return {Verdict::kFail, std::move(found), std::move(mend)}; }

// The whole text as a number; nothing for anything else.
std::optional<int64_t> whole_number(std::string_view text);
// The numbers of a version, "8.3.RC2" -> {8, 3}: up to the first part that is none.
std::vector<int64_t> version_numbers(std::string_view text);
// __version__ of a wheel's version.py, without what follows a +.
std::string wheel_version(const Machine& machine, const std::string& folder);

// Device nodes /dev/davinci*, or other traces of Ascend's software; /dev/nvidia*, or NVIDIA's driver.
std::vector<int64_t> ascend_nodes(const Machine& machine);
std::vector<int64_t> cuda_nodes(const Machine& machine);
bool has_ascend(const Machine& machine);
bool has_cuda(const Machine& machine);

}  // namespace cairn::app
