// Scheduler::plan: answers under way first, then prompts, as far as budgets and memory reach.
#include <algorithm>
#include <limits>

#include "llm/plan/scheduler.h"

namespace cairn::llm {

StepPlan Scheduler::plan() {
  check(underway_.size() < kMostUnderway, "Scheduler::plan: two plans are under way, commit the older one first");
  if (!underway_.empty() && underway_.front().voided) return {};  // where its sequences stand is open until it goes
  if (sequences_.empty()) ratio_.reset();
  StepPlan plan(std::move(spare_));
  preempt(plan);
  fill(plan);
  // Prompts that were begun together may hold all the memory between them: one of them has to let go.
  for (size_t left = running_.size(); left > 1 && plan.empty() && underway_.empty(); --left) {
    Sequence* s = victim(std::numeric_limits<int64_t>::max());
    if (!s) break;
    retract(*s, plan);
    fill(plan);
  }
  if (plan.empty()) return plan;
  plan.scheduler_ = this;
  plan.serial_ = ++last_serial_;
  Underway& u = underway_.emplace_back();
  u.serial = plan.serial_;
  for (const auto& block : plan.reserved_) u.reserved.push_back(block.id());
  return plan;
}

void Scheduler::fill(StepPlan& plan) {
  const int64_t size = pool_.block_size();
  if (!config_.enable_mixed_chunk) {
    prefill(plan, prefill_budget(config_, 0, size));
    if (plan.empty()) decode(plan);
    return;
  }
  decode(plan);
  int64_t others = 0;
  for (const PlanRow& row : plan.rows) others += 1 + row.drafts;
  prefill(plan, prefill_budget(config_, others, size, pace_));
}

bool Scheduler::decodable(const Sequence& s) const {
  // How many tokens a speculating step adds is not known before its commit, so it cannot be planned over.
  return !s.prefilling && s.to_generate() > 0 && (config_.draft_tokens == 0 || s.unknown == 0);
}

int64_t Scheduler::drafts(const Sequence& s) const { return std::min(config_.draft_tokens, s.to_generate() - 1); }

void Scheduler::decode(StepPlan& plan) {
  const auto wanted = [&](const Sequence& s) {
    const int64_t blocks = pool_.blocks_for(s.planned + 1 + drafts(s)) - static_cast<int64_t>(s.table.size());
    return std::max(blocks, int64_t{0});
  };
  ready_.clear();
  int64_t need = 0;
  for (Sequence* s : running_) {
    if (!decodable(*s)) continue;
    ready_.push_back(s);
    need += wanted(*s);
  }
  while (need > available() + coming()) {
    Sequence* s = victim(std::numeric_limits<int64_t>::max());
    if (!s) break;
    if (const auto at = std::ranges::find(ready_, s); at != ready_.end()) {
      need -= wanted(*s);
      ready_.erase(at);
    }
    retract(*s, plan);
  }
  // One whose block is still on its way back sits this step out.
  for (Sequence* s : ready_) add_row(plan, *s, s->planned + 1, drafts(*s));
  if (!ready_.empty()) ratio_.decoded();
}

void Scheduler::prefill(StepPlan& plan, int64_t budget) {
  const int64_t whole = budget;
  for (Sequence* s : running_) {
    if (!s->prefilling || budget <= 0) continue;
    const int64_t count = chunk(config_, s->length() - s->planned, budget, budget == whole, pool_.block_size());
    if (count > 0 && add_row(plan, *s, s->planned + count, 0)) budget -= count;
  }
  admit(plan, budget);
}

void Scheduler::admit(StepPlan& plan, int64_t budget) {
  if (budget <= 0 || waiting_.empty() || free_slots_.empty()) return;
  const int64_t size = pool_.block_size();
  double expected = expected_growth();
  bool first = std::ranges::none_of(plan.rows, [](const PlanRow& row) { return row.prefill; });
  for (Sequence* s : candidates()) {
    if (budget <= 0 || free_slots_.empty() || !fits(*s, expected)) return;
    const int64_t count = chunk(config_, s->known() - peek(*s).tokens, budget, first, size);
    if (count <= 0) return;
    start(*s);
    add_row(plan, *s, s->planned + count, 0);
    budget -= count;
    first = false;
    const int64_t later = pool_.blocks_for(s->known()) - static_cast<int64_t>(s->table.size());
    expected += static_cast<double>(later * size + std::min(s->to_generate(), kLongestExpected));
  }
}

// Those of the queue that could be admitted now, in the order of service.
std::vector<Sequence*> Scheduler::candidates() {
  std::vector<Sequence*> out;
  const bool looked_up = (policy_ == Policy::kLpm || policy_ == Policy::kDfsWeight) && !config_.disable_radix_cache &&
                         waiting_.size() <= kMostLookedUp;
  for (const auto& [key, s] : waiting_) {
    if (s->pending > 0) continue;  // retracted, and its last token is still being sampled
    out.push_back(s);
    if (!looked_up && out.size() == free_slots_.size()) break;
  }
  if (!looked_up) return out;
  std::vector<Candidate> views;
  for (Sequence* s : out) {
    const auto& found = peek(*s);
    views.push_back({s->priority, found.tokens, s->lead, found.path});
  }
  std::vector<Sequence*> ordered;
  for (const size_t i : service_order(policy_, views)) ordered.push_back(out[i]);
  return ordered;
}

const kv::PrefixTree::Peek& Scheduler::peek(Sequence& s) {
  if (config_.disable_radix_cache) return s.peek;
  // The order needs no more than this. Room and chunks do: locks, which say what is idle, are no part of the version,
  // and a request that was retracted may have got another token, so fits() asks anew.
  if (s.peeked_at != tree_.version()) {
    s.peek = tree_.peek(s.identity, reusable(s));
    s.peeked_at = tree_.version();
  }
  return s.peek;
}

// Tokens that the running requests will want: the rest of their prompts, and a part of the rest of their answers.
double Scheduler::expected_growth() const {
  double out = 0;
  for (const Sequence* s : running_) {
    if (s->prefilling)
      out += static_cast<double>((pool_.blocks_for(s->length()) - static_cast<int64_t>(s->table.size())) *
                                 pool_.block_size());
    const int64_t rest = std::clamp(s->to_generate(), int64_t{0}, kLongestExpected);
    out += static_cast<double>(rest) * ratio_.value();
  }
  return out;
}

bool Scheduler::fits(Sequence& s, double expected) {
  s.peeked_at.reset();
  const kv::PrefixTree::Peek& found = peek(s);
  const int64_t size = pool_.block_size();
  const int64_t room = (available() - found.idle) * size;
  const int64_t now = pool_.blocks_for(s.known()) * size - found.tokens;
  // Alone it always fits: submit() has seen to that.
  if (running_.empty()) return now <= room;
  const int64_t answer = std::min(s.to_generate(), kLongestExpected);
  return static_cast<double>(now + answer + size) <= static_cast<double>(room) - expected;
}

void Scheduler::start(Sequence& s) {
  waiting_.erase(key(s));
  if (!config_.disable_radix_cache) {
    auto match = tree_.match(s.identity, reusable(s));
    s.blocks = std::move(match.blocks);
    s.lock = std::move(match.lock);
    s.computed = s.planned = match.tokens;
    s.inserted = static_cast<int64_t>(s.blocks.size());
    for (const auto& block : s.blocks) s.table.push_back(block.id());
    if (s.retractions == 0) s.cached = match.tokens;
  }
  s.running = s.prefilling = true;
  s.slot = free_slots_.back();
  free_slots_.pop_back();
  running_.push_back(&s);
}

bool Scheduler::add_row(StepPlan& plan, Sequence& s, int64_t to, int64_t drafts) {
  const int64_t fresh = std::max(pool_.blocks_for(to + drafts) - static_cast<int64_t>(s.table.size()), int64_t{0});
  if (fresh > pool_.free()) tree_.evict(fresh - pool_.free());
  if (fresh > pool_.free()) return false;
  for (int64_t i = 0; i < fresh; ++i) {
    plan.reserved_.push_back(pool_.allocate());
    s.table.push_back(plan.reserved_.back().id());
  }
  PlanRow row;
  row.id = s.id;
  row.from = s.planned;
  row.to = to;
  row.first_token = static_cast<int64_t>(plan.tokens.size());
  row.first_block = static_cast<int64_t>(plan.tables.size());
  row.blocks = static_cast<int64_t>(s.table.size());
  row.drafts = drafts;
  row.fresh = fresh;
  row.slot = s.slot;
  row.sample = to == s.length() && s.to_generate() > 0;
  row.prefill = s.prefilling;
  row.epoch = s.epoch;
  const int64_t known = std::min(to, s.known());
  for (int64_t i = s.planned; i < known; ++i) plan.tokens.push_back(s.tokens[static_cast<size_t>(i)]);
  for (int64_t i = std::max(known, s.planned); i < to; ++i) plan.tokens.push_back(kLastSampled);
  plan.tables.insert(plan.tables.end(), s.table.begin(), s.table.end());
  s.planned = to;
  if (to == s.length()) s.prefilling = false;
  s.unknown += row.sample;
  ++s.pending;
  plan.rows.push_back(row);
  return true;
}

// Whom to send back to the queue: the lowest priority, then the fewest generated tokens, the longest prompt, the latest
// arrival. Never the last one running, nor one that is about to end by itself.
Sequence* Scheduler::victim(int64_t most_priority) const {
  if (running_.size() < 2) return nullptr;
  Sequence* out = nullptr;
  const auto rank = [](const Sequence* s) {
    return std::tuple(s->priority, s->generated() + s->unknown, -s->prompt_size, ~s->id);
  };
  for (Sequence* s : running_) {
    if (s->finishing() || s->priority > most_priority) continue;
    if (!out || rank(s) < rank(out)) out = s;
  }
  return out;
}

void Scheduler::retract(Sequence& s, StepPlan& plan) {
  plan.retracted.push_back(s.id);
  ++stats_.retractions;
  stats_.retracted_tokens += s.generated();
  ++s.retractions;
  cache(s);
  release(s);
  std::erase(running_, &s);
  s.running = s.prefilling = false;
  s.computed = s.planned = 0;
  ++s.epoch;
  waiting_.emplace(key(s), &s);
  int64_t generated = 0, most = 0;
  for (const Sequence* other : running_) generated += other->generated(), most += other->max_new;
  ratio_.retracted(generated, most, running());
}

// Makes room for the first of the queue at the cost of a request that matters much less: one in a step.
void Scheduler::preempt(StepPlan& plan) {
  if (waiting_.empty()) return;
  Sequence& first = *waiting_.begin()->second;
  if (first.pending > 0 || (!free_slots_.empty() && fits(first, expected_growth()))) return;
  const int64_t threshold = config_.priority_preemption_threshold;
  if (first.priority < std::numeric_limits<int64_t>::min() + threshold) return;
  const int64_t most = first.priority - threshold;
  // The last one running may be displaced too: the first of the queue takes its place.
  Sequence* lower =
      running_.size() == 1 && running_[0]->priority <= most && !running_[0]->finishing() ? running_[0] : victim(most);
  if (lower) retract(*lower, plan);
}

}  // namespace cairn::llm
