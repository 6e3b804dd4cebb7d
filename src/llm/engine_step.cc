// Steps of the engine: planned and given to the stepping thread, and what they came to handed out.
#include <algorithm>

#include "device/health.h"
#include "llm/engine_state.h"
#include "tensor/survive.h"

namespace cairn::llm {
namespace {

constexpr const char* kAdvice = "send shorter requests, or fewer at once";

}  // namespace

void refuse(Sink& sink, const Error& error) {
  // What a sink throws is its own affair, and this was its last call.
  (void)survived([&] { sink.failed(error); }, kAdvice);
}

void EngineState::fail(RequestId id, const Error& error) {
  const auto it = answers.find(id);
  if (it == answers.end()) return;
  const auto sink = std::move(it->second.sink);
  numbers.erase(it->second.number);
  answers.erase(it);
  scheduler.cancel(id);
  refuse(*sink, error);
}

void EngineState::fail(std::unique_ptr<Step> step, const Error& error) {
  std::vector<RequestId> ids;
  for (const PlanRow& r : step->plan.rows) ids.push_back(r.id);
  step.reset();  // gives its blocks back
  for (const RequestId id : ids) fail(id, error);
}

// When the device does not answer any more, nobody's request can go on. A step that it stands still with is left alone.
void EngineState::look_after_device() {
  const auto ok = device::health();
  if (ok || broken || model->device().is_cpu()) return;
  broken = ok.error();
  while (!answers.empty()) fail(answers.begin()->first, *broken);
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
  if (a.stopped && a.last && a.chooser->ends(*a.last)) done.matched = a.last;
  counted.prompt_tokens += f.prompt_tokens;
  counted.cached_tokens += f.cached_tokens;
  counted.generated_tokens += done.generated;
  const auto sink = std::move(a.sink);
  numbers.erase(a.number);
  answers.erase(it);
  if (const auto told = survived([&] { sink->done(done); }, kAdvice); !told) refuse(*sink, told.error());
}

// Plans as many steps as may be under way.
void EngineState::plan_ahead() {
  const size_t most = overlaps ? Scheduler::kMostUnderway : 1;
  while (!broken && !answers.empty() && steps.size() < most) {
    auto step = std::make_unique<Step>();
    step->plan = scheduler.plan();
    if (step->plan.empty()) {
      if (!steps.empty() || scheduler.running() > 0 || scheduler.waiting() == 0) return;
      // Nothing runs and nothing fits: whoever waits would wait for ever.
      fail(answers.begin()->first,
           Error{Code::kExhausted, "the cache of keys and values has no room for this request: use a larger one"});
      continue;
    }
    step->serial = ++last_serial;
    step->behind = steps.empty() ? 0 : steps.back()->serial;
    if (const auto built = survived([&] { build(*step); }, kAdvice); !built) {
      fail(std::move(step), built.error());
      continue;
    }
    steps.push_back(std::move(step));
    stepper.push(*steps.back());
  }
}

void EngineState::build(Step& step) {
  std::vector<bool> stretched;
  for (const PlanRow& r : step.plan.rows) {
    const Answer& a = answers.at(r.id);
    stretched.push_back(a.stretched);
    step.choosers.push_back(a.chooser);
    if (!options.speculative.on()) continue;
    const auto more = proposed(scheduler.find(r.id)->tokens, options.speculative, r.drafts);
    step.drafts.emplace_back(more.begin(), more.end());
  }
  step.batch = batch_of(step.plan, cache.block_size(), stretched, step.drafts);
  step.outcomes.resize(step.plan.rows.size());
  // So that handing out needs no memory of the step's own: it cannot fail as a whole.
  step.result.rows.reserve(step.plan.rows.size());
  step.result.tokens.reserve(static_cast<size_t>(step.batch.rows()) + step.plan.rows.size());
}

bool EngineState::over() {
  const std::lock_guard lock(mutex);
  return !steps.empty() && steps.front()->over;
}

// Hands out what the older step came to.
void EngineState::finish() {
  std::unique_ptr<Step> step = std::move(steps.front());
  steps.pop_front();
  if (step->voided) return;  // its requests are planned again
  ++counted.steps;
  if (!step->ran) {
    const Error error = step->ran.error();
    if (error.code != Code::kExhausted) device::look_after(model->device());
    fail(std::move(step), error);
    return look_after_device();
  }
  // Grammars first: the next step waits for them.
  for (size_t i = 0; i < step->outcomes.size(); ++i)
    if (answers.contains(step->plan.rows[i].id)) step->choosers[i]->follow(step->outcomes[i]);
  for (size_t i = 0; i < step->outcomes.size(); ++i) hand_out(*step, i);
  scheduler.took(step->plan, step->seconds);
  const auto finished = scheduler.commit(std::move(step->plan), step->result);
  check(finished.has_value(), "a plan that nobody dropped commits");
  for (const Finished& f : *finished) end(f);
}

void EngineState::hand_out(Step& step, size_t index) {
  const PlanRow& row = step.plan.rows[index];
  RowOutcome& outcome = step.outcomes[index];
  std::vector<Token> tokens;
  bool stopped = false;
  if (const auto it = answers.find(row.id); it != answers.end()) {
    Answer& a = it->second;
    auto told = survived(
        [&] {
          if (outcome.prompt) a.sink->prompt(std::move(*outcome.prompt));
          if (outcome.embedding) a.sink->embedding(std::move(*outcome.embedding));
          for (size_t i = 0; i < outcome.choices.size() && !a.stopped; ++i) {
            const Choice& choice = outcome.choices[i];
            tokens.push_back(choice.token);
            a.last = choice.token;
            const bool complete = outcome.complete && i + 1 == outcome.choices.size();
            a.stopped = !a.sink->token(choice) || complete || a.chooser->ends(choice.token);
          }
        },
        kAdvice);
    stopped = a.stopped;
    if (!step.drafts.empty()) counted.drafted += static_cast<int64_t>(step.drafts[index].size());
    counted.accepted += std::max(static_cast<int64_t>(tokens.size()) - 1, int64_t{0});
    if (told && outcome.error && !stopped) told = tl::unexpected(*outcome.error);
    if (!told) fail(row.id, told.error());
  }
  static constexpr Token kAny[] = {0};  // of who is gone: nobody will see it
  step.result.add(answers.contains(row.id) ? std::span<const Token>(tokens) : std::span(kAny).first(row.sample),
                  stopped);
}

}  // namespace cairn::llm
