// Scheduler::commit, the drop of a plan, and how blocks go back.
#include <algorithm>

#include "llm/plan/scheduler.h"

namespace cairn::llm {

Result<std::vector<Finished>> Scheduler::commit(StepPlan&& given, const StepResult& result) {
  StepPlan plan(std::move(given));
  std::vector<Finished> out;
  if (!plan.scheduler_) return out;
  check(plan.scheduler_ == this, "Scheduler::commit: a plan of another scheduler");
  check(underway_.front().serial == plan.serial_, "Scheduler::commit: an older plan is under way");
  if (underway_.front().voided)
    return failure(Code::kCancelled, "the step before this one failed, so its sequences are computed again");
  check(result.rows.size() == plan.rows.size(), "Scheduler::commit: a result of another plan");
  int64_t total = 0;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const int64_t count = result.rows[i].count;
    check(plan.rows[i].sample ? count >= 1 && count <= 1 + plan.rows[i].drafts : count == 0,
          "Scheduler::commit: a row's number of tokens is not what was planned");
    total += count;
  }
  check(static_cast<size_t>(total) == result.tokens.size(), "Scheduler::commit: tokens and rows do not agree");

  plan.scheduler_ = nullptr;
  size_t block = 0, token = 0;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const PlanRow& row = plan.rows[i];
    const auto fresh = std::span(plan.reserved_).subspan(block, static_cast<size_t>(row.fresh));
    const auto sampled = std::span(result.tokens).subspan(token, static_cast<size_t>(result.rows[i].count));
    block += fresh.size();
    token += sampled.size();
    Finished finished;
    if (commit_row(row, fresh, result.rows[i], sampled, finished)) out.push_back(std::move(finished));
  }
  // What is left belongs to sequences that are gone; the plan after this one may still name it.
  std::erase_if(plan.reserved_, [](const kv::BlockRef& b) { return !b; });
  retire(0);
  release(std::exchange(plan.reserved_, {}));
  plan.rows.clear();
  plan.tokens.clear();
  plan.tables.clear();
  plan.retracted.clear();
  spare_ = std::move(plan);
  return out;
}

// True when the sequence has ended by this row.
bool Scheduler::commit_row(const PlanRow& row, std::span<kv::BlockRef> fresh, const StepResult::Row& result,
                           std::span<const Token> sampled, Finished& finished) {
  const auto found = sequences_.find(row.id);
  if (found == sequences_.end()) return false;
  Sequence& s = *found->second;
  --s.pending;
  if (row.epoch == s.epoch) {
    for (auto& block : fresh) s.blocks.push_back(std::move(block));
    s.computed = row.to + std::max(static_cast<int64_t>(sampled.size()) - 1, int64_t{0});
    if (static_cast<int64_t>(sampled.size()) > 1) s.planned = s.computed;
  }
  if (row.sample) {
    // A token sampled before its sequence was retracted is as good as any: it was computed from what it should be.
    --s.unknown;
    s.tokens.insert(s.tokens.end(), sampled.begin(), sampled.end());
  }
  const bool stop = row.sample && result.stop;
  const bool full = row.sample ? s.generated() >= s.max_new : s.max_new == 0 && row.to == s.known();
  if (!stop && !full) {
    if (row.prefill && row.epoch == s.epoch) cache(s);
    return false;
  }
  finished.id = s.id;
  finished.reason = stop ? FinishReason::kStop : FinishReason::kLength;
  finished.prompt_tokens = s.prompt_size;
  finished.cached_tokens = s.cached;
  finished.retractions = s.retractions;
  finished.output.assign(s.tokens.begin() + s.prompt_size, s.tokens.end());
  ++stats_.finished;
  forget(s);
  return true;
}

void Scheduler::drop(StepPlan& plan) {
  const auto at = std::ranges::find(underway_, plan.serial_, &Underway::serial);
  const bool newer = at + 1 != underway_.end();
  for (const PlanRow& row : plan.rows) roll_back(row, newer);
  if (newer) (at + 1)->voided = true;
  plan.scheduler_ = nullptr;
  retire(static_cast<size_t>(at - underway_.begin()));
  release(std::exchange(plan.reserved_, {}));
}

void Scheduler::roll_back(const PlanRow& row, bool newer_underway) {
  const auto found = sequences_.find(row.id);
  if (found == sequences_.end()) return;
  Sequence& s = *found->second;
  --s.pending;
  if (row.epoch != s.epoch) {
    if (s.pending == 0) s.unknown = 0;
    return;
  }
  s.planned = row.from;
  s.prefilling = row.prefill;
  s.unknown -= row.sample;
  s.table.resize(s.table.size() - static_cast<size_t>(row.fresh));
  if (!newer_underway) return;
  s.unknown = 0;
  s.table.resize(s.blocks.size());
  ++s.epoch;
}

// Gives the tree the whole blocks computed so far.
void Scheduler::cache(Sequence& s) {
  const int64_t whole = s.computed / pool_.block_size();
  if (config_.disable_radix_cache || whole <= s.inserted) return;
  const auto tokens = std::span(s.tokens).first(static_cast<size_t>(whole * pool_.block_size()));
  auto done = tree_.insert(s.identity, tokens, s.blocks);
  s.lock = std::move(done.lock);
  s.inserted = whole;
  for (size_t i = 0; i < static_cast<size_t>(whole); ++i) s.table[i] = s.blocks[i].id();
  release(std::move(done.displaced));
}

void Scheduler::release(Sequence& s) {
  if (s.slot >= 0) free_slots_.push_back(std::exchange(s.slot, -1));
  s.table.clear();
  s.inserted = 0;
  if (!underway_.empty() && s.lock) {
    underway_.back().coming += tree_.idle_after(s.lock);
    underway_.back().locks.push_back(std::move(s.lock));
  }
  s.lock.reset();
  release(std::exchange(s.blocks, {}));
}

// At once, or when the plans under way have ended: those may read or write the blocks.
void Scheduler::release(std::vector<kv::BlockRef> blocks) {
  if (underway_.empty()) return;
  Underway& u = underway_.back();
  for (auto& block : blocks) {
    u.coming += pool_.owners(block.id()) == 1;
    u.late.push_back(std::move(block));
  }
}

// Takes a plan off the list. What waited for it is free now, unless an older plan is under way.
void Scheduler::retire(size_t index) {
  Underway ended = std::move(underway_[index]);
  underway_.erase(underway_.begin() + static_cast<int64_t>(index));
  if (index == 0) return;
  Underway& older = underway_[index - 1];
  std::ranges::move(ended.late, std::back_inserter(older.late));
  std::ranges::move(ended.locks, std::back_inserter(older.locks));
  older.coming += ended.coming;
}

void Scheduler::forget(Sequence& s) {
  if (s.running) {
    cache(s);
    release(s);
    std::erase(running_, &s);
  } else {
    waiting_.erase(key(s));
  }
  sequences_.erase(RequestId{s.id});
}

}  // namespace cairn::llm
