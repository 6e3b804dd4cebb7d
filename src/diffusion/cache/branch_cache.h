// What DBCache and DBPrune share: the state of one block stack and guidance branch of one request.
#pragma once
#include "diffusion/cache/gate.h"
#include "diffusion/cache/predictor.h"
#include "diffusion/cache/step_cache.h"

namespace cairn::diffusion {

// Fn + Bn blocks must fit in the stack.
Result<void> check_depth(const CacheConfig& config, const std::string& stack, int64_t depth);

class BranchCache : public StepCache {
 public:
  BranchCache(const CacheConfig& config, BranchStats& stats, const BranchStats& other, Branch branch)
      : config_(config), gate_(config), stats_(stats), other_(other), branch_(branch), stride_(config.downsample) {}

  // Throws Failure when the stack is too short for the configuration.
  Walk walk(const StepInfo& step, Streams in, int64_t depth) final;

 protected:
  // One step, for which walk() has made everything ready. Ends with finish().
  virtual Walk step(Streams in, int64_t depth) = 0;
  void finish(bool skipped);
  virtual void forget() = 0;

  // Whether after - before is nearer to the anchor than the threshold; records the change. `shared` is a change that
  // was measured for this one, to be taken instead.
  bool similar(const Tensor& after, const Tensor& before, const Tensor& anchor, double threshold,
               const double* shared = nullptr);
  void book_reuse();  // DBPrune with compat books a skipped step in its midst, others leave it to finish()
  // The step as the lists name it: with compat they start again at a forced refresh.
  int64_t key() const { return config_.compat ? local_ : index_; }
  // Whether similar() will ever look at an anchor, so that one need not be kept for nothing.
  bool measures() const { return gate_.threshold() > 0 && gate_.threshold() < 1 && !config_.fixed_mask(); }

  const CacheConfig& config_;
  Gate gate_;
  BranchStats& stats_;
  const BranchStats& other_;  // of the other guidance branch
  Branch branch_;
  int64_t index_ = -1;  // the step as told
  int64_t local_ = -1;  // since the last forced refresh
  int64_t stride_ = 1;

 private:
  void start(const StepInfo& step);

  int64_t period_ = 0;  // forced refreshes so far
  int64_t depth_ = -1;
  bool booked_ = false;
};

std::unique_ptr<StepCache> make_branch_cache(const CacheConfig& config, BranchStats& stats, const BranchStats& other,
                                             Branch branch);
std::unique_ptr<StepCache> make_db_cache(const CacheConfig& config, BranchStats& stats, const BranchStats& other,
                                         Branch branch);
std::unique_ptr<StepCache> make_db_prune(const CacheConfig& config, BranchStats& stats, const BranchStats& other,
                                         Branch branch);

}  // namespace cairn::diffusion
