// A language model that says its prompt back, word by word, behind the real routes: what text specs talk to. A word
// with the space before it is a token; its id is its length, its logarithm minus its length. And a picture model, whose
// file says what it was asked for; steps of odd number are cached.
#pragma once
#include "serve/api/chat.h"
#include "serve/api/completions.h"
#include "serve/api/generate.h"
#include "serve/api/images.h"
#include "serve/api/model_routes.h"
#include "serve/http/router.h"

namespace cairn::serve {

class EchoApp {
 public:
  Router router() const;
  // The same for a picture model: /generate is then cache-dit's.
  Router picture_router() const;

 private:
  struct Said {
    std::vector<std::string> words;
    Finish finish;
    Usage usage;
    std::string text() const;
    std::vector<TokenLogprob> logprobs(int64_t top) const;
  };
  static std::vector<std::string> words_of(const Prompt& prompt);
  static Said say(const Prompt& prompt, const Sampling& sampling);
  static void complete(const CompletionRequest& request, Reply& reply);
  static void chat(const ChatRequest& request, Reply& reply);
  static void generate(const GenerateRequest& request, Reply& reply);
  static void paint(ImageAnswer::Route route, const ImageRequest& request, Reply& reply);
};

}  // namespace cairn::serve
