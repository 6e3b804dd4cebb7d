// An operator of torch_npu, called by the name of its schema with named arguments. It is looked up when the program
// runs: torch_npu may be missing, and its operators differ from version to version.
#pragma once
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tensor/tensor.h"

namespace cairn::ops::npu {

class Operator {
 public:
  using Value = std::variant<Tensor, int64_t, double, bool, const char*, std::vector<int64_t>, std::vector<Tensor>>;
  // Names as the schema has them; "input|self" where versions differ. The rest takes the schema's defaults. A tensor
  // that is undefined is None.
  using Named = std::initializer_list<std::pair<std::string_view, Value>>;

  explicit Operator(const char* name, const char* overload = "");
  const std::string& name() const { return name_; }
  bool exists() const { return found_ != nullptr; }
  // Its tensors in order, those of lists one after the other. An argument that it does not have is a Bug.
  std::vector<Tensor> operator()(Named arguments) const;

 private:
  struct Found;
  std::string name_;
  std::shared_ptr<const Found> found_;
};

}  // namespace cairn::ops::npu
