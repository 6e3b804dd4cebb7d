#include "serve/api/echo_app.h"

#include <algorithm>

#include "base/strings.h"

namespace cairn::serve {
namespace {

constexpr int64_t kCreated = 1'700'000'000;
const std::vector<ModelCard> kModels = {{"echo", kCreated, 4096}};

// Wraps a route: the body is parsed by `parse`, and what is wrong with it is the answer.
template <class R>
Handler parsed(Parsed<R> (*parse)(const Json&), void (*run)(const R&, Reply&)) {
  return [parse, run](HttpRequest q, std::shared_ptr<Reply> reply) {
    const auto body = json_body(q);
    if (!body) return reply->error(body.error());
    const auto request = parse(*body);
    if (!request) return reply->error(request.error());
    if constexpr (requires { request->model; }) {
      if (!request->model.empty() && request->model != kModels[0].id)
        return reply->error(no_such_model(request->model, kModels));
    }
    run(*request, *reply);
  };
}

// "7:a fox+12": the picture of that seed and prompt, from a picture of 12 bytes. A sketch ends with the step's number.
MadeImage painted(const ImageRequest& q, int64_t index) {
  const int64_t steps = q.num_inference_steps.value_or(2);
  MadeImage out{"", index, q.seed.value_or(0) + index, 0.5 * static_cast<double>(steps), {}};
  out.file = std::to_string(*out.seed) + ":" + q.prompt;
  for (const auto& image : q.images) out.file += "+" + std::to_string(image.size());
  if (q.cache.is_null() || q.cache == Json(false)) return out;
  out.cache = CacheReport{q.cache.dump(), ""};
  for (int64_t i = 0; i < steps; ++i) out.cache->trace += i % 2 ? '0' : '1';
  return out;
}

AnswerHead head_of(const char* prefix, const Reply& reply) {
  return {answer_id(prefix, reply.request_id()), kCreated, kModels[0].id};
}

}  // namespace

std::string EchoApp::Said::text() const { return join(words, ""); }

std::vector<TokenLogprob> EchoApp::Said::logprobs(int64_t top) const {
  std::vector<TokenLogprob> out;
  for (const auto& word : words) {
    const auto size = static_cast<int64_t>(word.size());
    TokenLogprob token{size, word, -static_cast<double>(size)};
    for (int64_t i = 0; i < top; ++i)
      token.top.push_back({size + i, word + std::string(i, '!'), -0.5 - static_cast<double>(size + i)});
    out.push_back(std::move(token));
  }
  return out;
}

std::vector<std::string> EchoApp::words_of(const Prompt& prompt) {
  std::vector<std::string> words;
  for (const int64_t id : prompt.ids) words.push_back(" " + std::to_string(id));
  for (const char c : prompt.text) {
    if (words.empty() || c == ' ') words.emplace_back();
    words.back() += c;
  }
  return words;
}

EchoApp::Said EchoApp::say(const Prompt& prompt, const Sampling& sampling) {
  const auto all = words_of(prompt);
  Said said;
  said.usage.prompt_tokens = static_cast<int64_t>(all.size());
  for (const auto& word : all) {
    if (sampling.max_new_tokens && said.usage.completion_tokens >= *sampling.max_new_tokens) {
      said.finish = {Finish::Why::kLength, {}, {}, said.usage.completion_tokens, "", 500};
      break;
    }
    ++said.usage.completion_tokens;
    const auto stop = std::find(sampling.stop.begin(), sampling.stop.end(), trim(word));
    if (stop != sampling.stop.end()) {
      said.finish.matched_text = *stop;
      break;
    }
    said.words.push_back(word);
  }
  return said;
}

void EchoApp::complete(const CompletionRequest& request, Reply& reply) {
  const AnswerHead head = head_of("cmpl-", reply);
  Usage total;
  std::vector<CompletionChoice> choices;
  std::string events;
  const auto& streaming = request.streaming;
  for (const Prompt& prompt : request.prompts)
    for (int64_t n = 0; n < request.sampling.n; ++n) {
      const Said said = say(prompt, request.sampling);
      total.prompt_tokens += n == 0 ? said.usage.prompt_tokens : 0;
      total.completion_tokens += said.usage.completion_tokens;
      CompletionChoice whole{static_cast<int64_t>(choices.size()), said.text(), {}, 0, said.finish};
      if (request.logprobs) whole.logprobs = said.logprobs(*request.logprobs);
      CompletionChoice piece{whole.index, "", {}, 0, {}};
      for (size_t i = 0; i < said.words.size(); ++i) {
        piece.text = said.words[i];
        if (request.logprobs) piece.logprobs = {(*whole.logprobs)[i]};
        if (i + 1 == said.words.size()) piece.finish = said.finish;
        events += sse(completion_chunk(head, piece, nullptr, streaming.include_usage));
        piece.text_offset += static_cast<int64_t>(piece.text.size());
      }
      choices.push_back(std::move(whole));
    }
  if (!streaming.stream) return reply.json(200, completion_json(head, choices, total));
  if (streaming.include_usage) events += sse(usage_chunk(head, "text_completion", total));
  reply.events().end(events + std::string(kSseDone));
}

void EchoApp::chat(const ChatRequest& request, Reply& reply) {
  const AnswerHead head = head_of("chatcmpl-", reply);
  Prompt prompt;
  prompt.text = request.messages.back().content.value_or("");
  Said said = say(prompt, request.sampling);
  std::vector<ToolCall> calls;
  if (request.tool_choice.kind == ToolChoice::Kind::kNamed) {
    JsonWriter arguments;
    calls.push_back(
        {"call_1", request.tool_choice.name, arguments.begin_object().field("said", said.text()).end_object().take()});
    said.finish = {Finish::Why::kToolCalls, {}, {}, 0, "", 500};
  }
  const auto& streaming = request.streaming;
  if (!streaming.stream) {
    std::vector<ChatChoice> choices;
    for (int64_t n = 0; n < request.sampling.n; ++n) {
      ChatChoice choice;
      choice.index = n;
      if (calls.empty()) choice.content = said.text();
      choice.tool_calls = calls;
      if (request.logprobs) choice.logprobs = said.logprobs(request.top_logprobs);
      choice.finish = said.finish;
      choices.push_back(std::move(choice));
    }
    said.usage.cached_tokens = 1;
    return reply.json(200, chat_json(head, choices, said.usage));
  }
  std::string events;
  const auto send = [&](const ChatDelta& delta) {
    events += sse(chat_chunk(head, delta, streaming.continuous_usage ? &said.usage : nullptr, streaming.include_usage));
  };
  for (int64_t n = 0; n < request.sampling.n; ++n) {
    ChatDelta first;
    first.index = n;
    first.first = true;
    send(first);
    ChatDelta piece;
    piece.index = n;
    for (size_t i = 0; calls.empty() && i < said.words.size(); ++i) {
      piece.content = said.words[i];
      if (request.logprobs) piece.logprobs = {said.logprobs(request.top_logprobs)[i]};
      send(piece);
    }
    ChatDelta last;
    last.index = n;
    for (const auto& call : calls) last.tool_calls.push_back({0, call.id, call.name, call.arguments});
    last.finish = said.finish;
    send(last);
  }
  if (streaming.include_usage) events += sse(usage_chunk(head, kChatChunk, said.usage));
  reply.events().end(events + std::string(kSseDone));
}

void EchoApp::generate(const GenerateRequest& request, Reply& reply) {
  std::vector<std::string> whole;
  std::string events;
  for (size_t i = 0; i < request.items.size(); ++i) {
    const auto& item = request.items[i];
    const Said said = say(item.prompt, item.sampling);
    Generated g;
    g.id = item.rid.empty() ? reply.request_id() : item.rid;
    g.usage = {said.usage.prompt_tokens, 0, 0, {}};
    if (request.batch && request.stream) g.index = static_cast<int64_t>(i);
    if (item.return_logprob) g.logprobs = Generated::Logprobs{{}, {}, item.top_logprobs_num > 0, false};
    const auto tokens = said.logprobs(item.top_logprobs_num);
    for (size_t k = 0; k < tokens.size(); ++k) {
      g.text += tokens[k].text;
      g.output_ids.push_back(tokens[k].id);
      ++g.usage.completion_tokens;
      if (g.logprobs) g.logprobs->output.push_back(tokens[k]);
      if (k + 1 == tokens.size()) g.finish = said.finish;
      events += sse(generated_json(g, request.return_text_in_logprobs));
    }
    g.finish = said.finish;
    whole.push_back(generated_json(g, request.return_text_in_logprobs));
  }
  if (request.stream) return reply.events().end(events + std::string(kSseDone));
  reply.json(200, request.batch ? json_list(whole) : whole[0]);
}

void EchoApp::paint(ImageAnswer::Route route, const ImageRequest& request, Reply& reply) {
  ImageAnswer head{route, kCreated, request.output_format, request.size.value_or(ImageSize{64, 32})};
  std::vector<MadeImage> images;
  for (int64_t i = 0; i < request.n; ++i) images.push_back(painted(request, i));
  if (!request.stream) return reply.json(200, images_json(head, images, ImageUsage{1, 2, 3}));
  std::string events;
  for (const auto& image : images) {
    const int64_t steps = request.num_inference_steps.value_or(2);
    for (int64_t step = 1; step <= steps; ++step) {
      const bool computed = !image.cache || image.cache->trace[step - 1] == '1';
      events += progress_event(head, {image.index, step, steps, computed, 0.5 * static_cast<double>(step)});
      if (step <= request.partial_images)
        events += partial_image_event(head, image.index, step - 1, image.file + "@" + std::to_string(step));
    }
    events += completed_event(head, image);
  }
  reply.events().end(events);
}

Router EchoApp::picture_router() const {
  Router r;
  r.add({"POST", "/v1/images/generations", "paints",
         parsed<ImageRequest>(parse_image_generation,
                              [](const auto& q, auto& reply) { paint(ImageAnswer::Route::kGeneration, q, reply); })});
  r.add({"POST", "/v1/images/edits", "paints over", [](HttpRequest q, std::shared_ptr<Reply> reply) {
           const auto request = parse_image_edit(q);
           request ? paint(ImageAnswer::Route::kEdit, *request, *reply) : reply->error(request.error());
         }});
  r.add({"POST", "/generate", "cache-dit's own route",
         parsed<NativeImageRequest>(parse_image_generate, [](const NativeImageRequest& q, Reply& reply) {
           NativeImageAnswer answer{{}, 1.7e9, 1.7e9 + 2.5, q.include_stats, {}};
           for (int64_t i = 0; i < q.picture.n; ++i) answer.images.push_back(painted(q.picture, i));
           reply.json(200, native_images_json(answer));
         })});
  return r;
}

Router EchoApp::router() const {
  Router r;
  r.add({"POST", "/v1/completions", "continues texts", parsed(parse_completion, &EchoApp::complete)});
  r.add({"POST", "/v1/chat/completions", "answers a conversation", parsed(parse_chat, &EchoApp::chat)});
  r.add({"POST", "/generate", "SGLang's own route", parsed(parse_generate, &EchoApp::generate)});
  r.add({"POST", "/v1/embeddings", "texts to vectors",
         parsed<EmbeddingRequest>(parse_embedding, [](const EmbeddingRequest& q, Reply& reply) {
           std::vector<std::vector<float>> vectors;
           for (const Prompt& p : q.inputs) vectors.push_back({static_cast<float>(words_of(p).size()), 0.5f, -1e-3f});
           reply.json(200, embeddings_json(q.model, vectors, q.base64, 7));
         })});
  r.add({"POST", "/tokenize", "text to token ids",
         parsed<TokenizeRequest>(parse_tokenize, [](const TokenizeRequest& q, Reply& reply) {
           std::vector<std::vector<int64_t>> tokens;
           for (const auto& text : q.prompts) {
             tokens.emplace_back();
             for (const auto& word : words_of(Prompt{text, {}, false})) tokens.back().push_back(word.size());
           }
           reply.json(200, tokenize_json(tokens, q.batch, 4096));
         })});
  r.add({"POST", "/detokenize", "token ids to text",
         parsed<DetokenizeRequest>(parse_detokenize, [](const DetokenizeRequest& q, Reply& reply) {
           std::vector<std::string> texts;
           for (const auto& ids : q.tokens) texts.push_back(join(words_of(Prompt{"", ids, true}), ""));
           reply.json(200, detokenize_json(texts, q.batch));
         })});
  r.add({"POST", "/abort_request", "ends a request",
         parsed<AbortRequest>(parse_abort, [](const AbortRequest& q, Reply& reply) {
           reply.whole(200, "text/plain", q.all ? "all" : q.rid);
         })});
  r.add({"GET", "/v1/models", "the models", [](HttpRequest, auto reply) { reply->json(200, models_json(kModels)); }});
  r.add({"GET", "/v1/models/{model}", "one model", [](HttpRequest q, auto reply) {
           q.rest == kModels[0].id ? reply->json(200, model_json(kModels[0]))
                                   : reply->error(no_such_model(q.rest, kModels));
         }});
  return r;
}

}  // namespace cairn::serve
