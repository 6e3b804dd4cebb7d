// ops_conformance test|perf|support: every operation on a device, against float64 and against the clock.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "device/device.h"
#include "ops/cache.h"
#include "ops/install.h"
#include "ops/vision.h"
#include "ops_conformance/modes.h"

namespace cairn::ops::conformance {
namespace {

constexpr Dtype kDtypes[] = {kF32, kBF16, kF16};

void check_name(const std::string& op) {
  std::string known;
  for (const AnyOp* o : AnyOp::all()) {
    if (o->name() == op) return;
    known += (known.empty() ? "" : ", ") + std::string(o->name());
  }
  throw Failure({Code::kInvalidArgument, fmt::format("--op {}: there is no such operation; there are {}", op, known)});
}

int run(int argc, char** argv) {
  CLI::App app{"Runs every operation of the vocabulary on a device."};
  app.require_subcommand(1);
  std::string device_name, op, dtype;
  const auto add = [&](const char* name, const char* help) {
    CLI::App* mode = app.add_subcommand(name, help);
    mode->add_option("--device", device_name, "cpu, npu, cuda or cuda:N");
    mode->add_option("--op", op, "this operation alone");
    return mode;
  };
  const auto add_dtype = [&](CLI::App* mode, const char* help) { mode->add_option("--dtype", dtype, help); };
  const CLI::App *testing = add("test", "compare with the reference in float64; exit status 1 when one is off"),
                 *timing = add("perf", "time the sizes of Qwen3-0.6B and of a FLUX block");
  const CLI::App* supporting = add("support", "list which devices have kernels");
  add_dtype(app.get_subcommand("test"), "fp32, bf16 or fp16; all that the device computes in without it");
  add_dtype(app.get_subcommand("perf"), "fp32, bf16 or fp16; bf16 without it");
  CLI11_PARSE(app, argc, argv);

  Asked asked{.op = op, .dtypes = {}};
  if (!op.empty()) check_name(op);
  if (supporting->parsed()) {
    support(device_name.empty() ? std::vector<std::string>{"cpu", "cuda", "npu"} : std::vector{device_name}, asked);
    return 0;
  }
  device::set_threads(0);
  const Inference inference;
  const c10::Device device = or_throw(device::open(device_name.empty() ? "cpu" : device_name));
  install_kernels(device);
  if (!dtype.empty())
    asked.dtypes = {or_throw(parse_dtype(dtype))};
  else if (timing->parsed())
    asked.dtypes = {kBF16};
  else
    std::ranges::copy_if(kDtypes, std::back_inserter(asked.dtypes),
                         [&](Dtype d) { return device::compute_dtype(device, d) == d; });
  if (testing->parsed()) return test(device, asked) > 0;
  perf(device, asked);
  return 0;
}

}  // namespace
}  // namespace cairn::ops::conformance

int main(int argc, char** argv) {
  try {
    return cairn::ops::conformance::run(argc, argv);
  } catch (const std::exception& e) {
    std::fputs(fmt::format("ops_conformance: {}\n", e.what()).c_str(), stderr);
    return 2;
  }
}
