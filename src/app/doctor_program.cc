// What the program itself stands on: kernels, libtorch, weights, disks.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "app/doctor_checks.h"
#include "base/strings.h"

namespace cairn::app {
namespace {

constexpr double kMiB = 1 << 20, kGiB = 1 << 30;

Answer instruction_set(const Machine& m) {
  const auto wanted = m.variable("CAIRN_ISA");
  const auto& runs = m.instruction_sets;
  if (runs.empty()) return fail("no kernels run here", "build on this machine: ./cairn");
  if (!wanted.empty() && std::ranges::find(runs, wanted) == runs.end())
    return fail("CAIRN_ISA=" + wanted + "; this processor runs " + join(runs, ", "), "unset CAIRN_ISA");
  if (!wanted.empty() && wanted != runs[0])
    return warn(wanted + ", by CAIRN_ISA; the best is " + runs[0], "unset CAIRN_ISA");
  if (m.architecture == "x86_64" && runs[0] == "baseline")
    return warn("baseline: this processor shows no AVX2",
                "in a virtual machine, pass the host's processor through (qemu: -cpu host)");
  return ok(runs[0]);
}

std::string short_version(const std::string& version) {
  const auto n = version_numbers(version);
  return n.size() < 2 ? version : fmt::format("{}.{}", n[0], n[1]);
}

Answer libtorch(const Machine& m) {
  const auto at = m.torch.empty() ? std::string() : wheel_version(m, m.torch);
  if (at.empty())
    return fail(m.torch.empty() ? "not found among the libraries of this process" : "no version.py in " + m.torch,
                "CAIRN_TORCH=FOLDER ./cairn doctor, with the torch folder of a PyTorch");
  const auto found = at + " in " + m.torch;
  if (short_version(at) != short_version(m.torch_built_with))
    return fail(found + ", but built with " + m.torch_built_with, "CAIRN_TORCH=" + m.torch + " ./cairn doctor");
  const auto n = version_numbers(at);
  if (n.size() >= 2 && (n < std::vector<int64_t>{2, 11} || n >= std::vector<int64_t>{2, 14}))
    return warn(found + "; tested are 2.11 and 2.13", "pip install torch==2.13.0");
  return ok(found);
}

Answer weights(const Machine& m) {
  for (const char* name : {"cairn-emoji", "cairn-tiny-lm"})
    if (const auto read = m.weights ? m.weights(name) : Result<void>{}; !read)
      return fail(read.error().what, "git checkout -- weights (or install Cairn again)");
  return ok("cairn-emoji, cairn-tiny-lm");
}

Answer free_disk(const Machine& m) {
  if (m.program.empty()) return skip("the program's folder is unknown");
  const auto space = m.space(m.root + m.program);
  if (!space) return skip("the system does not say");
  const auto found = human_bytes(space->free) + " free at " + m.program;
  if (space->free < 100 * kMiB) return fail(found, "make room: outputs and builds cannot be written");
  if (space->free < 4 * kGiB) return warn(found, "make room: a build with its libtorch takes 4 GiB");
  return ok(found);
}

constexpr Question kQuestions[] = {{"Program", "instruction set", instruction_set},
                                   {"Program", "libtorch", libtorch},
                                   {"Program", "embedded weights", weights},
                                   {"Program", "disk", free_disk}};

}  // namespace

std::span<const Question> program_questions() { return kQuestions; }

}  // namespace cairn::app
