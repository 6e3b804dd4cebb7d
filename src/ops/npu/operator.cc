#include "ops/npu/operator.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <fmt/core.h>

namespace cairn::ops::npu {

struct Operator::Found {
  c10::OperatorHandle handle;
  std::vector<std::string> names;
  torch::jit::Stack defaults;  // None where an argument must be given
};

namespace {

c10::IValue boxed(const Operator::Value& value) {
  return std::visit(
      [](const auto& v) -> c10::IValue {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, const char*>)
          return std::string(v);
        else if constexpr (std::is_same_v<std::decay_t<decltype(v)>, Tensor>)
          return v.defined() ? c10::IValue(v) : c10::IValue();
        else
          return v;
      },
      value);
}

// Whether `name` is one of the alternatives of "a|b".
bool is_one_of(std::string_view name, std::string_view alternatives) {
  while (!alternatives.empty()) {
    const size_t end = std::min(alternatives.find('|'), alternatives.size());
    if (alternatives.substr(0, end) == name) return true;
    alternatives.remove_prefix(std::min(end + 1, alternatives.size()));
  }
  return false;
}

}  // namespace

Operator::Operator(const char* name, const char* overload) : name_(name) {
  const auto handle = c10::Dispatcher::singleton().findSchema({name, overload});
  if (!handle || !handle->hasKernelForDispatchKey(c10::DispatchKey::PrivateUse1)) return;
  Found f{*handle, {}, {}};
  for (const auto& a : handle->schema().arguments()) {
    f.names.push_back(a.name());
    f.defaults.push_back(a.default_value() ? *a.default_value() : c10::IValue());
  }
  found_ = std::make_shared<const Found>(std::move(f));
}

std::vector<Tensor> Operator::operator()(Named arguments) const {
  check(exists(), "an operator is called that torch_npu does not have");
  torch::jit::Stack stack = found_->defaults;
  for (const auto& [name, value] : arguments) {
    size_t at = 0;
    while (at < found_->names.size() && !is_one_of(found_->names[at], name)) ++at;
    if (at == found_->names.size()) throw Bug(fmt::format("{} has no argument {}", name_, name));
    stack[at] = boxed(value);
  }
  found_->handle.callBoxed(stack);
  std::vector<Tensor> out;
  for (const auto& v : stack) {
    if (v.isTensor()) out.push_back(v.toTensor());
    if (v.isTensorList())
      for (const Tensor& t : v.toTensorVector()) out.push_back(t);
  }
  return out;
}

}  // namespace cairn::ops::npu
