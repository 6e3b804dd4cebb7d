#include "diffusion/cache/predictor.h"

#include <algorithm>
#include <deque>

#include "ops/cache.h"

namespace cairn::diffusion {
namespace {

// The last computed value, unchanged.
class Hold final : public Predictor {
 public:
  Tensor forecast(int64_t, const Tensor& base) override { return ops::weighted_sum({value_}, base, {1.0}); }

 private:
  void learn(int64_t, const Tensor& after, const Tensor& before) override { ops::residual(after, before, 1, value_); }
  void clear() override { value_ = Tensor(); }

  Tensor value_;
};

// Taylor expansion around the last computed step, its derivatives from backward differences (Liu et al. 2025,
// arXiv 2503.06923). With compat no difference is taken before the fourth step, as in cache-dit.
class TaylorSeer final : public Predictor {
 public:
  TaylorSeer(int64_t order, bool late) : order_(static_cast<size_t>(order)), late_(late) {}

  Tensor forecast(int64_t step, const Tensor& base) override {
    std::vector<double> weights = {1.0};
    for (size_t i = 1; i < known_; ++i)
      weights.push_back(weights.back() * static_cast<double>(step - last_) / static_cast<double>(i));
    return ops::weighted_sum(at::TensorList(ladder_.data(), known_), base, weights);
  }

 private:
  void learn(int64_t step, const Tensor& after, const Tensor& before) override {
    if (known_ == 0) first_ = step;
    known_ = late_ && step - first_ < 3 ? 1 : std::min(order_ + 1, known_ + 1);
    while (ladder_.size() < known_) ladder_.push_back(after.new_empty(after.sizes()));
    ops::taylor_update(after, before, at::TensorList(ladder_.data(), known_), static_cast<double>(step - last_));
    last_ = step;
  }
  void clear() override {
    ladder_.clear();
    known_ = 0;
  }

  size_t order_, known_ = 0;
  bool late_;
  int64_t first_ = 0, last_ = 0;
  std::vector<Tensor> ladder_;  // the value and its derivatives by step
};

// FoCa (Zheng et al. 2025, arXiv 2508.16211) as cache-dit has it: Heun's rule from the last computed value with the
// mean of two slopes, that of the last two computed values and that of the last two values of any kind; damped after
// three steps. Slopes are per step here, and forecasts that are damped are no points to take a slope from, so the
// second slope is the first one: A + h (A - A') / gap.
class FoCa final : public Predictor {
 public:
  Tensor forecast(int64_t step, const Tensor& base) override {
    if (!before_.defined()) return ops::weighted_sum({now_}, base, {1.0});
    const double elapsed = static_cast<double>(step - last_),
                 reach = elapsed <= kReach ? elapsed : kReach * kReach / elapsed;
    const double slope = reach / static_cast<double>(last_ - previous_);
    return ops::weighted_sum({now_, before_}, base, {1 + slope, -slope});
  }
  static constexpr double kReach = 3;

 private:
  void learn(int64_t step, const Tensor& after, const Tensor& before) override {
    std::swap(now_, before_);
    ops::residual(after, before, 1, now_);
    previous_ = last_;
    last_ = step;
  }
  void clear() override { now_ = before_ = Tensor(); }

  Tensor now_, before_;
  int64_t last_ = 0, previous_ = 0;
};

// The same with cache-dit's slopes: not divided by the steps they span, and taken between forecasts and truths alike.
class CompatFoCa final : public Predictor {
 public:
  Tensor forecast(int64_t step, const Tensor& base) override {
    Tensor p = full_;
    if (before_.defined()) {
      const double elapsed = static_cast<double>(step - last_),
                   reach = elapsed <= FoCa::kReach ? elapsed : FoCa::kReach * FoCa::kReach / elapsed;
      const double half = reach / 2;
      p = ops::weighted_sum({full_, before_, rolling_, rolled_}, Tensor(), {1 + half, -half, half, -half});
      rolled_ = rolling_;
      rolling_ = p;
    }
    return base.defined() ? ops::weighted_sum({p}, base, {1.0}) : p;
  }

 private:
  void learn(int64_t step, const Tensor& after, const Tensor& before) override {
    Tensor value;
    ops::residual(after, before, 1, value);
    before_ = full_;
    rolled_ = rolling_;
    full_ = rolling_ = value;
    last_ = step;
  }
  void clear() override { full_ = before_ = rolling_ = rolled_ = Tensor(); }

  Tensor full_, before_, rolling_, rolled_;
  int64_t last_ = 0;
};

// Dynamic mode decomposition of the last computed values that are evenly spaced; with fewer than four of them, a
// straight line through the last two. cache-dit draws that line from the last but two, but divides by the steps since
// the last but one: compat does so too.
class Dmd final : public Predictor {
 public:
  explicit Dmd(const CacheConfig& c)
      : history_(static_cast<size_t>(std::max<int64_t>(c.history, 3))),
        rank_(c.rank),
        ridge_(c.ridge),
        compat_(c.compat) {}

  Tensor forecast(int64_t step, const Tensor& base) override {
    const size_t tail = even_tail();
    const double elapsed = static_cast<double>(step - steps_.back());
    if (tail >= 4) return fitted(tail, elapsed, base);
    const size_t n = steps_.size(), back = compat_ ? 3 : 2;
    if (n < back || (compat_ && steps_.back() - first_ < 3)) return latest(base);
    const double slope = elapsed / static_cast<double>(steps_.back() - steps_[n - 2]);
    return ops::weighted_sum({values_[n - back], values_.back()}, base, {-slope, 1 + slope});
  }

 private:
  Tensor latest(const Tensor& base) { return ops::weighted_sum({values_.back()}, base, {1.0}); }

  // How many of the newest steps have one spacing.
  size_t even_tail() const {
    size_t n = std::min<size_t>(steps_.size(), 2);
    const auto gap = [&](size_t from_end) {
      return steps_[steps_.size() - from_end] - steps_[steps_.size() - from_end - 1];
    };
    while (n >= 2 && n < steps_.size() && gap(n) == gap(1)) ++n;
    return n;
  }

  Tensor fitted(size_t tail, double elapsed, const Tensor& base) {
    const std::vector<Tensor> window(values_.end() - static_cast<std::ptrdiff_t>(tail), values_.end());
    const auto m = static_cast<int64_t>(tail);
    if (modes_.empty()) {
      const auto gram = ops::gram(window);
      for (size_t at = 0; at < gram.size(); at += tail * tail)
        modes_.push_back(ops::dynamic_modes(gram.data() + at, m, rank_, ridge_));
    }
    const double spacing = static_cast<double>(steps_.back() - steps_[steps_.size() - 2]);
    std::vector<double> weights;
    for (const auto& mode : modes_) {
      const auto w = mode.weights(elapsed / spacing);
      if (w.empty()) return latest(base);
      weights.insert(weights.end(), w.begin(), w.end());
    }
    return ops::weighted_sum(at::TensorList(window.data() + 1, tail - 1), base, weights);
  }

  void learn(int64_t step, const Tensor& after, const Tensor& before) override {
    if (steps_.empty()) first_ = step;
    Tensor value;
    if (steps_.size() == history_) {  // the oldest makes room
      value = values_.front();
      values_.pop_front();
      steps_.pop_front();
    }
    ops::residual(after, before, 1, value);
    values_.push_back(value);
    steps_.push_back(step);
    modes_.clear();
  }
  void clear() override {
    values_.clear();
    steps_.clear();
    modes_.clear();
  }

  size_t history_;
  int64_t rank_;
  double ridge_;
  bool compat_;
  int64_t first_ = 0;
  std::deque<Tensor> values_;
  std::deque<int64_t> steps_;
  std::vector<ops::DynamicModes> modes_;  // the fit of each row, until the window changes
};

// Whether blocks handed the tensor on as they got it.
bool same(const Tensor& a, const Tensor& b) {
  return a.is_same(b) || (a.data_ptr() == b.data_ptr() && a.sizes() == b.sizes() && a.strides() == b.strides());
}

}  // namespace

void Predictor::update(int64_t step, const Tensor& after, const Tensor& before) {
  if (known_ && after.sizes() != at::IntArrayRef(shape_)) clear();
  shape_ = after.sizes().vec();
  known_ = true;
  learn(step, after, before);
}

void Predictor::reset() {
  known_ = false;
  clear();
}

std::unique_ptr<Predictor> make_predictor(const CacheConfig& config, Forecast kind) {
  switch (kind) {
    case Forecast::kHold:
      return std::make_unique<Hold>();
    case Forecast::kTaylorSeer:
      return std::make_unique<TaylorSeer>(config.order, config.compat);
    case Forecast::kDmd:
      return std::make_unique<Dmd>(config);
    case Forecast::kFoCa:
      if (config.compat) return std::make_unique<CompatFoCa>();
      return std::make_unique<FoCa>();
  }
  throw Bug("unknown predictor");
}

StreamPredictor::StreamPredictor(const CacheConfig& config, bool encoder) {
  const Prediction p = config.prediction();
  const bool predicts = !encoder || p.encoder;
  predictor_ = make_predictor(config, predicts ? p.kind : Forecast::kHold);
  residual_ = !(predicts && p.hidden_states);
  // cache-dit's DBPrune stores what a block added, and later takes it for the stream.
  stores_residual_ = residual_ || (encoder && config.compat && config.prune());
}

void StreamPredictor::update(int64_t step, const Tensor& after, const Tensor& before) {
  if (!after.defined() || !before.defined()) return;
  constant_ = same(after, before);
  if (constant_) return predictor_->reset();
  predictor_->update(step, after, stores_residual_ ? before : Tensor());
}

Tensor StreamPredictor::apply(int64_t step, const Tensor& before) {
  if (constant_) return before;
  return predictor_->forecast(step, residual_ ? before : Tensor());
}

void StreamPredictor::reset() {
  constant_ = false;
  predictor_->reset();
}

}  // namespace cairn::diffusion
