// The layers that models are written with: immutable values built from Weights.
#pragma once
#include <functional>
#include <vector>

#include "nn/weights.h"
#include "ops/paged.h"

namespace cairn::nn {

using ops::Activation;

// y = x W^T + b. `w` is the layer's own prefix. Sizes are checked against the checkpoint; -1 takes what is there.
class Linear {
 public:
  Linear(const Weights& w, int64_t in, int64_t out) : weight_(w.matrix(out, in)) {}
  Linear(const Weights& w, int64_t in, int64_t out, bool bias) : weight_(w.matrix(out, in, bias)) {}
  explicit Linear(ops::Weight weight) : weight_(std::move(weight)) {}

  // x (N, T, in), or parts whose widths add up to `in`; the result (N, T, out) in the dtype of the weights, or `as`.
  Tensor operator()(at::TensorList x, Activation act = Activation::kNone) const {
    return ops::linear(x, weight_, act, weight_.dtype());
  }
  Tensor as(Dtype dtype, at::TensorList x) const { return ops::linear(x, weight_, Activation::kNone, dtype); }
  // residual + y, or residual + gate * y with the gate a part of modulation (N, parts, out).
  Tensor add_to(const Tensor& residual, at::TensorList x) const { return ops::linear_add(residual, x, weight_, {}, 0); }
  Tensor add_to(const Tensor& residual, at::TensorList x, const Tensor& modulation, int64_t gate) const {
    return ops::linear_add(residual, x, weight_, modulation, gate);
  }

  const ops::Weight& weight() const { return weight_; }
  int64_t out() const { return weight_.out(); }

 private:
  ops::Weight weight_;
};

// Results in the dtype of the products that follow.
class LayerNorm {
 public:
  LayerNorm(const Weights& w, int64_t width, double eps)
      : weight_(w.read("weight", {width}, kF32)), bias_(w.read("bias", {width}, kF32)), eps_(eps), out_(w.dtype()) {}
  Tensor operator()(const Tensor& x) const { return ops::layer_norm(x, weight_, bias_, eps_, out_); }

 private:
  Tensor weight_, bias_;
  double eps_;
  Dtype out_;
};

class RmsNorm {
 public:
  // `plus` is added to the weight: 1 where a checkpoint keeps it around zero (Gemma).
  RmsNorm(const Weights& w, int64_t width, double eps, double plus = 0)
      : weight_(plus == 0 ? w.read("weight", {width}, w.norms()) : w.read("weight", {width}, kF32) + plus),
        eps_(eps),
        out_(w.dtype()) {}
  Tensor operator()(const Tensor& x) const { return as(out_, x); }
  Tensor as(Dtype dtype, const Tensor& x) const { return ops::rms_norm(x, weight_, eps_, dtype); }
  const Tensor& weight() const { return weight_; }

 private:
  Tensor weight_;
  double eps_;
  Dtype out_;
};

// `count` experts of one size, as `read` gives them. On an accelerator their weights lie one behind the other, so that
// a device's kernels may take them as one: gate and up of each, and down of each.
std::vector<ops::Expert> experts(int64_t count, const std::function<ops::Expert(int64_t)>& read);

// Rows of a table by id.
class Embedding {
 public:
  Embedding(const Weights& w, int64_t rows, int64_t width) : weight_(w("weight", {rows, width})), out_(w.residual()) {}
  // ids (N, T) int64, each below the number of rows -> (N, T, width) in the residual's dtype. Ids on the host are
  // checked (Failure); those on a device were, by whoever put them there.
  Tensor operator()(const Tensor& ids) const;
  const Tensor& weight() const { return weight_; }

 private:
  Tensor weight_;
  Dtype out_;
};

// cos and sin of timesteps at `width`/2 frequencies, cosines first, in dtype `out`: (n) fp32 -> (n, width)
// (diffusers' Timesteps with flip_sin_to_cos and no shift).
Tensor sinusoid(const Tensor& timesteps, int64_t width, Dtype out);

// Rotary table (2, T, sum of dims) for positions (T, axes): cosines, then sines with even positions negated, adjacent
// pairs sharing an angle; what ops::qkv takes. Angles in fp64, as FLUX computes them.
// On the host.
Tensor rotary_table(const std::vector<std::vector<int64_t>>& positions, const std::vector<int64_t>& dims, double theta);

// `n` layers from w / 0, w / 1, …
template <class Layer, class... Args>
std::vector<Layer> stack(const Weights& w, int64_t n, const Args&... args) {
  std::vector<Layer> layers;
  layers.reserve(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) layers.emplace_back(w / i, args...);
  return layers;
}

}  // namespace cairn::nn
