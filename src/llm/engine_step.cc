// What a step of the engine does: it runs a plan, chooses tokens, hands them out, and ends or fails answers.
#include <algorithm>
#include <bit>

#include "llm/engine_state.h"
#include "tensor/survive.h"

namespace cairn::llm {
Result<void> Answer::constrain(int64_t vocabulary) {
  if (!request.grammar) return {};
  const auto ends = sampler.ends();
  grammar.emplace(request.grammar, std::vector<int64_t>(ends.begin(), ends.end()));
  const auto ids = std::max(static_cast<size_t>(vocabulary), request.grammar->tokens().size());
  allowed.resize((ids + 31) / 32);
  return grammar->mask(allowed);
}

Result<bool> Answer::follow(int32_t token, int64_t vocabulary) {
  if (!grammar) {
    if (request.grammar_after == token) TRY_VOID(constrain(vocabulary));
    return false;
  }
  check(TRY(grammar->accept(token)), "a token was chosen that its grammar does not allow");
  if (grammar->ended()) return true;
  TRY_VOID(grammar->mask(allowed));
  if (!grammar->may_end()) return false;
  const auto ends = static_cast<int64_t>(sampler.ends().size());
  int64_t left = 0;
  for (const uint32_t word : allowed) left += std::popcount(word);
  return left <= ends;
}

void EngineState::fail(RequestId id, const Error& error) {
  const auto it = answers.find(id);
  if (it == answers.end()) return;
  const auto sink = std::move(it->second.sink);
  numbers.erase(it->second.number);
  answers.erase(it);
  scheduler.cancel(id);
  sink->failed(error);
}

void EngineState::end(const Finished& f) {
  const auto it = answers.find(f.id);
  if (it == answers.end()) return;
  Answer& a = it->second;
  Done done{.reason = f.reason == FinishReason::kStop ? Done::Reason::kStop : Done::Reason::kLength,
            .prompt_tokens = f.prompt_tokens,
            .cached_tokens = f.cached_tokens,
            .generated = static_cast<int64_t>(f.output.size()),
            .retractions = f.retractions};
  if (a.stopped && a.last && a.sampler.ends(*a.last)) done.matched = a.last;
  counted.prompt_tokens += f.prompt_tokens;
  counted.cached_tokens += f.cached_tokens;
  counted.generated_tokens += done.generated;
  const auto sink = std::move(a.sink);
  numbers.erase(a.number);
  answers.erase(it);
  sink->done(done);
}

// The next token of an answer, appended to `chosen`, or an error that is its own.
Result<void> EngineState::choose(Answer& a, std::span<float> logits, std::vector<Token>& chosen) {
  const Choice choice =
      TRY(a.sampler.next(logits, a.allowed, a.request.logprobs, a.request.top_logprobs, a.request.token_ids_logprob));
  const bool complete = TRY(a.follow(choice.token, model->vocabulary()));
  chosen.push_back(choice.token);
  a.last = choice.token;
  const bool goes_on = a.sink->token(choice);
  a.stopped = !goes_on || complete || a.sampler.ends(choice.token);
  return {};
}

// Log-probabilities of the prompt's tokens behind those of this row, whose hidden states these are. Logits are worked
// out a few rows at a time: those of a whole chunk may be gigabytes.
Result<void> EngineState::judge_prompt(Answer& a, const PlanRow& row, const Tensor& hidden) {
  if (a.scored < 0) return {};
  const Sequence& s = *scheduler.find(row.id);
  const int64_t vocabulary = model->vocabulary(), most = std::max((int64_t{1} << 24) / vocabulary, int64_t{1});
  const int64_t end = std::min(row.to, s.prompt_size - 1);
  check(row.from <= a.scored, "a prompt's hidden states were skipped");
  while (a.scored < end) {
    const int64_t count = std::min(end - a.scored, most);
    const Tensor logits = model->logits(hidden.narrow(0, a.scored - row.from, count));
    const auto* p = static_cast<const float*>(logits.const_data_ptr());
    for (int64_t i = 0; i < count; ++i, ++a.scored, p += vocabulary)
      a.judged.push_back(TRY(judged({p, static_cast<size_t>(vocabulary)}, s.tokens[static_cast<size_t>(a.scored + 1)],
                                    a.request.top_logprobs, a.request.token_ids_logprob)));
  }
  if (row.to < s.prompt_size) return {};
  a.scored = -1;
  a.sink->prompt(std::exchange(a.judged, {}));
  return {};
}

// Adds this row's hidden states to the embedding of its prompt, position by position, so that chunks change nothing.
void EngineState::pool(Answer& a, const PlanRow& row, const Tensor& hidden) {
  const int64_t size = scheduler.find(row.id)->prompt_size, end = std::min(row.to, size);
  if (a.pooled < 0 || a.pooled >= end) return;
  check(row.from <= a.pooled, "a prompt's hidden states were skipped");
  const int64_t width = hidden.size(1);
  const Tensor rows = hidden.narrow(0, a.pooled - row.from, end - a.pooled).to(kF32).contiguous();
  const auto* p = static_cast<const float*>(rows.const_data_ptr());
  a.sum.resize(static_cast<size_t>(width));
  for (; a.pooled < end; ++a.pooled, p += width)
    for (size_t i = 0; i < a.sum.size(); ++i) a.sum[i] += double{p[i]};
  if (end < size) return;
  a.pooled = -1;
  const double count = a.request.embed == Pooling::kMean ? static_cast<double>(size) : 1;
  std::vector<float> out;
  for (const double x : a.sum) out.push_back(static_cast<float>(x / count));
  a.sum.clear();
  a.sink->embedding(std::move(out));
}

Drafts EngineState::drafts_of(const StepPlan& plan) const {
  if (!options.speculative.on()) return {};
  Drafts out;
  for (const PlanRow& r : plan.rows) {
    const auto more = proposed(scheduler.find(r.id)->tokens, options.speculative, r.drafts);
    out.emplace_back(more.begin(), more.end());
  }
  return out;
}

void EngineState::choose(const StepPlan& plan, const Batch& batch, const Drafts& drafts, StepResult& result) {
  std::vector<int64_t> sampled;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const PlanRow& r = plan.rows[i];
    if (!r.sample) continue;
    const int64_t first = batch.sequences[i].row + r.to - r.from - 1;
    for (size_t j = 0; j <= (drafts.empty() ? 0 : drafts[i].size()); ++j)
      sampled.push_back(first + static_cast<int64_t>(j));
  }
  const auto [hidden, logits] = runner.run(batch, sampled);
  int64_t row = 0;
  std::vector<std::pair<RequestId, Error>> failed;
  std::vector<Token> chosen;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const PlanRow& r = plan.rows[i];
    Answer& a = answers.at(r.id);
    chosen.clear();
    const Tensor own_hidden = hidden.narrow(0, batch.sequences[i].row, r.to - r.from);
    auto ok = judge_prompt(a, r, own_hidden);
    if (ok) pool(a, r, own_hidden);
    if (r.sample) {
      // As many tokens as were guessed right, and the one behind them: each is chosen as if it were alone.
      const std::span<const Token> guesses = drafts.empty() ? std::span<const Token>() : drafts[i];
      for (size_t j = 0; ok && j <= guesses.size(); ++j) {
        const Tensor own = logits[row + static_cast<int64_t>(j)];
        ok = choose(a, {static_cast<float*>(own.mutable_data_ptr()), static_cast<size_t>(own.numel())}, chosen);
        if (!ok || a.stopped || j == guesses.size() || chosen.back() != guesses[j]) break;
      }
      row += static_cast<int64_t>(guesses.size()) + 1;
      counted.drafted += static_cast<int64_t>(guesses.size());
      counted.accepted += std::max(static_cast<int64_t>(chosen.size()) - 1, int64_t{0});
      if (!ok) chosen.assign(1, 0);  // nobody will see it
    }
    if (!ok) failed.emplace_back(r.id, ok.error());
    result.add(chosen, a.stopped);
  }
  for (const auto& [id, error] : failed) fail(id, error);
}

void EngineState::step() {
  StepPlan plan = scheduler.plan();
  if (plan.empty()) {
    // Nothing runs and nothing fits: whoever waits would wait for ever.
    if (scheduler.running() == 0 && scheduler.waiting() > 0 && !answers.empty())
      fail(answers.begin()->first,
           Error{Code::kExhausted, "the cache of keys and values has no room for this request: use a larger one"});
    return;
  }
  StepResult result;
  const auto ran = survived(
      [&] {
        const Inference no_gradients;
        std::vector<bool> stretched;
        for (const PlanRow& r : plan.rows) stretched.push_back(answers.at(r.id).stretched);
        const Drafts drafts = drafts_of(plan);
        choose(plan, batch_of(plan, cache.block_size(), stretched, drafts), drafts, result);
      },
      "send shorter requests, or fewer at once");
  ++counted.steps;
  if (!ran) {
    std::vector<RequestId> ids;
    for (const PlanRow& r : plan.rows) ids.push_back(r.id);
    plan = StepPlan();  // gives its blocks back
    for (const RequestId id : ids) fail(id, ran.error());
    return;
  }
  const auto finished = scheduler.commit(std::move(plan), result);
  check(finished.has_value(), "a plan that nobody dropped commits");
  for (const Finished& f : *finished) end(f);
}

}  // namespace cairn::llm
