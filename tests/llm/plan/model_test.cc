// Random requests against a device that notices every wrong block, and against what each request gives alone.
#include <random>

#include "llm/plan/device.h"

namespace cairn::llm {
namespace {

using testing::IsEmpty;

struct Wanted {
  std::vector<Token> prompt, output;
  int64_t max_new = 0;
  FinishReason reason = FinishReason::kStop;
};

bool is_stop(Token t) { return t % 23 == 0; }

// One life of a scheduler with options drawn from the seed.
class World {
 public:
  explicit World(uint64_t seed)
      : bits_(seed),
        pool_(10 + below(40), 1 + below(5)),
        scheduler_(config(), pool_),
        device_(pool_),
        overlap_(below(3) > 0),
        drops_(below(3) == 0) {}

  // Until `requests` have been submitted and have ended.
  void run(int64_t requests) {
    int64_t idle = 0;
    while (submitted_ < requests || scheduler_.running() + scheduler_.waiting() > 0 || !underway_.empty()) {
      if (submitted_ < requests && below(3) == 0)
        for (int64_t n = below(4); n >= 0; --n) submit();
      const int64_t before = committed_;
      turn();
      ASSERT_THAT(faults(scheduler_), IsEmpty()) << scheduler_.tree().draw();
      if (testing::Test::HasFatalFailure()) return;
      if (below(15) == 0) cancel();
      all_owned();
      idle = committed_ == before ? idle + 1 : 0;
      ASSERT_LT(idle, 2000) << "nothing moves: " << scheduler_.running() << " run, " << scheduler_.waiting() << " wait";
    }
    EXPECT_THAT(wanted_, IsEmpty());
    EXPECT_EQ(pool_.used(), scheduler_.tree().blocks());
    EXPECT_EQ(scheduler_.tree().evictable(), scheduler_.tree().blocks());
    ASSERT_TRUE(scheduler_.flush_cache());
    EXPECT_EQ(pool_.used(), 0);
  }

  int64_t cancelled() const { return scheduler_.stats().cancelled; }
  int64_t retractions() const { return scheduler_.stats().retractions; }
  int64_t hits() const { return scheduler_.tree().stats().hits; }
  int64_t dropped() const { return dropped_; }
  int64_t refused() const { return refused_; }

 private:
  int64_t below(int64_t n) { return static_cast<int64_t>(bits_() % static_cast<uint64_t>(n)); }
  SchedulerConfig config() {
    SchedulerConfig c;
    c.context_length = 60;
    c.max_running_requests = 1 + below(8);
    if (below(3) == 0) c.max_queued_requests = 20;
    c.chunked_prefill_size = below(4) == 0 ? -1 : 1 + below(30);
    c.max_prefill_tokens = 5 + below(60);
    c.schedule_policy = std::array{"fcfs", "lpm", "dfs-weight", "lof"}[static_cast<size_t>(below(4))];
    c.radix_eviction_policy = std::array{"lru", "lfu", "fifo", "mru"}[static_cast<size_t>(below(4))];
    c.schedule_conservativeness = below(2) ? 1.0 : 0.1;
    c.enable_mixed_chunk = below(3) > 0;
    c.disable_radix_cache = below(4) == 0;
    c.draft_tokens = below(3) == 0 ? 1 + below(4) : 0;
    return c;
  }

  void submit() {
    Request r;
    Wanted w;
    const int64_t family = below(4);  // prompts of a family share what they begin with
    for (int64_t i = 0, n = 1 + below(30); i < n; ++i)
      w.prompt.push_back(static_cast<Token>(i < 20 ? 1 + family : 1 + below(3)));
    r.prompt = w.prompt;
    w.max_new = below(20);
    r.max_new_tokens = w.max_new;
    if (below(5) == 0) r.priority = below(40);
    if (below(8) == 0) r.recompute_from = below(static_cast<int64_t>(w.prompt.size()) + 1);
    r.identity = kv::Identity{"m", "", "", below(3) ? "" : "tenant"}.hash();
    w.output = alone(w.prompt, w.max_new, is_stop);
    w.reason = !w.output.empty() && is_stop(w.output.back()) ? FinishReason::kStop : FinishReason::kLength;
    ++submitted_;
    const auto id = scheduler_.submit(std::move(r));
    if (!id) {
      ++refused_;
      const bool long_for_pool = static_cast<int64_t>(w.prompt.size()) + std::max<int64_t>(w.max_new, 1) - 1 >
                                 pool_.size() * pool_.block_size();
      const auto most = scheduler_.config().max_queued_requests;
      ASSERT_TRUE(long_for_pool || (id.error().code == Code::kExhausted && most && scheduler_.waiting() >= *most))
          << id.error().what;
      return;
    }
    wanted_.emplace(*id, std::move(w));
  }

  void cancel() {
    if (wanted_.empty()) return;
    auto at = std::next(wanted_.begin(), below(static_cast<int64_t>(wanted_.size())));
    ASSERT_TRUE(scheduler_.cancel(at->first));
    ASSERT_FALSE(scheduler_.cancel(at->first));
    wanted_.erase(at);
  }

  // What a plan writes first may not be named by a plan that is still under way.
  void only_its_own(const StepPlan& plan) const {
    for (const PlanRow& row : plan.rows)
      for (const BlockId id : plan.table(row).last(static_cast<size_t>(row.fresh)))
        for (const StepPlan& older : underway_)
          EXPECT_EQ(std::count(older.tables.begin(), older.tables.end(), id), 0) << "block " << id;
  }
  // A plan's blocks stay somebody's until it ends.
  void all_owned() const {
    for (const StepPlan& plan : underway_)
      for (const BlockId id : plan.tables) EXPECT_GT(pool_.owners(id), 0) << "block " << id;
  }

  // Plans as far ahead as overlap allows, then ends the oldest plan. The device runs a plan at the last moment, when
  // whatever was released too early has been given to somebody else.
  void turn() {
    while (underway_.size() < (overlap_ ? 2u : 1u)) {
      StepPlan plan = scheduler_.plan();
      if (plan.empty()) break;
      only_its_own(plan);
      underway_.push_back(std::move(plan));
      ASSERT_THAT(faults(scheduler_), IsEmpty());
      if (overlap_ && below(10) == 0) cancel();
    }
    if (underway_.empty()) return;
    if (drops_ && below(20) == 0) {
      ++dropped_;
      const int64_t which = below(static_cast<int64_t>(underway_.size()));
      underway_.erase(underway_.begin() + which);
      voided_ = which == 0 && !underway_.empty();
      return;
    }
    StepPlan plan = std::move(underway_.front());
    underway_.pop_front();
    if (std::exchange(voided_, false)) {
      ASSERT_EQ(scheduler_.commit(std::move(plan), {}).error().code, Code::kCancelled);
      return;
    }
    const auto result = device_.run(
        plan, [](RequestId, Token t) { return is_stop(t); }, [&](int64_t drafts) { return below(drafts + 1); });
    const auto done = scheduler_.commit(std::move(plan), result);
    ASSERT_TRUE(done);
    ++committed_;
    for (const Finished& f : *done) {
      const auto at = wanted_.find(f.id);
      ASSERT_NE(at, wanted_.end());
      ASSERT_EQ(f.output, at->second.output);
      ASSERT_EQ(f.reason, at->second.reason);
      wanted_.erase(at);
    }
  }

  std::mt19937_64 bits_;
  kv::BlockPool pool_;
  Scheduler scheduler_;
  Device device_;
  bool overlap_, drops_, voided_ = false;
  std::deque<StepPlan> underway_;
  std::map<RequestId, Wanted> wanted_;
  int64_t submitted_ = 0, committed_ = 0, dropped_ = 0, refused_ = 0;
};

TEST(SchedulerModel, TenThousandRequestsGiveWhatTheyGiveAloneAndLeakNothing) {
  int64_t cancelled = 0, retractions = 0, hits = 0, dropped = 0, refused = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    World world(seed);
    world.run(100);
    if (testing::Test::HasFailure()) return;
    cancelled += world.cancelled();
    retractions += world.retractions();
    hits += world.hits();
    dropped += world.dropped();
    refused += world.refused();
  }
  // The random worlds must have been worth visiting.
  EXPECT_GT(cancelled, 500);
  EXPECT_GT(retractions, 500);
  EXPECT_GT(hits, 1000);
  EXPECT_GT(dropped, 100);
  EXPECT_GT(refused, 50);
  EXPECT_LT(refused, 2000);
}

}  // namespace
}  // namespace cairn::llm
