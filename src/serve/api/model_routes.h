// The smaller OpenAI routes: /v1/models, /v1/embeddings, /tokenize, /detokenize.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "serve/api/completion_parts.h"
#include "serve/api/sampling_request.h"

namespace cairn::serve {

struct ModelCard {
  std::string id;
  int64_t created = 0;
  std::optional<int64_t> max_model_len{};  // none for what is no language model
  Json::Object more{};                     // further members, which OpenAI's list does not have
};
std::string model_json(const ModelCard& card);
std::string models_json(const std::vector<ModelCard>& cards);
// 404, with the models that there are.
ApiError no_such_model(const std::string& name, const std::vector<ModelCard>& cards);

struct EmbeddingRequest {
  std::string model, user;
  std::vector<Prompt> inputs;
  bool base64 = false;
  std::optional<int64_t> dimensions;
  std::string pooling = "last";  // or "mean": which hidden states make the vector
  bool normalize = true;         // to length one
};
Parsed<EmbeddingRequest> parse_embedding(const Json& body);
// `base64`: the vectors as little-endian float32, which OpenAI's client asks for by itself.
std::string embeddings_json(const std::string& model, const std::vector<std::vector<float>>& vectors, bool base64,
                            int64_t prompt_tokens);

struct TokenizeRequest {
  std::string model;
  std::vector<std::string> prompts;
  bool batch = false, add_special_tokens = true;
};
Parsed<TokenizeRequest> parse_tokenize(const Json& body);
std::string tokenize_json(const std::vector<std::vector<int64_t>>& tokens, bool batch, int64_t max_model_len);

struct DetokenizeRequest {
  std::string model;
  std::vector<std::vector<int64_t>> tokens;
  bool batch = false, skip_special_tokens = true;
};
Parsed<DetokenizeRequest> parse_detokenize(const Json& body);
std::string detokenize_json(const std::vector<std::string>& texts, bool batch);

}  // namespace cairn::serve
