// The times of operations at the sizes of models.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>

#include "device/device.h"
#include "ops_conformance/modes.h"

namespace cairn::ops::conformance {
namespace {

using Clock = std::chrono::steady_clock;

// Seconds of a call: the median over batches that each last long enough for a clock, the device waited for at the end.
double median_seconds(const Run& run, c10::Device device) {
  const auto batch = [&](int64_t calls) {
    const auto start = Clock::now();
    for (int64_t i = 0; i < calls; ++i) run();
    device::synchronize(device);
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  batch(2);  // packs weights, fills allocators
  const double once = batch(1);
  const auto calls = std::clamp<int64_t>(static_cast<int64_t>(2e-3 / once), 1, 1000);
  std::vector<double> times;
  double spent = 0;
  while (times.size() < 3 || (spent < 0.2 && times.size() < 101)) {
    const double seconds = batch(calls);
    spent += seconds;
    times.push_back(seconds / static_cast<double>(calls));
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::ranges::nth_element(times, middle);
  return *middle;
}

double bytes_of(const Outputs& outputs) {
  double sum = 0;
  for (const Output& o : outputs)
    if (o.value.defined()) sum += static_cast<double>(o.value.nbytes());
  return sum;
}

}  // namespace

void perf(c10::Device device, const Asked& asked) {
  std::vector<Timed> all;
  add_timed_language(all);
  add_timed_pictures(all);
  fmt::print("{:<20} {:<44} {:<5} {:<9} {:>10} {:>8} {:>8}  on {}\n", "op", "size", "dtype", "runs", "us", "GB/s",
             "GFLOP/s", device.str());
  for (const AnyOp* op : AnyOp::all()) {
    if (!asked.wants(*op)) continue;
    for (const Dtype dtype : asked.dtypes)
      for (const Timed& t : all) {
        if (t.sample.op != op) continue;
        Place here(device, dtype);
        const Run run = t.sample.make(here);
        const double bytes = t.bytes > 0 ? t.bytes * static_cast<double>(c10::elementSize(dtype))
                                         : here.bytes() + bytes_of(run()),
                     seconds = median_seconds(run, device);
        const auto rate = [&](double amount) {
          // What takes no time does nothing: a rope table that a device takes as it is.
          return amount > 0 && seconds > 1e-7 ? fmt::format("{:.1f}", amount / seconds / 1e9) : "-";
        };
        fmt::print("{:<20} {:<44} {:<5} {:<9} {:>10.1f} {:>8} {:>8}\n", op->name(), t.sample.what, dtype_name(dtype),
                   runs(*op, device), seconds * 1e6, rate(bytes), rate(t.flops));
        std::fflush(stdout);
      }
  }
}

}  // namespace cairn::ops::conformance
