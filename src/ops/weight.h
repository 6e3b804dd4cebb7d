// Weights as operations take them: the plain tensor of the checkpoint, and the form that a device's kernels prefer.
#pragma once
#include <memory>
#include <mutex>

#include "tensor/tensor.h"

namespace cairn::ops {

// A weight and its bias, immutable. (out, in) for a linear layer, (out, in, height, width) for a convolution.
// Copies share the same memory. A kernel may keep its own form of the weight beside it (packed panels, say),
// made at the first use and shared by all copies.
class Weight {
 public:
  Weight() = default;
  Weight(Tensor weight, Tensor bias)
      : weight_(std::move(weight)), bias_(std::move(bias)), form_(std::make_shared<Form>()) {}

  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }  // undefined when the layer has none
  int64_t out() const { return weight_.size(0); }
  int64_t in() const { return weight_.size(1); }
  Dtype dtype() const { return weight_.scalar_type(); }
  bool defined() const { return weight_.defined(); }

  // The form that `make(*this)` returns, as std::shared_ptr<const T>. One weight has one form: the kernels of a
  // device agree on it. Threads may call this at once.
  template <class T, class Make>
  const T& form(Make&& make) const {
    std::call_once(form_->once, [&] { form_->data = make(*this); });
    return *static_cast<const T*>(form_->data.get());
  }

 private:
  struct Form {
    std::once_flag once;
    std::shared_ptr<const void> data;
  };
  Tensor weight_, bias_;
  std::shared_ptr<Form> form_;
};

inline double weight_bytes(const Weight& w) { return w.defined() ? static_cast<double>(w.weight().nbytes()) : 0; }

}  // namespace cairn::ops
