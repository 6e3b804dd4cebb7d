#include "serve/api/model_routes.h"

#include <fmt/core.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "base/base64.h"
#include "base/strings.h"

namespace cairn::serve {
namespace {

constexpr size_t kMostInputs = 2048;

std::string base64(const std::vector<float>& v) {
  static_assert(std::endian::native == std::endian::little, "the vectors go out as they lie in memory");
  std::string bytes(v.size() * sizeof(float), '\0');
  if (!v.empty()) std::memcpy(bytes.data(), v.data(), bytes.size());
  return cairn::base64(bytes);
}

void write_model(JsonWriter& w, const ModelCard& card) {
  w.begin_object().field("id", card.id).field("object", "model").field("created", card.created);
  w.field("owned_by", "cairn").field("root", card.id).key("parent").null();
  w.field("max_model_len", card.max_model_len);
  for (const auto& [name, value] : card.more) w.key(name).raw(value.dump());
  w.end_object();
}

}  // namespace

std::string model_json(const ModelCard& card) {
  JsonWriter w;
  write_model(w, card);
  return w.take();
}

std::string models_json(const std::vector<ModelCard>& cards) {
  JsonWriter w;
  w.begin_object().field("object", "list").key("data").begin_array();
  for (const auto& card : cards) write_model(w, card);
  return w.end_array().end_object().take();
}

ApiError no_such_model(const std::string& name, const std::vector<ModelCard>& cards) {
  std::vector<std::string> names;
  for (const auto& card : cards) names.push_back(card.id);
  if (name.empty())
    return {404, "no model here can do that; there is " + join(names, ", "), "model", "model_not_found"};
  const std::string what = fmt::format("there is no model \"{}\"; there is {}", name.substr(0, 200), join(names, ", "));
  return {404, what, "model", "model_not_found"};
}

Parsed<EmbeddingRequest> parse_embedding(const Json& body) {
  EmbeddingRequest out;
  std::string format = "float";
  RequestReader r(body);
  r("model", out.model, "which model; the first language model without")("user", out.user, "whom the request is for");
  r("encoding_format", format, "numbers, or base64 of float32", one_of({"float", "base64"}));
  r("dimensions", out.dimensions, "only the first so many numbers", between(1, 1e6));
  r("pooling", out.pooling, "the last token's hidden state, or the mean of all", one_of({"last", "mean"}));
  r("normalize", out.normalize, "scale vectors to length one");
  bool batch = false;
  if (const Json* input = r.find("input")) {
    out.inputs = read_prompts(r, "input", *input, kMostInputs, batch);
  } else {
    r.fail("input", "is missing");
  }
  for (const Prompt& prompt : out.inputs)
    if (r.ok() && prompt.text.empty() && prompt.ids.empty()) r.fail("input", "a text without content");
  if (auto error = r.finish()) return tl::unexpected<ApiError>(*std::move(error));
  out.base64 = format == "base64";
  return out;
}

std::string embeddings_json(const std::string& model, const std::vector<std::vector<float>>& vectors, bool as_base64,
                            int64_t prompt_tokens) {
  JsonWriter w;
  w.begin_object().field("object", "list").key("data").begin_array();
  for (size_t i = 0; i < vectors.size(); ++i) {
    w.begin_object().field("object", "embedding").field("index", i).key("embedding");
    if (as_base64) {
      w.value(base64(vectors[i]));
    } else {
      w.begin_array();
      for (const float x : vectors[i]) std::isfinite(x) ? w.raw(fmt::format("{}", x)) : w.null();
      w.end_array();
    }
    w.end_object();
  }
  w.end_array().field("model", model).key("usage").begin_object().field("prompt_tokens", prompt_tokens);
  return w.field("total_tokens", prompt_tokens).end_object().end_object().take();
}

Parsed<TokenizeRequest> parse_tokenize(const Json& body) {
  TokenizeRequest out;
  RequestReader r(body);
  r("model", out.model, "which model")("add_special_tokens", out.add_special_tokens,
                                       "begin and end as the model wants");
  if (const Json* prompt = r.find("prompt")) {
    out.prompts = read_texts(r, "prompt", *prompt, kMostInputs);
    out.batch = prompt->as_array() != nullptr;
  } else {
    r.fail("prompt", "is missing");
  }
  if (auto error = r.finish()) return tl::unexpected<ApiError>(*std::move(error));
  return out;
}

std::string tokenize_json(const std::vector<std::vector<int64_t>>& tokens, bool batch, int64_t max_model_len) {
  JsonWriter w;
  w.begin_object().key("tokens");
  if (batch) w.begin_array();
  for (const auto& ids : tokens) {
    w.begin_array();
    for (const int64_t id : ids) w.value(id);
    w.end_array();
  }
  if (batch) w.end_array().key("count").begin_array();
  if (!batch) w.key("count");
  for (const auto& ids : tokens) w.value(ids.size());
  if (batch) w.end_array();
  return w.field("max_model_len", max_model_len).end_object().take();
}

Parsed<DetokenizeRequest> parse_detokenize(const Json& body) {
  DetokenizeRequest out;
  RequestReader r(body);
  r("model", out.model, "which model")("skip_special_tokens", out.skip_special_tokens, "leave special tokens out");
  const Json* tokens = r.find("tokens");
  const auto* list = tokens ? tokens->as_array() : nullptr;
  out.batch = list && !list->empty() && list->front().as_array();
  if (!tokens) {
    r.fail("tokens", "is missing");
  } else if (!out.batch) {
    out.tokens.push_back(read_ids(r, "tokens", *tokens));
  } else if (list->size() > kMostInputs) {
    r.fail("tokens", fmt::format("more than {} lists", kMostInputs));
  } else {
    for (const Json& ids : *list) out.tokens.push_back(read_ids(r, "tokens", ids));
  }
  if (auto error = r.finish()) return tl::unexpected<ApiError>(*std::move(error));
  return out;
}

std::string detokenize_json(const std::vector<std::string>& texts, bool batch) {
  JsonWriter w;
  w.begin_object().key("text");
  if (batch) w.begin_array();
  for (const auto& text : texts) w.value(text);
  if (batch) w.end_array();
  return w.end_object().take();
}

}  // namespace cairn::serve
