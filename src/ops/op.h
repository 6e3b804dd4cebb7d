// An operation: a name, its meaning in plain tensor code (the reference, which is also the test oracle), and faster
// kernels that devices may install. Calling it runs the kernel of the device of the first tensor, else the reference.
//
//   inline Op<Tensor(const Tensor& x, double eps)> norm{"norm", reference::norm};
//   void install_cpu() { norm.on(kCPU, cpu::norm); }
#pragma once
#include <array>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace cairn::ops {

inline constexpr auto kCPU = c10::DeviceType::CPU;

// What every operation shares, for lists: tests and benchmarks walk all().
class AnyOp {
 public:
  explicit AnyOp(std::string_view name) : name_(name) { all().push_back(this); }
  AnyOp(const AnyOp&) = delete;
  AnyOp& operator=(const AnyOp&) = delete;
  virtual ~AnyOp() = default;

  std::string_view name() const { return name_; }
  virtual bool has_kernel(c10::DeviceType device) const = 0;
  static std::vector<AnyOp*>& all() {
    static std::vector<AnyOp*> ops;
    return ops;
  }

 private:
  std::string_view name_;
};

// Told of every operation that this thread runs, while one is set: for profiles.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void enter(const AnyOp& op, double weight_bytes) = 0;
  virtual void leave(const AnyOp& op) = 0;
};
inline constinit thread_local Observer* observer = nullptr;

// Bytes of the weights in an argument; weight.h and ops.h overload it for theirs.
template <class T>
double weight_bytes(const T&) {
  return 0;
}
template <class T>
double weight_bytes(at::ArrayRef<T> list) {
  double sum = 0;
  for (const T& t : list) sum += weight_bytes(t);
  return sum;
}

// Brackets a call for the observer.
class Watched {
 public:
  template <class Bytes>
  Watched(const AnyOp& op, Bytes&& bytes) : by_(observer), op_(op) {
    if (by_) [[unlikely]]
      by_->enter(op, bytes());
  }
  ~Watched() {
    if (by_) [[unlikely]]
      by_->leave(op_);
  }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

 private:
  Observer* by_;
  const AnyOp& op_;
};

inline c10::DeviceType device_type_of(const Tensor& t) { return t.device().type(); }
inline c10::DeviceType device_type_of(at::TensorList t) { return t[0].device().type(); }

template <class Signature>
class Op;

template <class R, class First, class... Rest>
class Op<R(First, Rest...)> final : public AnyOp {
 public:
  using Kernel = R (*)(First, Rest...);
  Op(std::string_view name, Kernel meaning) : AnyOp(name), reference_(meaning) {}

  R operator()(First first, Rest... rest) const {
    const Kernel k = kernels_[static_cast<size_t>(device_type_of(first))];
    const Watched watched(*this, [&] { return (weight_bytes(first) + ... + weight_bytes(rest)); });
    return (k ? k : reference_)(static_cast<First>(first), static_cast<Rest>(rest)...);
  }
  void on(c10::DeviceType device, Kernel kernel) { kernels_[static_cast<size_t>(device)] = kernel; }
  bool has_kernel(c10::DeviceType device) const override { return kernels_[static_cast<size_t>(device)] != nullptr; }
  Kernel reference() const { return reference_; }

 private:
  Kernel reference_;
  std::array<Kernel, static_cast<size_t>(c10::COMPILE_TIME_MAX_DEVICE_TYPES)> kernels_{};
};

}  // namespace cairn::ops
