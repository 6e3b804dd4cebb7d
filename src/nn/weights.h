// A view of one prefix of a checkpoint, from which layers are built:
//
//   Linear up(w / "ff" / "net.0.proj");      // reads ff.net.0.proj.weight and .bias
//
// Sources: safetensors files (mapped), an overlay that adds LoRA, or synthetic numbers. Reading throws Failure with the
// full key; unread() says what a model never asked for.
#pragma once
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ops/weight.h"
#include "tensor/tensor.h"

namespace cairn::nn {

// Where tensors come from, by full name.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual bool has(const std::string& name) const = 0;
  // `shape`: what the caller expects; -1 for any size of a dimension, empty for any shape at all.
  virtual Result<Tensor> read(const std::string& name, at::IntArrayRef shape) const = 0;
  virtual std::vector<std::string> names() const = 0;  // empty when any name exists (synthetic)
  virtual std::string describe() const = 0;            // for messages: the file or folder
};

// Opens `folder`/NAME.safetensors, or the shards that `folder`/NAME.safetensors.index.json lists, for the first NAME
// of `stems` that exists ("diffusion_pytorch_model", "model").
Result<std::shared_ptr<WeightSource>> open_checkpoint(const std::string& folder, const std::vector<std::string>& stems);

// On an accelerator, puts weights into one piece of memory, one behind the other, so that a device's kernels may take
// them as one. Those with biases stay where they are.
void adjoin(std::initializer_list<ops::Weight*> weights);

// Numbers that are a hash of the tensor's name and `seed`: uniform, scaled by 1/sqrt(last dimension) (biases small,
// norm weights near one), so that activations stay finite at any depth. For shapes without files. An accelerator draws
// its own, other ones: nothing of gigabytes crosses from the host.
std::shared_ptr<WeightSource> synthetic(uint64_t seed, c10::Device device = c10::DeviceType::CPU);

class Weights {
 public:
  // Reads of `source` converted to `dtype` (the dtype of products; norms and embeddings ask for their own) and brought
  // to `device`.
  Weights(std::shared_ptr<const WeightSource> source, Dtype dtype, c10::Device device = c10::DeviceType::CPU);

  Weights operator/(std::string_view child) const;
  Weights operator/(int64_t child) const { return *this / std::to_string(child); }

  // The tensor `prefix.name` in the dtype of products. Throws Failure when it is missing, has another shape, no
  // float dtype, or (one pass over it) holds NaN or infinity.
  Tensor operator()(std::string_view name, at::IntArrayRef shape = {}) const { return read(name, shape, dtype_); }
  Tensor read(std::string_view name, at::IntArrayRef shape, Dtype dtype) const;
  bool has(std::string_view name) const;

  // `prefix.weight` (out, in) and, when there is one, `prefix.bias`, as operations take them. -1 for any size.
  ops::Weight matrix(int64_t out, int64_t in) const { return matrix(out, in, has("bias")); }
  // With a bias or without, as the model's config says.
  ops::Weight matrix(int64_t out, int64_t in, bool bias) const;

  Dtype dtype() const { return dtype_; }
  c10::Device device() const { return device_; }
  // The dtype of the residual stream: on a processor fp32 costs nothing beside bf16 products, and loses nothing.
  Dtype residual() const { return device_.is_cpu() ? kF32 : dtype_; }
  // The dtype of norms' weights: an accelerator's fused norms take them in the dtype of what they norm.
  Dtype norms() const { return residual(); }
  const std::string& prefix() const { return prefix_; }
  // Names in the source that start with this prefix and that nobody has read.
  std::vector<std::string> unread() const;

 private:
  std::string key(std::string_view name) const { return prefix_ + std::string(name); }

  std::shared_ptr<const WeightSource> source_;
  std::shared_ptr<std::set<std::string>> read_;
  Dtype dtype_;
  c10::Device device_;
  std::string prefix_;
};

}  // namespace cairn::nn
