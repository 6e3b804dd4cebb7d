#include "serve/api/generate.h"

#include <fmt/core.h>

namespace cairn::serve {
namespace {

constexpr size_t kMostItems = 1024;

void read_one_sampling(RequestReader& outer, const Json& from, const std::string& where, Sampling& out) {
  RequestReader r(from, where);
  r("max_new_tokens", out.max_new_tokens, "tokens at most", between(0, 1e9));
  r("min_new_tokens", out.min_new_tokens, "no end before so many tokens", between(0, 1e9));
  r("sampling_seed", out.seed, "the same seed gives the same tokens");
  read_sampling(r, out);
  r.ignore({"stream_interval"});
  r.unsupported({"structural_tag", "custom_params"});
  check_sampling(r, out, {"max_new_tokens", "min_new_tokens"});
  if (auto error = r.finish()) outer.fail(*std::move(error));
}

// A member that is one value for all items, or a list with one for each. `set` is called for every item.
template <class F>
void spread(RequestReader& r, std::string_view name, size_t items, F&& set) {
  const Json* value = r.find(name);
  if (!value || !r.ok()) return;
  const auto* list = value->as_array();
  if (list && list->size() != items)
    return r.fail(name, fmt::format("a list of {} for {} prompts", list->size(), items));
  for (size_t i = 0; i < items && r.ok(); ++i)
    set(i, list ? (*list)[i] : *value, list ? fmt::format("{}[{}]", name, i) : std::string(name));
}

// The same for a scalar, read as fields() would.
template <class T>
void spread_scalar(RequestReader& r, std::string_view name, std::vector<GenerateRequest::Item>& items,
                   T GenerateRequest::Item::*member, const Rule& rule = {}) {
  spread(r, name, items.size(), [&](size_t i, const Json& value, const std::string& where) {
    const Json one(Json::Object{{where, value}});
    RequestReader inner(one);
    inner(where, items[i].*member, "", rule);
    if (auto error = inner.finish()) r.fail(*std::move(error));
  });
}

void read_prompts_of(RequestReader& r, GenerateRequest& out) {
  const Json *text = r.find("text"), *ids = r.find("input_ids");
  if ((text != nullptr) == (ids != nullptr))
    return r.fail(text ? "input_ids" : "text", text ? "text and input_ids exclude each other" : "is missing");
  const Json& value = text ? *text : *ids;
  const char* name = text ? "text" : "input_ids";
  for (Prompt& prompt : read_prompts(r, name, value, kMostItems, out.batch)) {
    if (r.ok() && prompt.tokenized != (ids != nullptr))
      r.fail(name, ids ? "expected token ids" : "expected a string or a list of strings");
    out.items.emplace_back().prompt = std::move(prompt);
  }
}

void write_entries(JsonWriter& w, const std::vector<TokenLogprob>& tokens, bool texts) {
  w.begin_array();
  for (const auto& token : tokens) {
    w.begin_array().value(token.logprob).value(token.id);
    texts ? w.value(token.text) : w.null();
    w.end_array();
  }
  w.end_array();
}

// `others`: which tokens beside those of the text.
void write_others(JsonWriter& w, const std::vector<TokenLogprob>& tokens,
                  std::vector<TokenLogprob::Alternative> TokenLogprob::*others, bool texts) {
  w.begin_array();
  for (const auto& token : tokens) {
    if (!token.logprob) {
      w.null();
      continue;
    }
    w.begin_array();
    for (const auto& other : token.*others) {
      w.begin_array().value(other.logprob).value(other.id);
      texts ? w.value(other.text) : w.null();
      w.end_array();
    }
    w.end_array();
  }
  w.end_array();
}

void write_native_finish(JsonWriter& w, const std::optional<Finish>& finish) {
  w.key("finish_reason");
  if (!finish) {
    w.null();
    return;
  }
  w.begin_object();
  switch (finish->why) {
    case Finish::Why::kLength:
      w.field("type", "length").field("length", finish->length);
      break;
    case Finish::Why::kAbort:
      w.field("type", "abort").field("message", finish->message).field("status_code", finish->status);
      w.field("err_type", error_type(finish->status));
      break;
    case Finish::Why::kStop:
    case Finish::Why::kToolCalls:
      w.field("type", "stop");
      if (finish->matched_text) {
        w.field("matched", *finish->matched_text);
      } else if (finish->matched_token) {
        w.field("matched", *finish->matched_token);
      }
  }
  w.end_object();
}

}  // namespace

Parsed<GenerateRequest> parse_generate(const Json& body) {
  GenerateRequest out;
  RequestReader r(body);
  read_prompts_of(r, out);
  for (auto& item : out.items) item.sampling.max_new_tokens = 128;
  spread(r, "sampling_params", out.items.size(), [&](size_t i, const Json& value, const std::string& where) {
    read_one_sampling(r, value, where, out.items[i].sampling);
  });
  spread_scalar(r, "rid", out.items, &GenerateRequest::Item::rid);
  if (out.items.size() > 1 && r.ok() && body.find("rid") && body.find("rid")->as_string())
    r.fail("rid", "a list of prompts wants a list of names");
  spread_scalar(r, "return_logprob", out.items, &GenerateRequest::Item::return_logprob);
  spread_scalar(r, "logprob_start_len", out.items, &GenerateRequest::Item::logprob_start_len, between(-1, 1e9));
  spread_scalar(r, "top_logprobs_num", out.items, &GenerateRequest::Item::top_logprobs_num, between(0, 20));
  if (const Json* wanted = r.find("token_ids_logprob")) {
    const auto* list = wanted->as_array();
    const bool each = list && !list->empty() && list->front().as_array();
    if (each && list->size() != out.items.size()) r.fail("token_ids_logprob", "must have one list for each prompt");
    for (size_t i = 0; i < out.items.size() && r.ok(); ++i)
      out.items[i].token_ids_logprob = read_ids(r, "token_ids_logprob", each ? (*list)[i] : *wanted);
  }
  r("stream", out.stream, "the answer as server-sent events");
  r("return_text_in_logprobs", out.return_text_in_logprobs, "texts beside the token ids");
  r("require_reasoning", out.require_reasoning, "grammars hold behind the end of the thoughts only");
  r("priority", out.origin.priority, "higher goes first", between(-1e6, 1e6));
  r("extra_key", out.origin.extra_key, "requests with different keys share no cache");
  r.ignore({"log_metrics", "no_logs", "custom_labels", "modalities", "background"});
  r.unsupported({"input_embeds", "image_data", "video_data", "audio_data", "return_hidden_states", "session_params",
                 "lora_path", "custom_logit_processor", "bootstrap_host", "bootstrap_port", "bootstrap_room",
                 "data_parallel_rank", "routed_dp_rank", "return_entropy"});
  if (auto error = r.finish()) return tl::unexpected<ApiError>(*std::move(error));
  return out;
}

std::string generated_json(const Generated& g, bool texts) {
  JsonWriter w;
  w.begin_object().field("text", g.text).key("output_ids").begin_array();
  for (const int64_t id : g.output_ids) w.value(id);
  w.end_array().key("meta_info").begin_object().field("id", g.id);
  write_native_finish(w, g.finish);
  w.field("prompt_tokens", g.usage.prompt_tokens).field("completion_tokens", g.usage.completion_tokens);
  w.field("cached_tokens", g.usage.cached_tokens.value_or(0)).field("weight_version", "default");
  if (g.finish) w.field("e2e_latency", g.e2e_seconds);
  if (g.logprobs) {
    write_entries(w.key("input_token_logprobs"), g.logprobs->input, texts);
    write_entries(w.key("output_token_logprobs"), g.logprobs->output, texts);
    if (g.logprobs->top) {
      write_others(w.key("input_top_logprobs"), g.logprobs->input, &TokenLogprob::top, texts);
      write_others(w.key("output_top_logprobs"), g.logprobs->output, &TokenLogprob::top, texts);
    }
    if (g.logprobs->asked) {
      write_others(w.key("input_token_ids_logprobs"), g.logprobs->input, &TokenLogprob::asked, texts);
      write_others(w.key("output_token_ids_logprobs"), g.logprobs->output, &TokenLogprob::asked, texts);
    }
  }
  w.end_object();
  if (g.index) w.field("index", *g.index);
  return w.end_object().take();
}

std::string json_list(const std::vector<std::string>& items) {
  JsonWriter w;
  w.begin_array();
  for (const auto& item : items) w.raw(item);
  return w.end_array().take();
}

std::string generated_error(const ApiError& e) {
  JsonWriter w;
  w.begin_object().key("error").begin_object().field("message", e.message).field("type", error_type(e.status));
  return w.field("code", e.status).end_object().end_object().take();
}

Parsed<AbortRequest> parse_abort(const Json& body) {
  AbortRequest out;
  RequestReader r(body);
  r("rid", out.rid, "the request to end")("abort_all", out.all, "all requests");
  r.ignore({"finished_reason", "abort_message"});
  if (r.ok() && out.rid.empty() && !out.all) r.fail("rid", "is missing");
  if (auto error = r.finish()) return tl::unexpected<ApiError>(*std::move(error));
  return out;
}

}  // namespace cairn::serve
