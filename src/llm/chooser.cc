#include "llm/chooser.h"

#include <algorithm>
#include <bit>

#include "tensor/survive.h"

namespace cairn::llm {

Chooser::Chooser(Generate request, Sampler sampler, int64_t prompt_size, int64_t scored, int64_t pooled,
                 int64_t vocabulary, bool speculates)
    : request_(std::move(request)),
      sampler_(std::move(sampler)),
      prompt_size_(prompt_size),
      vocabulary_(vocabulary),
      speculates_(speculates),
      scored_(scored),
      pooled_(pooled) {}

Result<void> Chooser::constrain() {
  const auto ends = sampler_.ends();
  grammar_.emplace(request_.grammar, std::vector<int64_t>(ends.begin(), ends.end()));
  const auto ids = std::max(static_cast<size_t>(vocabulary_), request_.grammar->tokens().size());
  allowed_.resize((ids + 31) / 32);
  return grammar_->mask(allowed_);
}

// Follows the grammar over a chosen token. True: nothing but the end may follow.
Result<bool> Chooser::accept(int32_t token) {
  if (!grammar_) {
    if (request_.grammar && request_.grammar_after == token) TRY_VOID(constrain());
    return false;
  }
  check(TRY(grammar_->accept(token)), "a token was chosen that its grammar does not allow");
  if (grammar_->ended()) return true;
  TRY_VOID(grammar_->mask(allowed_));
  if (!grammar_->may_end()) return false;
  const auto ends = static_cast<int64_t>(sampler_.ends().size());
  int64_t left = 0;
  for (const uint32_t word : allowed_) left += std::popcount(word);
  return left <= ends;
}

void Chooser::follow(RowOutcome& outcome) {
  if (!request_.grammar || speculates_ || outcome.choices.empty()) return;
  Result<void> ok;
  const auto survives = survived(
      [&] {
        const auto complete = accept(outcome.choices.back().token);
        if (complete) outcome.complete = *complete;
        if (!complete) ok = tl::unexpected(complete.error());
      },
      "use a simpler grammar");
  if (ok) ok = survives;
  if (ok) {
    followed_.store(followed_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    followed_.notify_one();
  } else {
    outcome.choices.clear();
    outcome.error = ok.error();  // the request goes, which ends the wait
  }
}

void Chooser::leave() {
  followed_.store(kGone, std::memory_order_release);
  followed_.notify_one();
}

// Waits until the grammar has been followed over so many tokens. False: the request is gone.
bool Chooser::reached(int64_t followed) const {
  for (;;) {
    const int32_t seen = followed_.load(std::memory_order_acquire);
    if (seen >= followed) return seen != kGone;
    followed_.wait(seen, std::memory_order_acquire);
  }
}

// Its grammar, if it has one, has been followed over all tokens so far. False: the request is gone.
bool Chooser::ready() const { return reached(request_.grammar && !speculates_ ? sampler_.generated() : 0); }

bool Chooser::ask(ops::Sampling& how) const {
  if (!ready()) return false;
  ops::SampleRow row = sampler_.row();
  row.first_touch = static_cast<int32_t>(how.touches.size());
  how.touches.insert(how.touches.end(), sampler_.touches().begin(), sampler_.touches().end());
  if (!allowed_.empty()) {
    how.allowed_words = (vocabulary_ + 31) / 32;
    row.allowed = static_cast<int32_t>(static_cast<int64_t>(how.allowed.size()) / how.allowed_words);
    how.allowed.insert(how.allowed.end(), allowed_.begin(), allowed_.begin() + how.allowed_words);
  }
  how.rows.push_back(row);
  return true;
}

Result<void> Chooser::took(const ops::Sampled& chosen, RowOutcome& outcome) {
  Choice choice = TRY(sampler_.took(chosen));
  if (!request_.logprobs) choice.logprob = 0;
  outcome.choices.push_back(std::move(choice));
  if (speculates_) outcome.complete = TRY(accept(chosen.token));
  return {};
}

Result<void> Chooser::choose(std::span<float> logits, std::span<const Token> guesses, RowOutcome& outcome) {
  if (!ready()) return {};
  for (size_t i = 0;; ++i) {  // each is chosen as if it were alone
    const auto own = logits.subspan(i * static_cast<size_t>(vocabulary_), static_cast<size_t>(vocabulary_));
    Choice choice =
        TRY(sampler_.next(own, allowed_, request_.logprobs, request_.top_logprobs, request_.token_ids_logprob));
    if (speculates_) outcome.complete = TRY(accept(choice.token));
    const int32_t token = choice.token;
    outcome.choices.push_back(std::move(choice));
    if (outcome.complete || ends(token) || i == guesses.size() || token != guesses[i]) return {};
  }
}

Result<void> Chooser::read_prompt(const CausalLm& model, const PlanRow& row, const Tensor& hidden, int64_t first,
                                  RowOutcome& outcome) {
  if ((scored_ < 0 && pooled_ < 0) || !reached(0)) return {};
  const Tensor own = hidden.narrow(0, first, row.to - row.from);
  TRY_VOID(judge(model, row, own, outcome));
  pool(row, own, outcome);
  return {};
}

// Log-probabilities of the prompt's tokens behind those of this row, whose hidden states these are. Logits are worked
// out a few rows at a time: those of a whole chunk may be gigabytes.
Result<void> Chooser::judge(const CausalLm& model, const PlanRow& row, const Tensor& hidden, RowOutcome& outcome) {
  if (scored_ < 0) return {};
  const int64_t most = std::max((int64_t{1} << 24) / vocabulary_, int64_t{1});
  const int64_t end = std::min(row.to, prompt_size_ - 1);
  check(row.from <= scored_, "a prompt's hidden states were skipped");
  while (scored_ < end) {
    const int64_t count = std::min(end - scored_, most);
    const Tensor logits = on_host(model.logits(hidden.narrow(0, scored_ - row.from, count)));
    const auto* p = static_cast<const float*>(logits.const_data_ptr());
    for (int64_t i = 0; i < count; ++i, ++scored_, p += vocabulary_)
      judged_.push_back(
          TRY(judged({p, static_cast<size_t>(vocabulary_)}, request_.prompt[static_cast<size_t>(scored_ + 1)],
                     request_.top_logprobs, request_.token_ids_logprob)));
  }
  if (row.to < prompt_size_) return {};
  scored_ = -1;
  outcome.prompt = std::move(judged_);
  return {};
}

// Adds this row's hidden states to the embedding of its prompt, position by position, so that chunks change nothing.
void Chooser::pool(const PlanRow& row, const Tensor& hidden, RowOutcome& outcome) {
  const int64_t end = std::min(row.to, prompt_size_);
  if (pooled_ < 0 || pooled_ >= end) return;
  check(row.from <= pooled_, "a prompt's hidden states were skipped");
  const int64_t width = hidden.size(1);
  const Tensor rows = on_host(hidden.narrow(0, pooled_ - row.from, end - pooled_)).to(kF32).contiguous();
  const auto* p = static_cast<const float*>(rows.const_data_ptr());
  sum_.resize(static_cast<size_t>(width));
  for (; pooled_ < end; ++pooled_, p += width)
    for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += double{p[i]};
  if (end < prompt_size_) return;
  pooled_ = -1;
  const double count = request_.embed == Pooling::kMean ? static_cast<double>(prompt_size_) : 1;
  auto& out = outcome.embedding.emplace();
  for (const double x : sum_) out.push_back(static_cast<float>(x / count));
  sum_.clear();
}

}  // namespace cairn::llm
