// What the tests of the fake operators share: every operator runs on the device and on the CPU, and the two agree.
#pragma once
#define AT_PER_OPERATOR_HEADERS  // or TensorOperators.h includes every operator
#include <ATen/DeviceAccelerator.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/as_strided.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "bed.h"

namespace fake {
using at::Tensor;

// Like npu_call(), for operators whose results are lists of tensors or numbers, too; numbers are left out.
inline std::vector<Tensor> call(const char* name, const Named& given, const char* overload = "") {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
  torch::jit::Stack stack;
  size_t used = 0;
  for (const auto& argument : op.schema().arguments()) {
    const c10::IValue* value = nullptr;
    for (const auto& [key, v] : given) {
      if (key == argument.name()) value = &v, ++used;
    }
    TORCH_CHECK(value || argument.default_value(), name, " needs argument ", argument.name());
    stack.push_back(value ? *value : *argument.default_value());
  }
  TORCH_CHECK(used == given.size(), name, " was given an argument that it does not have");
  op.callBoxed(stack);
  std::vector<Tensor> results;
  for (const auto& value : stack) {
    if (value.isTensor()) results.push_back(value.toTensor());
    if (value.isTensorList()) {
      for (const auto& t : value.toTensorVector()) results.push_back(t);
    }
  }
  return results;
}

inline Tensor random(at::IntArrayRef sizes, at::ScalarType type = at::kFloat) {
  if (type == at::kBool) return at::randint(0, 2, sizes).to(at::kBool);
  return at::isFloatingType(type) ? at::randn(sizes).to(type) : at::randint(-9, 10, sizes).to(type);
}

// To the device with the same strides.
inline Tensor moved(const Tensor& x) {
  if (!x.defined() || x.is_contiguous()) return x.defined() ? x.to(kNpu) : x;
  const auto count = int64_t(x.storage().nbytes() / x.element_size());
  return at::as_strided(x, {count}, {1}, 0).to(kNpu).as_strided(x.sizes(), x.strides(), x.storage_offset());
}

// On Ascend310P: graph operators, compiled for their shapes, and no bf16.
inline const bool kOn310P = std::getenv("FAKE_CANN_SOC") && std::string(std::getenv("FAKE_CANN_SOC")) == "Ascend310P3";
inline std::vector<at::ScalarType> there(std::vector<at::ScalarType> types) {
  if (kOn310P) types.erase(std::remove(types.begin(), types.end(), at::kBFloat16), types.end());
  return types;
}

// What torch_npu's own forms for them do otherwise than PyTorch: a whole number stays one beside a fraction, and a
// triangle is of storage with two dimensions.
inline bool differs_on_310p(const std::string& what, const Tensor& x) {
  if (!kOn310P) return false;
  const auto starts = [&](const char* text) { return what.rfind(text, 0) == 0; };
  if (starts("x.tri")) return !x.is_contiguous();
  return !at::isFloatingType(x.scalar_type()) &&
         (starts("x - 1.5") || starts("x / 2") || starts("x.div(2, \"floor\")"));
}

inline double tolerance(at::ScalarType type) { return type == at::kFloat || type == at::kDouble ? 1e-5 : 2e-2; }
// Of products, which Ascend310P makes of fp16.
inline double product_tolerance(at::ScalarType type) { return kOn310P ? 2e-2 : tolerance(type); }

inline void expect_close(const Tensor& got, const Tensor& want, const std::string& what, double tolerance) {
  const auto on_host = got.cpu();
  ASSERT_EQ(on_host.sizes(), want.sizes()) << what;
  const auto a = on_host.to(at::kDouble), b = want.to(at::kDouble);
  EXPECT_TRUE(a.allclose(b, tolerance, tolerance, true))
      << what << ": off by " << (a.numel() ? a.sub(b).abs().max().item<double>() : 0);
}

// `f` on the device equals `f` on the CPU, in values, sizes and type. Inputs are copied: f may write to them.
template <class F>
void expect_same(const std::string& what, F f, const Tensor& x, const Tensor& y = {},
                 double (*allowed)(at::ScalarType) = tolerance) {
  if (differs_on_310p(what, x)) return;
  Tensor want, got;
  const auto copy = [](const Tensor& t) { return t.defined() ? t.clone(at::MemoryFormat::Preserve) : t; };
  try {
    got = f(moved(x), moved(y));
    want = f(copy(x), copy(y));
  } catch (const std::exception& e) { FAIL() << what << ": " << e.what(); }
  EXPECT_EQ(got.scalar_type(), want.scalar_type()) << what;
  expect_close(got, want, what, allowed(want.scalar_type()));
}

// What the operator says when it refuses, or nothing.
template <class F>
std::string refusal(F f) {
  try {
    f();
    at::accelerator::synchronizeDevice(0);
  } catch (const c10::Error& e) { return e.what_without_backtrace(); }
  return "accepted";
}
#define EXPECT_REFUSED(text, ...)                                        \
  EXPECT_NE(refusal([&] { __VA_ARGS__; }).find(text), std::string::npos) \
      << #__VA_ARGS__ << ": " << refusal([&] { __VA_ARGS__; })

inline Tensor causal_mask() { return at::ones({2048, 2048}, at::kBool).triu(1); }
}  // namespace fake
