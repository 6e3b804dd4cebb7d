// How a request's tokens are chosen, and what is found out about its prompt on the way.
#pragma once
#include <atomic>
#include <limits>

#include "llm/engine.h"
#include "llm/plan/step_plan.h"
#include "ops/sampling.h"

namespace cairn::llm {

// What a row of a step came to.
struct RowOutcome {
  std::optional<std::vector<Choice>> prompt{};  // log-probabilities that its sink is to be told of now
  std::optional<std::vector<float>> embedding{};
  std::vector<Choice> choices{};  // several where guesses were right
  bool complete = false;          // nothing but the end may follow the last of them
  std::optional<Error> error{};   // what keeps the request from going on behind all that
};

// Shared by a request's answer and the steps under way that have a row of it, so it outlives a request that is
// cancelled. The stepping thread uses it, but for the grammar: that is followed by the engine's thread while the next
// step runs, and the stepping thread waits for it before it chooses the token behind. Only where one step may choose
// several tokens (`speculates`) the stepping thread follows it.
class Chooser {
 public:
  // `request.prompt` is needed for its log-probabilities only. `scored`, `pooled`: the first positions that these and
  // the embedding want; -1: they are not asked for.
  Chooser(Generate request, Sampler sampler, int64_t prompt_size, int64_t scored, int64_t pooled, int64_t vocabulary,
          bool speculates);

  // The engine's thread.
  Result<void> constrain();          // begins to follow the grammar
  void follow(RowOutcome& outcome);  // over the chosen token
  void leave();                      // the request is gone: nothing is chosen any more, and nobody waits
  bool ends(int32_t token) const { return sampler_.ends(token); }

  // The stepping thread. `hidden` are the states of a step's tokens, those of the row from `first` on.
  Result<void> read_prompt(const CausalLm& model, const PlanRow& row, const Tensor& hidden, int64_t first,
                           RowOutcome& outcome);
  // As many tokens as were guessed right, and the one behind them. `logits`: 1 + guesses times the vocabulary.
  Result<void> choose(std::span<float> logits, std::span<const Token> guesses, RowOutcome& outcome);
  // One token, on the device that has its logits; for a request of which nothing more than that is to be known. False:
  // it is gone. took() is told what came of it.
  bool on_device() const { return request_.top_logprobs == 0 && request_.token_ids_logprob.empty(); }
  bool ask(ops::Sampling& how) const;
  Result<void> took(const ops::Sampled& chosen, RowOutcome& outcome);

 private:
  Result<bool> accept(int32_t token);
  bool ready() const;
  bool reached(int64_t followed) const;
  Result<void> judge(const CausalLm& model, const PlanRow& row, const Tensor& hidden, RowOutcome& outcome);
  void pool(const PlanRow& row, const Tensor& hidden, RowOutcome& outcome);

  static constexpr int32_t kGone = std::numeric_limits<int32_t>::max();

  const Generate request_;
  Sampler sampler_;
  const int64_t prompt_size_, vocabulary_;
  const bool speculates_;

  // Where the text stands in the grammar, and what may follow there; none while nothing constrains it.
  std::optional<text::grammar::GrammarState> grammar_{};
  std::vector<uint32_t> allowed_{};
  std::atomic<int32_t> followed_{0};  // tokens that the engine's thread has followed the grammar over, or kGone

  int64_t scored_;  // the first position whose hidden state has not been used for log-probabilities
  std::vector<Choice> judged_{};
  int64_t pooled_;  // the first position that is not part of the embedding yet
  std::vector<double> sum_{};
};

}  // namespace cairn::llm
