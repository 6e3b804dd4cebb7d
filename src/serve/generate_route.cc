// /generate, SGLang's own route.
#include <algorithm>
#include <chrono>

#include "serve/language_routes.h"

namespace cairn::serve {
namespace {

using Clock = std::chrono::steady_clock;

class Generation final : public Job {
 public:
  Generation(const GenerateRequest& request, const LanguageModel& model, Desk& desk, std::shared_ptr<Reply> reply)
      : Job(model, std::move(reply), desk),
        stream_(request.stream),
        batch_(request.batch || request.items.front().sampling.n > 1),
        texts_(request.return_text_in_logprobs) {
    for (const auto& item : request.items)
      for (int64_t n = 0; n < item.sampling.n; ++n) {
        Generated g;
        g.id = item.rid;
        if (batch_ && stream_) g.index = static_cast<int64_t>(answers_.size());
        if (item.return_logprob)
          g.logprobs = Generated::Logprobs{{}, {}, item.top_logprobs_num > 0, !item.token_ids_logprob.empty()};
        answers_.push_back(std::move(g));
      }
  }

 private:
  void on_prompt(size_t answer, std::vector<TokenLogprob> logprobs) override {
    if (answers_[answer].logprobs) answers_[answer].logprobs->input = std::move(logprobs);
  }

  void on_piece(size_t answer, Piece piece) override {
    Generated& g = answers_[answer];
    g.text += piece.text;
    g.usage.completion_tokens += static_cast<int64_t>(piece.ids.size());
    std::ranges::copy(piece.ids, std::back_inserter(g.output_ids));
    if (g.logprobs) std::ranges::move(piece.logprobs, std::back_inserter(g.logprobs->output));
    if (stream_ && !piece.ids.empty()) send(sse(generated_json(g, texts_)));
  }

  void on_finished(size_t answer, const Finish& finish, const Usage& usage) override {
    Generated& g = answers_[answer];
    g.usage = usage;
    g.finish = finish;
    g.e2e_seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    if (stream_) send(sse(generated_json(g, texts_)));
  }

  void on_complete() override {
    if (stream_) return end(kSseDone);
    if (!batch_) return reply().json(200, generated_json(answers_[0], texts_));
    std::vector<std::string> whole;
    for (const Generated& g : answers_) whole.push_back(generated_json(g, texts_));
    reply().json(200, json_list(whole));
  }

  std::string error_event(const ApiError& error) const override { return sse(generated_error(error)); }

  const bool stream_, batch_, texts_;
  const Clock::time_point start_ = Clock::now();
  std::vector<Generated> answers_;
};

}  // namespace

void generate(const GenerateRequest& request, const LanguageModel& model, Desk& desk, std::shared_ptr<Reply> reply) {
  GenerateRequest named = request;
  std::vector<Job::Ask> asks;
  if (named.require_reasoning && !model.thoughts_end())
    return reply->error(ApiError{400,
                                 "require_reasoning: model " + model.name() +
                                     " was started without a reasoning parser, or has no token for the end of thoughts",
                                 "require_reasoning",
                                 {}});
  for (size_t i = 0; i < named.items.size(); ++i) {
    auto& item = named.items[i];
    if (item.rid.empty()) item.rid = reply->request_id() + (named.batch ? "-" + std::to_string(i) : "");
    auto ids = model.ids_of(item.prompt, item.prompt.tokenized ? "input_ids" : "text");
    if (!ids) return reply->error(ids.error());
    auto more = asks_for(model, *std::move(ids), item.sampling, named.origin, item.rid);
    if (!more) return reply->error(more.error());
    for (auto& ask : *more) {
      ask.config.logprobs = ask.generate.logprobs = item.return_logprob;
      ask.generate.top_logprobs = item.top_logprobs_num;
      ask.generate.token_ids_logprob.assign(item.token_ids_logprob.begin(), item.token_ids_logprob.end());
      if (item.return_logprob && item.logprob_start_len >= 0) ask.generate.logprob_start = item.logprob_start_len;
      if (named.require_reasoning) ask.generate.grammar_after = model.thoughts_end();
      asks.push_back(std::move(ask));
    }
  }
  std::make_shared<Generation>(named, model, desk, std::move(reply))->start(std::move(asks));
}

}  // namespace cairn::serve
