// /v1/completions, /tokenize and /detokenize.
#include <algorithm>

#include "serve/language_routes.h"

namespace cairn::serve {
namespace {

int64_t characters(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

class Completion final : public Job {
 public:
  Completion(const CompletionRequest& request, const LanguageModel& model, Desk& desk, std::shared_ptr<Reply> reply,
             std::vector<std::string> echoes)
      : Job(model, std::move(reply), desk),
        streaming_(request.streaming),
        n_(request.sampling.n),
        logprobs_(request.logprobs.has_value()),
        head_{answer_id("cmpl-", Job::reply().request_id()), unix_seconds(), model.name()} {
    for (size_t i = 0; i < echoes.size() * static_cast<size_t>(n_); ++i) {
      choices_.push_back({static_cast<int64_t>(i), echoes[i / static_cast<size_t>(n_)], {}, 0, {}});
      if (logprobs_) choices_.back().logprobs.emplace();
      first_.push_back(true);
    }
  }

 private:
  // Of an echoed prompt: they come before those of the answer.
  void on_prompt(size_t answer, std::vector<TokenLogprob> logprobs) override {
    choices_[answer].logprobs = std::move(logprobs);
  }

  void on_piece(size_t answer, Piece piece) override {
    CompletionChoice& whole = choices_[answer];
    if (!streaming_.stream) {
      whole.text += piece.text;
      if (logprobs_) std::ranges::move(piece.logprobs, std::back_inserter(*whole.logprobs));
      return;
    }
    total_.completion_tokens += static_cast<int64_t>(piece.ids.size());
    if (first_[answer]) {
      piece.text = whole.text + piece.text;  // the echoed prompt
      if (logprobs_) piece.logprobs.insert(piece.logprobs.begin(), whole.logprobs->begin(), whole.logprobs->end());
      first_[answer] = false;
    }
    if (piece.text.empty() && piece.logprobs.empty()) return;
    CompletionChoice part{whole.index, piece.text, {}, offset_of(answer, piece.text), {}};
    if (logprobs_) part.logprobs = std::move(piece.logprobs);
    chunk(part);
  }

  int64_t offset_of(size_t answer, const std::string& text) {
    int64_t& offset = choices_[answer].text_offset;
    const int64_t at = offset;
    offset += characters(text);
    return at;
  }

  void chunk(const CompletionChoice& part) {
    send(sse(completion_chunk(head_, part, streaming_.continuous_usage ? &total_ : nullptr, streaming_.include_usage)));
  }

  void on_finished(size_t answer, const Finish& finish, const Usage& usage) override {
    choices_[answer].finish = finish;
    if (answer % static_cast<size_t>(n_) == 0) {  // the answers to one prompt share it
      total_.prompt_tokens += usage.prompt_tokens;
      total_.cached_tokens = total_.cached_tokens.value_or(0) + usage.cached_tokens.value_or(0);
    }
    if (!streaming_.stream) {
      total_.completion_tokens += usage.completion_tokens;
    } else {
      CompletionChoice last{choices_[answer].index, "", {}, 0, finish};
      if (first_[answer]) last.text = choices_[answer].text, last.logprobs = choices_[answer].logprobs;
      last.text_offset = offset_of(answer, last.text);
      chunk(last);
    }
  }

  void on_complete() override {
    if (!streaming_.stream) return reply().json(200, completion_json(head_, choices_, total_));
    std::string last = streaming_.include_usage ? sse(usage_chunk(head_, "text_completion", total_)) : "";
    end(last.append(kSseDone));
  }

  const StreamOptions streaming_;
  const int64_t n_;
  const bool logprobs_;
  const AnswerHead head_;
  std::vector<CompletionChoice> choices_;
  std::vector<bool> first_;
  Usage total_;
};

}  // namespace

Parsed<std::vector<Job::Ask>> asks_for(const LanguageModel& model, std::vector<int32_t> prompt, const Sampling& s,
                                       const Origin& origin, const std::string& rid) {
  auto generate = model.generate(s, origin);
  if (!generate) return tl::unexpected<ApiError>(generate.error());
  generate->prompt = std::move(prompt);
  auto grammar = model.grammar(s.grammar, "");
  if (!grammar) return tl::unexpected<ApiError>(grammar.error());
  generate->grammar = *std::move(grammar);
  const AnswerConfig config{
      .stop = {.strings = s.stop, .expressions = s.stop_regex, .ids = s.stop_token_ids, .no_stop_trim = s.no_stop_trim},
      .ignore_eos = s.ignore_eos,
      .skip_special_tokens = s.skip_special_tokens};
  std::vector<Job::Ask> out;
  for (int64_t i = 0; i < s.n; ++i) {
    out.push_back({*generate, config, rid});
    if (s.seed) out.back().generate.sampling.seed = *s.seed + i;
  }
  return out;
}

void complete(const CompletionRequest& request, const LanguageModel& model, Desk& desk, std::shared_ptr<Reply> reply) {
  std::vector<Job::Ask> asks;
  std::vector<std::string> echoes;
  const std::string rid = request.origin.rid.empty() ? reply->request_id() : request.origin.rid;
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const std::string param = request.prompts.size() == 1 ? "prompt" : "prompt[" + std::to_string(i) + "]";
    auto ids = model.ids_of(request.prompts[i], param);
    if (!ids) return reply->error(ids.error());
    echoes.emplace_back();
    const bool scored = request.echo && request.logprobs;
    if (request.echo) {
      const std::vector<int64_t> prompt(ids->begin(), ids->end());
      echoes.back() = request.prompts[i].tokenized && model.tokenizer()
                          ? model.tokenizer()->decode(prompt, true).value_or("")
                          : request.prompts[i].text;
    }
    auto more = asks_for(model, *std::move(ids), request.sampling, request.origin, rid);
    if (!more) return reply->error(more.error());
    for (auto& ask : *more) {
      ask.config.logprobs = ask.generate.logprobs = request.logprobs.has_value();
      ask.generate.top_logprobs = request.logprobs.value_or(0);
      if (scored) ask.generate.logprob_start = 0;
      asks.push_back(std::move(ask));
    }
  }
  std::make_shared<Completion>(request, model, desk, std::move(reply), std::move(echoes))->start(std::move(asks));
}

void tokenize(const TokenizeRequest& request, const LanguageModel& model, Reply& reply) {
  if (!model.tokenizer())
    return reply.error(ApiError{400, "model " + model.name() + " was started without a tokenizer", "model", {}});
  std::vector<std::vector<int64_t>> tokens;
  for (const auto& prompt : request.prompts) {
    auto encoding = model.tokenizer()->encode(prompt, {.add_special = request.add_special_tokens});
    if (!encoding) return reply.error(encoding.error());
    tokens.push_back(std::move(encoding->ids));
  }
  reply.json(200, tokenize_json(tokens, request.batch, model.engine().context_length()));
}

void detokenize(const DetokenizeRequest& request, const LanguageModel& model, Reply& reply) {
  if (!model.tokenizer())
    return reply.error(ApiError{400, "model " + model.name() + " was started without a tokenizer", "model", {}});
  std::vector<std::string> texts;
  for (const auto& ids : request.tokens) {
    auto text = model.tokenizer()->decode(ids, request.skip_special_tokens);
    if (!text) return reply.error(text.error());
    texts.push_back(*std::move(text));
  }
  reply.json(200, detokenize_json(texts, request.batch));
}

}  // namespace cairn::serve
