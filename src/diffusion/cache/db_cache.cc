// Dual block cache: the first Fn blocks run and their residual is compared with that of the last computed step; if it
// is near, the middle is predicted; the last Bn blocks run on the result. cache-dit's DBCache, after ParaAttention's
// first-block cache.
#include "diffusion/cache/branch_cache.h"
#include "ops/cache.h"

namespace cairn::diffusion {
namespace {

class DbCache final : public BranchCache {
 public:
  DbCache(const CacheConfig& config, BranchStats& stats, const BranchStats& other, Branch branch)
      : BranchCache(config, stats, other, branch),
        hidden_(config, false),
        encoder_(config, true),
        compares_streams_(config.l1_threshold.value_or(0) > 0) {}

 private:
  Walk step(Streams in, int64_t depth) override {
    const Tensor before = compares_streams_ ? Tensor() : in.hidden;
    Streams x = co_await Walk::Ask(std::move(in), {0, config_.front});
    const Range middle{config_.front, depth - config_.back};
    const bool skipped = skip(x, before, middle);
    if (skipped) {
      if (middle.size() > 0) x = predicted(x);
    } else {
      if (measures()) ops::residual(x.hidden, before, stride_, anchor_);
      computed_ = true;
      if (middle.size() > 0) {
        Streams y = co_await Walk::Ask(x, middle);
        hidden_.update(index_, y.hidden, x.hidden);
        encoder_.update(index_, y.encoder, x.encoder);
        x = std::move(y);
      }
    }
    if (config_.back > 0) x = co_await Walk::Ask(std::move(x), {middle.last, depth});
    finish(skipped);
    co_return x;
  }

  bool skip(const Streams& x, const Tensor& before, Range middle) {
    const Verdict verdict = gate_.verdict(local_);
    if (verdict == Verdict::kCompute || !computed_) return false;
    if (verdict == Verdict::kMeasure && !similar(x.hidden, before, anchor_, gate_.threshold(), shared())) return false;
    return middle.size() == 0 || (hidden_.ready(x.hidden) && (!has_encoder(x) || encoder_.ready(x.encoder)));
  }

  // The change that the other branch measured at this step, where the branches share it.
  const double* shared() const {
    if (config_.cfg_own_diff || (config_.compat && branch_ == Branch::kMain)) return nullptr;
    const auto found = other_.diffs.find(key());
    return found == other_.diffs.end() || found->second.empty() ? nullptr : &found->second.front();
  }

  bool has_encoder(const Streams& x) const { return x.encoder.defined(); }

  Streams predicted(const Streams& x) {
    return {hidden_.apply(index_, x.hidden), has_encoder(x) ? encoder_.apply(index_, x.encoder) : Tensor()};
  }

  void forget() override {
    anchor_ = Tensor();
    computed_ = false;
    hidden_.reset();
    encoder_.reset();
  }

  StreamPredictor hidden_, encoder_;
  bool compares_streams_;
  bool computed_ = false;  // since the last forced refresh
  Tensor anchor_;          // what the first blocks added at the last computed step, or their stream
};

}  // namespace

std::unique_ptr<StepCache> make_db_cache(const CacheConfig& config, BranchStats& stats, const BranchStats& other,
                                         Branch branch) {
  return std::make_unique<DbCache>(config, stats, other, branch);
}

}  // namespace cairn::diffusion
