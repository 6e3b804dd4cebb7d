// Operations against float64.
#include <fmt/core.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "device/device.h"
#include "ops/attention.h"
#include "ops_conformance/modes.h"

namespace cairn::ops::conformance {
namespace {

// |a - b| / |b|, and the largest |a - b| as a share of the largest |b|.
struct Distance {
  double relative = 0, most = 0;
};

double infinite_if_none(double d) { return std::isnan(d) ? std::numeric_limits<double>::infinity() : d; }

Distance distance(const Tensor& a, const Tensor& b) {
  if (b.numel() == 0) return {};
  const Tensor d = a.to(kF64) - b.to(kF64);
  const auto number = [](const Tensor& t) { return t.item().toDouble(); };
  const auto share = [](double part, double whole) { return infinite_if_none(part == 0 ? 0 : part / whole); };
  return {share(number(d.norm()), number(b.norm())), share(number(d.abs().max()), number(b.abs().max()))};
}

// What rounding results in a dtype may cost, and rounding between a few steps on the way to them.
double tolerance(Dtype dtype, Closeness closeness) {
  if (closeness == Closeness::kExact) return 0;
  if (closeness == Closeness::kSums || dtype == kF32) return 3e-6;
  return dtype == kF16 ? 1.2e-3 : 8e-3;
}
// Single numbers may be further off than all of them are.
constexpr double kSingle = 3;

struct Verdict {
  Distance worst;
  std::vector<std::string> faults, refusals;
  int64_t samples = 0;
};

std::string text(at::IntArrayRef sizes) {
  std::string out;
  for (const int64_t n : sizes) out += (out.empty() ? "" : "x") + std::to_string(n);
  return "(" + out + ")";
}

void compare(const Sample& s, Dtype dtype, const Outputs& found, const Outputs& expected, Verdict& to) {
  check(found.size() == expected.size(), "an operation gives as many results everywhere");
  for (size_t i = 0; i < found.size(); ++i) {
    const auto fault = [&](const std::string& what) {
      to.faults.push_back(fmt::format("{}: result {}: {}", s.what, i, what));
    };
    const Tensor a = on_host(found[i].value), &b = expected[i].value;
    if (a.sizes() != b.sizes()) {
      fault(fmt::format("it has the sizes {} and not {}", text(a.sizes()), text(b.sizes())));
      continue;
    }
    if (a.scalar_type() != found[i].dtype)
      fault(fmt::format("it is {} and not {}", c10::toString(a.scalar_type()), c10::toString(found[i].dtype)));
    const Distance e = distance(a, b);
    to.worst = {std::max(to.worst.relative, e.relative), std::max(to.worst.most, e.most)};
    const double most = tolerance(dtype, found[i].closeness);
    if (!(e.relative <= most && e.most <= kSingle * most))
      fault(fmt::format("off by {:.2e} of its norm and {:.2e} of its largest number; allowed are {:.1e} and {:.1e}",
                        e.relative, e.most, most, kSingle * most));
  }
}

// Whether a device refuses a dtype that it says it does not compute in; anything else that is thrown is a failure.
bool refuses(c10::Device device, Dtype dtype, const std::string& what) {
  return device::compute_dtype(device, dtype) != dtype && what.find(c10::toString(dtype)) != std::string::npos &&
         (what.find("not implemented for") != std::string::npos || what.find("not support") != std::string::npos);
}

void try_sample(const Sample& s, c10::Device device, Dtype dtype, Verdict& to) {
  ++to.samples;
  try {
    Place exact = Place::exact(dtype), here(device, dtype);
    const Outputs expected = s.make(exact)();
    const Outputs found = s.make(here)();
    compare(s, dtype, found, expected, to);
  } catch (const std::exception& e) {
    const auto error = tensor_error(e);
    const std::string what = error ? error->what : e.what();
    (refuses(device, dtype, what) ? to.refusals : to.faults).push_back(s.what + ": " + what);
  }
}

}  // namespace

const char* runs(const AnyOp& op, c10::Device device) { return op.has_kernel(device.type()) ? "kernel" : "reference"; }

int test(c10::Device device, const Asked& asked) {
  Samples samples;
  add_layers(samples);
  add_attention(samples);
  add_paged(samples);
  add_vision(samples);
  add_cache(samples);
  add_sampling(samples);
  constexpr size_t kShown = 8;
  int failed = 0, passed = 0;
  fmt::print("{:<20} {:<5} {:>7} {:>9} {:>9}  {:<17}  on {}\n", "op", "dtype", "samples", "rel. L2", "rel. max", "runs",
             device.str());
  const auto judge = [&](const AnyOp* op, Dtype dtype, const std::string& by) {
    Verdict v;
    for (const Sample& s : samples)
      if (s.op == op) try_sample(s, device, dtype, v);
    if (v.samples == 0) v.faults.emplace_back("it has no samples: write some, in tests/ops_conformance");
    const bool refused = v.faults.empty() && !v.refusals.empty();
    const char* verdict = !v.faults.empty() ? "FAILED" : refused ? "not supported" : "ok";
    fmt::print("{:<20} {:<5} {:>7} {:>9.1e} {:>9.1e}  {:<17}  {}\n", op->name(), dtype_name(dtype), v.samples,
               v.worst.relative, v.worst.most, by, verdict);
    const auto& said = v.faults.empty() ? v.refusals : v.faults;
    for (size_t i = 0; i < std::min(said.size(), kShown); ++i) fmt::print("    {}\n", said[i]);
    if (said.size() > kShown) fmt::print("    and {} more\n", said.size() - kShown);
    std::fflush(stdout);
    ++(v.faults.empty() ? passed : failed);
  };
  for (const AnyOp* op : AnyOp::all()) {
    if (!asked.wants(*op)) continue;
    for (const Dtype dtype : asked.dtypes) {
      if (op != &attention) {
        judge(op, dtype, runs(*op, device));
        continue;
      }
      for (const std::string& name : attention_backends(device, dtype)) {
        or_throw(select_attention(device, name, dtype));
        judge(op, dtype, name);
      }
    }
  }
  fmt::print("{} passed, {} failed\n", passed, failed);
  return failed;
}

}  // namespace cairn::ops::conformance
