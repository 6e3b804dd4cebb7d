#include "app/answer.h"

#include <algorithm>
#include <cstdio>

#include "app/commands.h"
#include "app/report.h"

namespace cairn::app {

Answer::Answer(const text::Tokenizer& tokenizer, std::vector<std::string> stops)
    : tokenizer_(tokenizer), stops_(std::move(stops)), start_(seconds_now()) {}

bool Answer::token(const llm::Choice& choice) {
  const std::lock_guard lock(mutex_);
  choices_.push_back(choice);
  if (choices_.size() == 1) first_ = seconds_now();
  ids_.push_back(choice.token);
  text_ = tokenizer_.decode(ids_, true).value_or("");
  for (const auto& stop : stops_)
    if (const size_t at = text_.find(stop); at != std::string::npos) {
      text_.resize(at);
      return false;
    }
  // A character whose bytes have not all come yet reads as U+FFFD; what may begin a stop text waits, too.
  size_t safe = text_.size();
  if (text_.ends_with("\xef\xbf\xbd")) safe = printed_;
  for (const auto& stop : stops_)
    for (size_t n = std::min(stop.size() - 1, text_.size()); n > 0; --n)
      if (std::string_view(text_).ends_with(std::string_view(stop).substr(0, n)))
        safe = std::min(safe, text_.size() - n);
  print(safe);
  return !interrupted;
}

void Answer::print(size_t upto) {
  if (upto <= printed_) return;
  std::fwrite(text_.data() + printed_, 1, upto - printed_, stdout);
  std::fflush(stdout);
  printed_ = upto;
}

void Answer::finish(const llm::Done& done, std::optional<Error> error) {
  const std::lock_guard lock(mutex_);
  end_ = seconds_now();
  if (choices_.empty()) first_ = end_;
  print(text_.size());
  if (error)
    error_ = std::move(error);
  else
    done_ = done;
  over_.notify_all();
}

Result<llm::Done> Answer::wait() {
  std::unique_lock lock(mutex_);
  over_.wait(lock, [&] { return done_ || error_; });
  if (error_) return tl::unexpected(*error_);
  return *done_;
}

double Answer::tokens_per_second() const {
  return ids_.size() > 1 ? static_cast<double>(ids_.size() - 1) / (end_ - first_) : 0;
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
