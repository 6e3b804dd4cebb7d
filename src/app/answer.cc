#include "app/answer.h"

#include <algorithm>
#include <cstdio>

#include "app/commands.h"
#include "app/report.h"

namespace cairn::app {

constexpr size_t kContext = 8;  // tokens of the prompt that the text of an answer's first ones may depend on

Answer::Answer(const text::Tokenizer& tokenizer, std::vector<std::string> stops, std::span<const int64_t> prompt_end)
    : detokenizer_(tokenizer, true, prompt_end.last(std::min(prompt_end.size(), kContext))),
      stop_(or_throw(text::StopChecker::make({.strings = std::move(stops)}))),
      start_(seconds_now()) {}

Result<std::string> Answer::text_of(int64_t token) {
  auto piece = TRY(stop_.push(TRY(detokenizer_.push(token))));
  stopped_ = piece.stopped;
  return std::move(piece.text);
}

bool Answer::token(const llm::Choice& choice) {
  const std::lock_guard lock(mutex_);
  choices_.push_back(choice);
  if (choices_.size() == 1) first_ = seconds_now();
  print(text_of(choice.token));
  return !stopped_ && !error_ && !interrupted;
}

void Answer::print(const Result<std::string>& text) {
  if (!text) {
    if (!error_) error_ = text.error();
    return;
  }
  if (text->empty()) return;
  std::fwrite(text->data(), 1, text->size(), stdout);
  std::fflush(stdout);
  text_ += *text;
}

void Answer::finish(const llm::Done& done, std::optional<Error> error) {
  const std::lock_guard lock(mutex_);
  end_ = seconds_now();
  if (choices_.empty()) first_ = end_;
  if (!stopped_)
    print([&]() -> Result<std::string> {
      auto piece = TRY(stop_.push(TRY(detokenizer_.finish())));
      return piece.text + stop_.finish();
    }());
  if (error) error_ = std::move(error);
  done_ = done;
  over_.notify_all();
}

Result<llm::Done> Answer::wait() {
  std::unique_lock lock(mutex_);
  over_.wait(lock, [&] { return done_.has_value(); });
  if (error_) return tl::unexpected(*error_);
  return *done_;
}

double Answer::tokens_per_second() const {
  return choices_.size() > 1 ? static_cast<double>(choices_.size() - 1) / (end_ - first_) : 0;
}

Json Answer::report(const llm::Done& done, bool logprobs) const {
  Json::Array ids, lines;
  for (const auto& c : choices_) {
    ids.emplace_back(int64_t{c.token});
    Json::Array top;
    for (const auto& [id, value] : c.top) top.push_back(Json::Array{int64_t{id}, double{value}});
    lines.push_back(Json::Object{{"id", int64_t{c.token}}, {"logprob", double{c.logprob}}, {"top", std::move(top)}});
  }
  Json out(Json::Object{
      {"text", text_},
      {"ids", std::move(ids)},
      {"finish_reason", done.reason == llm::Done::Reason::kStop ? "stop" : "length"},
      {"prompt_tokens", done.prompt_tokens},
      {"cached_tokens", done.cached_tokens},
      {"completion_tokens", done.generated},
      {"timing",
       Json::Object{{"first_token_s", first_ - start_}, {"decode_s", end_ - first_}, {"total_s", end_ - start_}}}});
  if (logprobs) out.set("logprobs", std::move(lines));
  return out;
}

}  // namespace cairn::app
