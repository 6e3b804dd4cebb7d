// One answer on its way from tokens to text.
#pragma once
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "serve/language_model.h"
#include "text/detokenizer.h"
#include "text/stop.h"

namespace cairn::serve {

// What a token adds to an answer: often its text, sometimes none yet, and at the end the rest without a token.
struct Piece {
  std::string text;
  std::vector<int64_t> ids;
  std::vector<TokenLogprob> logprobs;  // of `ids`, where they were asked for
};

// Hears of the answers to one HTTP request, on the engine's thread.
class Listener {
 public:
  virtual ~Listener() = default;
  // The prompt's tokens, where their logarithms were asked for.
  virtual void prompt(size_t answer, std::vector<TokenLogprob> logprobs) = 0;
  virtual void piece(size_t answer, Piece piece) = 0;
  virtual void finished(size_t answer, Finish finish, Usage usage) = 0;
  virtual void failed(size_t answer, const ApiError& error) = 0;
};

// What an answer is made with, beside what the engine is asked.
struct AnswerConfig {
  text::StopConfig stop;
  bool ignore_eos = false, skip_special_tokens = true;
  bool logprobs = false;
  std::optional<int32_t> first{};  // the prompt's very first token, where its place among the prompt's is asked for
};

class AnswerSink final : public llm::Sink {
 public:
  // `prompt_end`: the last tokens of the prompt. Errors: stop texts that cannot be read.
  static Parsed<std::shared_ptr<AnswerSink>> make(const LanguageModel& model, AnswerConfig config,
                                                  std::span<const int32_t> prompt, size_t answer,
                                                  std::shared_ptr<Listener> listener);
  // Use make().
  AnswerSink(const LanguageModel& model, AnswerConfig config, text::StopChecker stop, size_t answer,
             std::shared_ptr<Listener> listener);

  bool token(const llm::Choice& choice) override;
  void prompt(std::vector<llm::Choice> choices) override;
  void done(const llm::Done& done) override;
  void failed(const Error& error) override;

 private:
  using Clock = std::chrono::steady_clock;
  Result<std::string> text_of(int64_t token);
  bool ends(int64_t token) const;
  TokenLogprob logprob_of(const llm::Choice& choice) const;

  const LanguageModel& model_;
  const AnswerConfig config_;
  text::StopChecker stop_;
  std::optional<text::Detokenizer> detokenizer_;
  const size_t answer_;
  const std::shared_ptr<Listener> listener_;
  std::optional<std::string> matched_;
  std::optional<Error> broken_;
  int64_t tokens_ = 0;
  Clock::time_point start_ = Clock::now(), last_ = start_;
};

}  // namespace cairn::serve
