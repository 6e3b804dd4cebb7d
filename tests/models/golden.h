// Recorded numbers, and how far ours are from them.
#pragma once
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "device/under_test.h"
#include "tensor/safetensors.h"

namespace cairn::testing {

inline std::string source_path(const std::string& relative) { return std::string(CAIRN_SOURCE_DIR) + "/" + relative; }

// A recorded safetensors file, opened once.
inline Tensor golden(const std::string& file, const std::string& name) {
  static std::map<std::string, SafetensorsFile> files;
  if (!files.contains(file)) files.emplace(file, *SafetensorsFile::open(source_path("tests/golden/" + file)));
  auto t = map_tensor(files.at(file), name);
  if (!t) throw Failure(t.error());
  return *t;
}

// Norm of the difference over norm of the expected values.
inline double relative_error(const Tensor& got, const Tensor& want) {
  if (got.sizes() != want.sizes()) return 1e9;
  const Tensor g = on_host(got).to(Dtype::Double), w = on_host(want).to(Dtype::Double);
  return (g - w).norm().item<double>() / w.norm().item<double>();
}

}  // namespace cairn::testing
