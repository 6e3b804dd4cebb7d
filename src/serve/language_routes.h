// What each route of a language model does with a request that was parsed. They run on worker threads; what goes wrong
// becomes the reply.
#pragma once
#include <memory>

#include "serve/api/chat.h"
#include "serve/api/completions.h"
#include "serve/api/generate.h"
#include "serve/api/model_routes.h"
#include "serve/job.h"

namespace cairn::serve {

void complete(const CompletionRequest& request, const LanguageModel& model, Desk& desk, std::shared_ptr<Reply> reply);
void chat(const ChatRequest& request, const LanguageModel& model, Desk& desk, std::shared_ptr<Reply> reply);
void generate(const GenerateRequest& request, const LanguageModel& model, Desk& desk, std::shared_ptr<Reply> reply);
void embed(const EmbeddingRequest& request, const LanguageModel& model, std::shared_ptr<Reply> reply);
void tokenize(const TokenizeRequest& request, const LanguageModel& model, Reply& reply);
void detokenize(const DetokenizeRequest& request, const LanguageModel& model, Reply& reply);

// The prompts of a request times `sampling.n`: what the engine is asked for each answer.
Parsed<std::vector<Job::Ask>> asks_for(const LanguageModel& model, std::vector<int32_t> prompt,
                                       const Sampling& sampling, const Origin& origin, const std::string& rid);

}  // namespace cairn::serve
