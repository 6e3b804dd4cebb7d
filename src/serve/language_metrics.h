// What is counted of a language model, under SGLang's names where the meaning is the same.
#pragma once
#include <string>

#include "llm/engine.h"
#include "serve/http/metrics.h"

namespace cairn::serve {

struct LanguageMetrics {
  // `engine` is asked whenever the text is made; it must outlive the registry's use.
  LanguageMetrics(Registry& registry, const std::string& model, const llm::Engine& engine);

  Counter &prompt_tokens, &cached_tokens, &generation_tokens, &requests, &aborted;
  Histogram &time_to_first_token, &inter_token_latency, &e2e_latency;
};

}  // namespace cairn::serve
