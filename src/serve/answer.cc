#include "serve/answer.h"

#include <algorithm>

namespace cairn::serve {
namespace {

constexpr size_t kContext = 8;  // tokens of the prompt that the text of an answer's first ones may depend on

}  // namespace

AnswerSink::AnswerSink(const LanguageModel& model, AnswerConfig config, text::StopChecker stop, size_t answer,
                       std::shared_ptr<Listener> listener)
    : model_(model),
      config_(std::move(config)),
      stop_(std::move(stop)),
      answer_(answer),
      listener_(std::move(listener)) {}

Parsed<std::shared_ptr<AnswerSink>> AnswerSink::make(const LanguageModel& model, AnswerConfig config,
                                                     std::span<const int32_t> prompt, size_t answer,
                                                     std::shared_ptr<Listener> listener) {
  auto stop = text::StopChecker::make(config.stop);
  if (!stop) return tl::unexpected<ApiError>(api_error(stop.error()));
  auto sink = std::make_shared<AnswerSink>(model, std::move(config), *std::move(stop), answer, std::move(listener));
  const auto end = prompt.last(std::min(prompt.size(), kContext));
  const std::vector<int64_t> context(end.begin(), end.end());
  if (model.tokenizer()) {
    const auto made =
        caught([&] { sink->detokenizer_.emplace(*model.tokenizer(), sink->config_.skip_special_tokens, context); });
    if (!made) return tl::unexpected<ApiError>(api_error(made.error()));
  }
  return sink;
}

bool AnswerSink::ends(int64_t token) const {
  return stop_.is_stop(token) || (!config_.ignore_eos && model_.ends(token));
}

TokenLogprob AnswerSink::logprob_of(const llm::Choice& choice) const {
  TokenLogprob out{choice.token, std::string(model_.bytes_of(choice.token)), double{choice.logprob}};
  const auto add = [&](const auto& from, auto& to) {
    for (const auto& [id, logprob] : from) to.push_back({id, std::string(model_.bytes_of(id)), double{logprob}});
  };
  add(choice.top, out.top);
  add(choice.asked, out.asked);
  return out;
}

Result<std::string> AnswerSink::text_of(int64_t token) {
  if (!detokenizer_ || (ends(token) && !config_.stop.no_stop_trim)) return std::string();
  const std::string text = TRY(detokenizer_->push(token));
  auto piece = TRY(stop_.push(text));
  if (piece.stopped) matched_ = std::move(piece.matched);
  return std::move(piece.text);
}

bool AnswerSink::token(const llm::Choice& choice) {
  const auto now = Clock::now();
  const double passed = std::chrono::duration<double>(now - last_).count();
  (tokens_++ == 0 ? model_.metrics().time_to_first_token : model_.metrics().inter_token_latency).observe(passed);
  last_ = now;
  auto text = text_of(choice.token);
  if (!text) {
    broken_ = std::move(text).error();
    return false;
  }
  Piece piece{*std::move(text), {choice.token}, {}};
  if (config_.logprobs) piece.logprobs.push_back(logprob_of(choice));
  listener_->piece(answer_, std::move(piece));
  return !matched_;
}

void AnswerSink::prompt(std::vector<llm::Choice> choices) {
  std::vector<TokenLogprob> out;
  if (config_.first) out.push_back({*config_.first, std::string(model_.bytes_of(*config_.first)), {}});
  for (const llm::Choice& c : choices) out.push_back(logprob_of(c));
  listener_->prompt(answer_, std::move(out));
}

void AnswerSink::done(const llm::Done& done) {
  LanguageMetrics& m = model_.metrics();
  m.prompt_tokens.add(static_cast<double>(done.prompt_tokens));
  m.cached_tokens.add(static_cast<double>(done.cached_tokens));
  m.generation_tokens.add(static_cast<double>(done.generated));
  m.e2e_latency.observe(std::chrono::duration<double>(Clock::now() - start_).count());
  if (!broken_ && detokenizer_ && !matched_) {
    const auto rest = [&]() -> Result<std::string> {
      auto piece = TRY(stop_.push(TRY(detokenizer_->finish())));
      if (piece.stopped) matched_ = piece.matched;
      return piece.text + (piece.stopped ? std::string() : stop_.finish());
    }();
    if (!rest)
      broken_ = rest.error();
    else if (!rest->empty())
      listener_->piece(answer_, Piece{*rest, {}, {}});
  }
  if (broken_) return listener_->failed(answer_, api_error(*broken_));
  Finish finish;
  finish.length = done.generated;
  if (matched_)
    finish.matched_text = matched_;
  else if (done.matched)
    finish.matched_token = *done.matched;
  else if (done.reason == llm::Done::Reason::kLength)
    finish.why = Finish::Why::kLength;
  listener_->finished(answer_, std::move(finish), Usage{done.prompt_tokens, done.generated, done.cached_tokens, {}});
}

void AnswerSink::failed(const Error& error) { listener_->failed(answer_, api_error(error)); }

}  // namespace cairn::serve
