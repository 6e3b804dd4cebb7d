// Scheduler specs: tests/specs/scheduler/*.test, a line per event. Every line is followed by a check of all invariants.
//
//   pool blocks=8 size=4                     first; then, before the first request, options of SchedulerConfig:
//   config chunked_prefill_size=8 ...
//   submit a prompt=10 max=2 [like=b:8] [priority=5] [salt=x] [recompute=4]    like: begins with 8 tokens of b's prompt
//   refuse a prompt=99 max=1: WORDS          a submission that fails with a message that has these words
//   step [stop=a,b]                          plan, run, commit; a's and b's token ends them
//   step 3                                   three of them
//   turn [3]                                 plan, then commit the plan before it; so one plan stays under way
//   plan / run / commit [stop=a] / drop [older]    the parts of it; run and commit take the oldest plan
//   cancel a / flush
//   expect prefill a[0,8) decode b[9,10)* used=2 ...    of the last plan: its rows (* samples, ? last sampled token is
//                                            the input), and counters: used free cached evictable running waiting
//                                            retracted=a,b finished=a:length,b:stop hit=a:8
//   expect nothing                           the last plan was empty
#pragma once
#include <string>

namespace cairn::llm {

// Runs a spec; failures are reported with `name` and the line.
void tell(const std::string& name, const std::string& text);

}  // namespace cairn::llm
