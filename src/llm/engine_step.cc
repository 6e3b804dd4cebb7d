// What a step of the engine does: it runs a plan, chooses tokens, hands them out, and ends or fails answers.
#include <fmt/core.h>

#include <algorithm>
#include <bit>

#include "llm/engine_state.h"
#include "tensor/survive.h"

namespace cairn::llm {
namespace {

constexpr int64_t kScoredAtOnce = 64;  // positions of a prompt whose logits are held at once
constexpr size_t kLookedBack = 16384;  // tokens in which a repetition is looked for

// What followed the last time that the sequence's last tokens occurred in it: the longest match counts, of those the
// latest. At most `most` tokens.
std::vector<Token> repeated(const std::vector<Token>& tokens, int64_t least, int64_t longest, int64_t most) {
  const size_t size = tokens.size(), begin = size > kLookedBack ? size - kLookedBack : 0;
  size_t best = 0, after = 0;
  for (size_t end = size - 1; end > begin; --end) {  // a match ends before `end`
    size_t same = 0;
    while (same < static_cast<size_t>(longest) && same < end - begin &&
           tokens[end - 1 - same] == tokens[size - 1 - same])
      ++same;
    if (same > best) best = same, after = end;
    if (best == static_cast<size_t>(longest)) break;
  }
  if (best < static_cast<size_t>(least)) return {};
  const size_t count = std::min(static_cast<size_t>(most), size - after);
  return {tokens.begin() + static_cast<std::ptrdiff_t>(after),
          tokens.begin() + static_cast<std::ptrdiff_t>(after + count)};
}

}  // namespace

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
  const Choice choice = TRY(a.sampler.next(logits, a.allowed, a.request.logprobs, a.request.top_logprobs));
  const bool complete = TRY(a.follow(choice.token, model->vocabulary()));
  chosen.push_back(choice.token);
  a.last = choice.token;
  const bool goes_on = a.sink->token(choice);
  a.stopped = !goes_on || complete || a.sampler.ends(choice.token);
  return {};
}

std::vector<Token> EngineState::propose(const PlanRow& row, const Answer& a) const {
  const Speculation& s = options.speculation;
  if (s.algorithm == "none" || !row.sample || row.drafts == 0) return {};
  const Sequence* sequence = scheduler.find(row.id);
  if (!sequence || row.to != sequence->known()) return {};
  auto drafts = repeated(sequence->tokens, s.min_match, s.max_match, row.drafts);
  // What its grammar does not allow is not worth computing.
  if (a.grammar) {
    auto at = *a.grammar;
    size_t fit = 0;
    while (fit < drafts.size() && at.accept(drafts[fit]).value_or(false) && !at.ended()) ++fit;
    drafts.resize(fit);
  }
  return drafts;
}

// Takes what it wants to know of its prompt from the hidden states of a row.
void EngineState::read_prompt(Answer& a, const PlanRow& row, const StepHidden& step, int64_t first) {
  const auto size = static_cast<int64_t>(a.prompt.size());
  const int64_t from = std::max(row.from, a.read), to = std::min(row.to, size);
  if (from >= to) return;
  check(from == a.read || a.request.embed == Generate::Embed::kLast, "no position of a prompt is left out");
  a.read = to;
  if (a.request.logprob_start) {
    for (int64_t p = from; p < std::min(to, size - 1); p += kScoredAtOnce) {
      const int64_t end = std::min({p + kScoredAtOnce, to, size - 1});
      std::vector<int64_t> tokens;
      for (int64_t i = p; i < end; ++i) tokens.push_back(first + i - row.from);
      const Tensor logits = logits_of(*model, step, tokens);
      const auto* values = static_cast<const float*>(logits.const_data_ptr());
      const auto width = static_cast<size_t>(logits.size(1));
      for (int64_t i = p; i < end; ++i)
        a.scores.push_back(scored({values + static_cast<size_t>(i - p) * width, width},
                                  a.prompt[static_cast<size_t>(i + 1)], a.request.top_logprobs));
    }
    if (to == size) a.sink->prompt(a.scores);
  }
  if (a.request.embed == Generate::Embed::kNone) return;
  const int64_t begin = a.request.embed == Generate::Embed::kMean ? from : to - 1;
  if (a.request.embed == Generate::Embed::kLast && to < size) return;
  const Tensor hidden = step.hidden.narrow(0, first + begin - row.from, to - begin).to(kF32).contiguous();
  const auto* values = static_cast<const float*>(hidden.const_data_ptr());
  const int64_t width = hidden.size(1);
  a.pooled.resize(static_cast<size_t>(width));
  for (int64_t i = 0; i < hidden.numel(); ++i) a.pooled[static_cast<size_t>(i % width)] += double{values[i]};
  if (to < size) return;
  const double count = a.request.embed == Generate::Embed::kMean ? static_cast<double>(size) : 1;
  std::vector<float> out;
  for (const double sum : a.pooled) out.push_back(static_cast<float>(sum / count));
  a.sink->embedding(std::move(out));
}

void EngineState::run_step(const StepPlan& plan, StepResult& result) {
  std::vector<RowRun> rows;
  for (const PlanRow& r : plan.rows) {
    const Answer& a = answers.at(r.id);
    rows.push_back({a.stretched, propose(r, a)});
  }
  const StepHidden step = llm::run(*model, cache, plan, rows);
  std::vector<int64_t> sampled;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const PlanRow& r = plan.rows[i];
    if (!answers.at(r.id).prompt.empty()) read_prompt(answers.at(r.id), r, step, step.first[i]);
    const auto drafts = static_cast<int64_t>(rows[i].drafts.size());
    if (r.sample)
      for (int64_t p = r.to - 1 - r.from; p < r.to - r.from + drafts; ++p) sampled.push_back(step.first[i] + p);
  }
  const Tensor logits = logits_of(*model, step, sampled);
  int64_t at = 0;
  std::vector<std::pair<RequestId, Error>> failed;
  std::vector<Token> chosen;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    if (!plan.rows[i].sample) {
      result.add({});
      continue;
    }
    Answer& a = answers.at(plan.rows[i].id);
    const auto& drafts = rows[i].drafts;
    chosen.clear();
    // The sampler goes on for as long as it chooses what was proposed.
    for (size_t d = 0; d <= drafts.size(); ++d) {
      const Tensor own = logits[at + static_cast<int64_t>(d)];
      const auto ok =
          choose(a, {static_cast<float*>(own.mutable_data_ptr()), static_cast<size_t>(own.numel())}, chosen);
      if (!ok) {
        failed.emplace_back(plan.rows[i].id, ok.error());
        chosen.assign(1, 0);  // nobody will see it
        break;
      }
      if (a.stopped || d == drafts.size() || chosen.back() != drafts[d]) break;
    }
    counted.drafted += static_cast<int64_t>(drafts.size());
    counted.accepted += static_cast<int64_t>(chosen.size()) - 1;
    at += 1 + static_cast<int64_t>(drafts.size());
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
        run_step(plan, result);
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
