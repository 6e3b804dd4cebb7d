// Dynamic block prune: every block but the first Fn, the last Bn and a chosen few is skipped by itself when its input
// is near the input it had when it was last computed. cache-dit's DBPrune.
#include <algorithm>
#include <numeric>

#include "diffusion/cache/branch_cache.h"
#include "ops/cache.h"

namespace cairn::diffusion {
namespace {

class DbPrune final : public BranchCache {
 public:
  DbPrune(const CacheConfig& config, BranchStats& stats, const BranchStats& other, Branch branch)
      : BranchCache(config, stats, other, branch) {
    if (config.reduce_memory && config.prediction().kind != Forecast::kHold) stride_ = std::max<int64_t>(4, stride_);
  }

 private:
  struct Block {
    explicit Block(const CacheConfig& c) : hidden(c, false), encoder(c, true) {}

    StreamPredictor hidden, encoder;
    Tensor anchor;  // its input when it was last computed
    bool computed = false;
  };

  Walk step(Streams x, int64_t depth) override {
    arrange(depth);
    int64_t pruned = 0;
    Verdict verdict = Verdict::kCompute;
    bool asked = false;
    for (int64_t i = 0; i < depth;) {
      if (!blocks_[static_cast<size_t>(i)]) {  // consecutive blocks that always run are one call
        int64_t end = i + 1;
        while (end < depth && !blocks_[static_cast<size_t>(end)]) ++end;
        x = co_await Walk::Ask(std::move(x), {i, end});
        i = end;
        continue;
      }
      // The limits count steps, so one answer holds for the step; cache-dit before 1.5.3 asks again at every block, and
      // with the step already counted.
      if (!asked || config_.compat) verdict = gate_.verdict(local_);
      asked = true;
      Block& block = *blocks_[static_cast<size_t>(i)];
      if (skip(block, x, verdict)) {
        ++pruned;
        if (config_.compat) book_reuse();
        x = {block.hidden.apply(index_, x.hidden),
             x.encoder.defined() ? block.encoder.apply(index_, x.encoder) : Tensor()};
      } else {
        Streams y = co_await Walk::Ask(x, {i, i + 1});
        learn(block, x, y);
        x = std::move(y);
      }
      ++i;
    }
    stats_.pruned_blocks.push_back(pruned);
    stats_.actual_blocks.push_back(depth);
    finish(pruned > 0);
    co_return x;
  }

  bool skip(Block& block, const Streams& x, Verdict verdict) {
    if (verdict == Verdict::kCompute || !block.computed) return false;
    if (verdict == Verdict::kMeasure && !similar(x.hidden, Tensor(), block.anchor, threshold())) return false;
    return block.hidden.ready(x.hidden) && (!x.encoder.defined() || block.encoder.ready(x.encoder));
  }

  void learn(Block& block, const Streams& x, const Streams& y) {
    if (measures()) {
      // Whole inputs are kept as they are: nobody writes to them any more. Rows of a batch would keep all of it.
      if (stride_ == 1 && owns_its_memory(x.hidden))
        block.anchor = x.hidden;
      else
        ops::residual(x.hidden, Tensor(), stride_, block.anchor);
    }
    block.hidden.update(index_, y.hidden, x.hidden);
    block.encoder.update(index_, y.encoder, x.encoder);
    block.computed = true;
  }

  // Whether no other request's rows share it.
  static bool owns_its_memory(const Tensor& x) {
    return x.storage().nbytes() <= static_cast<size_t>(x.size(0) * x.stride(0)) * x.element_size();
  }

  // With a dynamic threshold, the mean of the step's first five changes may raise it, as long as it stays below a cap.
  double threshold() const {
    const double least = gate_.threshold();
    if (!config_.dynamic_threshold) return least;
    const auto& diffs = config_.compat && branch_ == Branch::kCfg ? other_.diffs : stats_.diffs;
    const auto found = diffs.find(key());
    if (found == diffs.end()) return least;
    double sum = 0;
    int64_t count = 0;
    for (size_t i = 0; i < std::min<size_t>(5, found->second.size()); ++i)
      if (found->second[i] > 0) {
        sum += found->second[i];
        ++count;
      }
    if (count == 0) return least;
    const double followed = sum / static_cast<double>(count) * config_.relax;
    return followed < config_.max_dynamic_threshold.value_or(2 * least) ? std::max(followed, least) : least;
  }

  void arrange(int64_t depth) {
    if (static_cast<int64_t>(blocks_.size()) == depth) return;
    blocks_.clear();
    for (int64_t i = 0; i < depth; ++i) {
      const bool always = i < config_.front || i >= depth - config_.back || std::ranges::count(config_.keep, i) > 0;
      blocks_.push_back(always ? nullptr : std::make_unique<Block>(config_));
    }
  }

  void forget() override { blocks_.clear(); }

  std::vector<std::unique_ptr<Block>> blocks_;  // null for blocks that always run
};

}  // namespace

std::unique_ptr<StepCache> make_db_prune(const CacheConfig& config, BranchStats& stats, const BranchStats& other,
                                         Branch branch) {
  return std::make_unique<DbPrune>(config, stats, other, branch);
}

}  // namespace cairn::diffusion
