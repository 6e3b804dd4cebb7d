// An answer of a language model in the terminal.
#pragma once
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "llm/engine.h"
#include "text/tokenizer.h"

namespace cairn::app {

// Prints text as it comes, and keeps everything. Stops at the first of its stop texts, and at Ctrl-C.
class Answer final : public llm::Sink {
 public:
  Answer(const text::Tokenizer& tokenizer, std::vector<std::string> stops);

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
  void print(size_t upto);
  void finish(const llm::Done& done, std::optional<Error> error);

  const text::Tokenizer& tokenizer_;
  std::vector<std::string> stops_;
  std::mutex mutex_;
  std::condition_variable over_;
  std::vector<llm::Choice> choices_;
  std::vector<int64_t> ids_;
  std::string text_;
  size_t printed_ = 0;
  double start_, first_ = 0, end_ = 0;
  std::optional<llm::Done> done_;
  std::optional<Error> error_;
};

}  // namespace cairn::app
