// What skipped blocks would have added. A predictor sees the values of computed steps and forecasts those between.
#pragma once
#include <memory>
#include <vector>

#include "diffusion/cache/config.h"
#include "tensor/tensor.h"

namespace cairn::diffusion {

class Predictor {
 public:
  virtual ~Predictor() = default;

  // The value at a computed step is after - before, or `after` itself when `before` is undefined. Copies what it keeps.
  // Another shape than before starts afresh.
  void update(int64_t step, const Tensor& after, const Tensor& before);
  // base + the value expected at `step`, or the value alone when `base` is undefined. Needs can_forecast().
  virtual Tensor forecast(int64_t step, const Tensor& base) = 0;
  bool can_forecast(const Tensor& like) const { return known_ && like.sizes() == at::IntArrayRef(shape_); }
  void reset();

 protected:
  virtual void learn(int64_t step, const Tensor& after, const Tensor& before) = 0;
  virtual void clear() = 0;

 private:
  std::vector<int64_t> shape_;
  bool known_ = false;
};

// The predictor that a configuration names.
std::unique_ptr<Predictor> make_predictor(const CacheConfig& config, Forecast kind);

// One stream of a block stack with its predictor.
class StreamPredictor {
 public:
  StreamPredictor(const CacheConfig& config, bool encoder);

  // Learns from blocks that turned `before` into `after`. A stream that they passed on as it was needs no memory.
  void update(int64_t step, const Tensor& after, const Tensor& before);
  // The stream after the blocks, predicted from the stream before them.
  Tensor apply(int64_t step, const Tensor& before);
  bool ready(const Tensor& before) const { return constant_ || predictor_->can_forecast(before); }
  void reset();

 private:
  std::unique_ptr<Predictor> predictor_;
  bool residual_, stores_residual_;
  bool constant_ = false;
};

}  // namespace cairn::diffusion
