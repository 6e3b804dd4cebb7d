// What is installed where.
#include <fmt/core.h>

#include <optional>

#include "device/device.h"
#include "ops/install.h"
#include "ops_conformance/modes.h"

namespace cairn::ops::conformance {

void support(const std::vector<std::string>& names, const Asked& asked) {
  std::vector<std::optional<c10::Device>> devices;
  std::vector<std::string> reasons;
  for (const std::string& name : names) {
    const auto opened = device::open(name);
    devices.push_back(opened ? std::optional(*opened) : std::nullopt);
    if (opened)
      install_kernels(*opened);
    else
      reasons.push_back(opened.error().what);
  }
  fmt::print("{:<20}", "op");
  for (const std::string& name : names) fmt::print(" {:>9}", name);
  fmt::print("\n");
  for (const AnyOp* op : AnyOp::all()) {
    if (!asked.wants(*op)) continue;
    fmt::print("{:<20}", op->name());
    for (const auto& d : devices) fmt::print(" {:>9}", d ? runs(*op, *d) : "not here");
    fmt::print("\n");
  }
  for (const std::string& reason : reasons) fmt::print("{}\n", reason);
}

}  // namespace cairn::ops::conformance
