// The options of the scheduler, under SGLang's names.
#pragma once
#include "base/fields.h"

namespace cairn::llm {

struct SchedulerConfig {
  int64_t context_length = 4096;  // most tokens of a prompt and its answer together
  int64_t max_running_requests = 64;
  std::optional<int64_t> max_queued_requests{};
  int64_t chunked_prefill_size = 2048, max_prefill_tokens = 16384, mixed_chunk_size = 0;
  std::string schedule_policy = "fcfs", radix_eviction_policy = "lru";
  double schedule_conservativeness = 1;
  bool enable_mixed_chunk = true, disable_radix_cache = false, disable_overlap_schedule = false;
  int64_t priority_preemption_threshold = 10;
  int64_t draft_tokens = 0;  // that a step may add to a sequence by speculation: the engine's to set

  void fields(auto& f) {
    f("context_length", context_length, "most tokens of a prompt and its answer together", at_least(1))(
        "max_running_requests", max_running_requests, "requests computed at once", between(1, 65536))(
        "max_queued_requests", max_queued_requests, "requests that may wait; a further one is refused with 503",
        at_least(0))("chunked_prefill_size", chunked_prefill_size,
                     "tokens of one step when prompts are computed in pieces; -1 computes them whole", at_least(-1))(
        "max_prefill_tokens", max_prefill_tokens, "most prompt tokens of one step", at_least(1))(
        "mixed_chunk_size", mixed_chunk_size,
        "most prompt tokens of a step that answers under way wait for, fewer where they would take longer than the "
        "answers; 0: as many as of any other",
        at_least(0))("schedule_policy", schedule_policy,
                     "who is served first: fcfs (arrival), lpm (longest cached prefix), "
                     "dfs-weight (most shared branch of the cache), "
                     "lof (longest answer)",
                     one_of({"fcfs", "lpm", "dfs-weight", "lof"}))("radix_eviction_policy", radix_eviction_policy,
                                                                   "which cached prefix is forgotten first",
                                                                   one_of({"lru", "lfu", "fifo", "mru"}))(
        "schedule_conservativeness", schedule_conservativeness,
        "larger values leave more room for the answers under way before admitting requests",
        between(0.01, 100))("enable_mixed_chunk", enable_mixed_chunk,
                            "computes pieces of prompts beside the answers under way; otherwise prompts go first")(
        "disable_radix_cache", disable_radix_cache, "computes every prompt anew")(
        "disable_overlap_schedule", disable_overlap_schedule,
        "plans a step, runs it and hands out its tokens one after the other, on one thread")(
        "priority_preemption_threshold", priority_preemption_threshold,
        "a waiting request displaces a running one whose priority is lower by this much", at_least(1));
  }
};

}  // namespace cairn::llm
