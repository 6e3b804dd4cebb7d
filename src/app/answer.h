// An answer of a language model in the terminal.
#pragma once
#include <condition_variable>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "llm/engine.h"
#include "text/detokenizer.h"
#include "text/stop.h"

namespace cairn::app {

// Prints text as it comes, and keeps everything. Stops at the first of its stop texts, and at Ctrl-C.
class Answer final : public llm::Sink {
 public:
  // `prompt_end`: the last tokens before the answer. Throws Failure when a stop text is empty.
  Answer(const text::Tokenizer& tokenizer, std::vector<std::string> stops, std::span<const int64_t> prompt_end);

  bool token(const llm::Choice& choice) override;
  void done(const llm::Done& done) override { finish(done, {}); }
  void failed(const Error& error) override { finish({}, error); }

  // Waits for the end. The other methods are for afterwards.
  Result<llm::Done> wait();
  const std::string& text() const { return text_; }
  double first_token() const { return first_ - start_; }  // seconds
  double tokens_per_second() const;
  Json report(const llm::Done& done, bool logprobs) const;

 private:
  void print(const Result<std::string>& text);
  Result<std::string> text_of(int64_t token);
  void finish(const llm::Done& done, std::optional<Error> error);

  text::Detokenizer detokenizer_;
  text::StopChecker stop_;
  std::mutex mutex_;
  std::condition_variable over_;
  std::vector<llm::Choice> choices_;
  std::string text_;
  bool stopped_ = false;
  double start_, first_ = 0, end_ = 0;
  std::optional<llm::Done> done_;
  std::optional<Error> error_;
};

}  // namespace cairn::app
