#include "llm/plan/scheduler.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::llm {
namespace {

// The options as given from outside went through the same rules; a library's user may have filled the struct by hand.
SchedulerConfig checked(SchedulerConfig c) {
  or_throw(read_into(c, write(c), "scheduler"));
  if (c.draft_tokens < 0 || c.draft_tokens > 256)
    throw Failure({Code::kInvalidArgument, "draft_tokens must lie in [0, 256], got " + std::to_string(c.draft_tokens)});
  return c;
}

}  // namespace

Scheduler::Scheduler(SchedulerConfig config, kv::BlockPool& pool)
    : config_(checked(config)),
      policy_(or_throw(policy_named(config_.schedule_policy))),
      pool_(pool),
      tree_(pool, or_throw(kv::eviction_named(config_.radix_eviction_policy))),
      ratio_(config_.schedule_conservativeness) {
  if (config_.chunked_prefill_size == 0)
    throw Failure(
        {Code::kInvalidArgument, "chunked_prefill_size is 0: give a number of tokens, or -1 for whole prompts"});
  for (auto slot = static_cast<int32_t>(config_.max_running_requests); slot-- > 0;) free_slots_.push_back(slot);
}

Scheduler::~Scheduler() = default;

Result<RequestId> Scheduler::submit(Request request) {
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t context = config_.context_length, memory = pool_.size() * pool_.block_size();
  if (prompt == 0) return invalid("the prompt is empty: it needs at least one token");
  if (std::ranges::any_of(request.prompt, [](Token t) { return t < 0; }))
    return invalid("the prompt has a negative token id");
  if (prompt > context || (prompt == context && request.max_new_tokens != 0))
    return invalid(fmt::format("the prompt has {} tokens and the context {}: shorten the prompt", prompt, context));
  if (prompt > memory)
    return invalid(
        fmt::format("the prompt has {} tokens and the cache of keys and values room for {}: shorten the "
                    "prompt, or give the cache more memory",
                    prompt, memory));
  const int64_t wanted = request.max_new_tokens.value_or(std::min(context - prompt, memory - prompt + 1));
  if (wanted < 0) return invalid(fmt::format("max_new_tokens is {}: it must not be negative", wanted));
  if (wanted > context - prompt)
    return invalid(
        fmt::format("the prompt's {} tokens and max_new_tokens {} exceed the context of {}: lower "
                    "max_new_tokens to {}",
                    prompt, wanted, context, context - prompt));
  if (wanted > memory - prompt + 1)  // the last token's keys and values are never needed
    return invalid(
        fmt::format("the prompt's {} tokens and max_new_tokens {} exceed the cache of keys and values, which "
                    "has room for {}: lower max_new_tokens to {}, or give the cache more memory",
                    prompt, wanted, memory, memory - prompt + 1));
  if (request.recompute_from && (*request.recompute_from < 0 || *request.recompute_from > prompt))
    return invalid(fmt::format("recompute_from is {} in a prompt of {} tokens", *request.recompute_from, prompt));
  if (config_.max_queued_requests && waiting() >= *config_.max_queued_requests) {
    ++stats_.refused;
    return failure(
        Code::kExhausted,
        fmt::format("{} requests are waiting, the most that may (max_queued_requests): try again later", waiting()));
  }
  auto s = std::make_unique<Sequence>();
  s->id = ++last_id_;
  s->prompt_size = prompt;
  s->priority = request.priority;
  s->recompute_from = request.recompute_from;
  s->identity = request.identity;
  s->tokens = std::move(request.prompt);
  s->tokens.reserve(static_cast<size_t>(prompt + std::min(wanted, kLongestExpected)));
  s->max_new = wanted;
  if (policy_ == Policy::kLpm) {
    const auto lead = static_cast<size_t>(std::max(kSharedLead, pool_.block_size()));
    if (s->tokens.size() >= lead) s->lead = kv::chained(s->identity, s->identity, std::span(s->tokens).first(lead));
  }
  waiting_.emplace(key(*s), s.get());
  const RequestId id = s->id;
  sequences_.emplace(id, std::move(s));
  return id;
}

bool Scheduler::cancel(RequestId id) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return false;
  ++stats_.cancelled;
  forget(*found->second);
  return true;
}

void Scheduler::took(const StepPlan& plan, double seconds) {
  int64_t answers = 0, prompts = 0;
  for (const PlanRow& row : plan.rows) (row.prefill ? prompts : answers) += row.to - row.from + row.drafts;
  pace_.took(seconds, answers, prompts);
}

Result<void> Scheduler::flush_cache() {
  if (!sequences_.empty() || !underway_.empty())
    return failure(Code::kUnavailable,
                   fmt::format("the cache is in use: {} requests are running and {} waiting", running(), waiting()));
  tree_.clear();
  return {};
}

const Sequence* Scheduler::find(RequestId id) const {
  const auto found = sequences_.find(id);
  return found == sequences_.end() ? nullptr : found->second.get();
}

Scheduler::QueueKey Scheduler::key(const Sequence& s) const {
  return {-s.priority, policy_ == Policy::kLof ? -s.max_new : 0, s.id};
}

int64_t Scheduler::coming() const {
  int64_t out = 0;
  for (const Underway& u : underway_) out += u.coming;
  return out;
}

// The tokens whose keys and values may come from the cache: never the last one, which is computed for what it predicts.
std::span<const Token> Scheduler::reusable(const Sequence& s) const {
  const int64_t most = std::min(s.known() - 1, s.recompute_from.value_or(s.known()));
  return std::span(s.tokens).first(static_cast<size_t>(most));
}

SchedulerSnapshot Scheduler::snapshot() const {
  SchedulerSnapshot out;
  out.pool = pool_.snapshot();
  out.tree = tree_.snapshot();
  out.max_running = config_.max_running_requests;
  out.waiting = waiting();
  const auto ids = [](const std::vector<kv::BlockRef>& blocks) {
    std::vector<BlockId> list;
    for (const auto& b : blocks) list.push_back(b.id());
    return list;
  };
  for (const auto& [id, s] : sequences_)
    out.sequences.push_back({id, s->running, s->prompt_size, s->known(), s->max_new, s->computed, s->planned,
                             s->unknown, s->pending, s->slot, ids(s->blocks), s->table});
  for (const Underway& u : underway_) out.underway.push_back({u.reserved, ids(u.late)});
  return out;
}

}  // namespace cairn::llm
