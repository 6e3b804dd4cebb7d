// Continuous batching over a paged cache: decides what each step computes. Knows token ids, blocks and counters; no
// tensors, no devices, no clocks, so the same submissions, results and times always give the same plans.
//
// All of it belongs to the engine's thread. The rule of overlap: at most two plans are under way, so that a step can be
// planned while the one before it still runs, whose tokens are not known yet (kLastSampled). Plans are committed in the
// order they were made. A sequence that turns out to have ended leaves at once; its row in the plan after that is
// computed in vain and ignored. Blocks given up while plans are under way stay out of circulation until those plans
// have been committed or dropped, since the device may be using them. Dropping a plan voids the one made after it;
// nothing is planned until that one has been committed (which says kCancelled) or dropped too.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <unordered_map>

#include "llm/plan/policy.h"
#include "llm/plan/step_plan.h"

namespace cairn::llm {

struct Finished {
  RequestId id = 0;
  FinishReason reason = FinishReason::kStop;
  int64_t prompt_tokens = 0, cached_tokens = 0, retractions = 0;
  std::vector<Token> output;
};

// What invariants() needs to know.
struct SchedulerSnapshot {
  struct Row {
    RequestId id = 0;
    bool running = false;
    int64_t prompt = 0, known = 0, max_new = 0, computed = 0, planned = 0, unknown = 0, pending = 0;
    int32_t slot = -1;
    std::vector<BlockId> blocks, table;
  };
  struct Underway {
    std::vector<BlockId> reserved, late;
  };
  kv::PoolSnapshot pool;
  kv::TreeSnapshot tree;
  int64_t max_running = 0, waiting = 0;
  std::vector<Row> sequences;
  std::vector<Underway> underway;
  std::vector<BlockId> external;  // owners that the scheduler does not know of: filled in by whoever has them
};

struct SchedulerStats {
  int64_t retractions = 0, retracted_tokens = 0;  // generated tokens of requests that were sent back to the queue
  int64_t finished = 0, cancelled = 0, refused = 0;
};

class Scheduler {
 public:
  // Throws a Failure for options that make no sense. The pool must outlive it.
  Scheduler(SchedulerConfig config, kv::BlockPool& pool);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Refuses what can never be served (kInvalidArgument), and everything while the queue is full (kExhausted).
  Result<RequestId> submit(Request request);
  // Forgets a request, in the queue or running. False when there is none of that id: it has ended already.
  bool cancel(RequestId id);

  // What to compute next; empty when nothing can be done before a commit or a submission.
  StepPlan plan();
  // Takes over what a step has computed and returns who has ended by it. kCancelled: an earlier plan was dropped, which
  // voids this one; its sequences are planned again.
  Result<std::vector<Finished>> commit(StepPlan&& plan, const StepResult& result);

  // How long a plan took to run: what prompts may take of later steps follows from it (mixed_chunk_size).
  void took(const StepPlan& plan, double seconds);

  // Forgets all cached prefixes. Refused (kUnavailable) while requests are running or waiting.
  Result<void> flush_cache();

  const Sequence* find(RequestId id) const;
  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  size_t underway() const { return underway_.size(); }
  double new_token_ratio() const { return ratio_.value(); }
  const SchedulerConfig& config() const { return config_; }
  const SchedulerStats& stats() const { return stats_; }
  const kv::PrefixTree& tree() const { return tree_; }
  const kv::BlockPool& pool() const { return pool_; }
  SchedulerSnapshot snapshot() const;

  static constexpr size_t kMostUnderway = 2;

 private:
  friend class StepPlan;
  using QueueKey = std::tuple<int64_t, int64_t, RequestId>;
  // A plan that is neither committed nor dropped, and what waits for it.
  struct Underway {
    uint64_t serial = 0;
    bool voided = false;
    std::vector<BlockId> reserved;
    std::vector<kv::BlockRef> late;
    std::vector<kv::PrefixTree::Lock> locks;
    int64_t coming = 0;  // blocks that will be free or evictable by its end
  };

  // filling.cc: what a plan is made of
  void fill(StepPlan& plan);
  void decode(StepPlan& plan);
  void prefill(StepPlan& plan, int64_t budget);
  void admit(StepPlan& plan, int64_t budget);
  void preempt(StepPlan& plan);
  void retract(Sequence& s, StepPlan& plan);
  Sequence* victim(int64_t most_priority) const;
  std::vector<Sequence*> candidates();
  const kv::PrefixTree::Peek& peek(Sequence& s);
  bool fits(Sequence& s, double expected);
  double expected_growth() const;
  void start(Sequence& s);
  bool decodable(const Sequence& s) const;
  int64_t drafts(const Sequence& s) const;
  bool add_row(StepPlan& plan, Sequence& s, int64_t to, int64_t drafts);

  // commit.cc: what becomes of it
  void drop(StepPlan& plan);
  bool commit_row(const PlanRow& row, std::span<kv::BlockRef> fresh, const StepResult::Row& result,
                  std::span<const Token> sampled, Finished& finished);
  void roll_back(const PlanRow& row, bool newer_underway);
  void cache(Sequence& s);
  void release(Sequence& s);
  void release(std::vector<kv::BlockRef> blocks);
  void retire(size_t index);
  void forget(Sequence& s);

  QueueKey key(const Sequence& s) const;
  int64_t available() const { return pool_.free() + tree_.evictable(); }
  int64_t coming() const;
  std::span<const Token> reusable(const Sequence& s) const;

  SchedulerConfig config_;
  Policy policy_;
  kv::BlockPool& pool_;
  kv::PrefixTree tree_;
  NewTokenRatio ratio_;
  Pace pace_;
  std::unordered_map<RequestId, std::unique_ptr<Sequence>> sequences_;
  std::vector<Sequence*> running_;  // in the order of admission
  std::map<QueueKey, Sequence*> waiting_;
  std::vector<int32_t> free_slots_;
  std::deque<Underway> underway_;
  std::vector<Sequence*> ready_;  // scratch of decode()
  StepPlan spare_;                // the buffers of the last plan, to be used again
  RequestId last_id_ = 0;
  uint64_t last_serial_ = 0;
  SchedulerStats stats_;
};

}  // namespace cairn::llm
