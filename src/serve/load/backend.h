// The routes that a load test speaks: what a request is, and what its answer says.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "serve/load/dataset.h"

namespace cairn::serve {

enum class Backend { kSglang, kCompletions, kChat };
// SGLang's names of backends; several speak the same route.
const std::vector<std::string>& backend_names();
Backend backend_of(std::string_view name);  // of a name out of backend_names()
const char* route_of(Backend backend);      // "/generate", ...

struct RequestOptions {
  std::string model;
  bool stream = true, ignore_eos = true;
  Json extra = Json(Json::Object{});  // members that are added or replaced
};
std::string request_body(Backend backend, const LoadPrompt& prompt, const RequestOptions& options);

// What one request came to. Times in seconds.
struct Outcome {
  bool ok = false;
  std::string error;           // why not
  double start = 0;            // since the test began
  double latency = 0;          // until the last byte of its answer
  std::optional<double> ttft;  // until the first token; none when it did not stream
  std::vector<double> itl;     // between tokens, one for each but the first
  int64_t prompt_tokens = 0, output_tokens = 0, cached_tokens = 0;
  std::string text;
};

// Reads an answer as it comes, and keeps time. Tokens that come together share the time since those before evenly, as
// SGLang counts; a server that does not say how many came is taken to send one an event.
class AnswerReader {
 public:
  AnswerReader(Backend backend, const LoadPrompt& prompt, bool stream);

  // The data of an event, or the whole answer; `now` in seconds since the request was sent.
  void take(std::string_view data, double now);
  // The end of the body.
  Outcome finish(double now);
  bool failed() const { return !out_.error.empty(); }

 private:
  void take_native(const Json& answer, double now);
  void take_openai(const Json& answer, double now);
  void take_usage(const Json& answer);
  // All of the text so far where `whole`, else what is new. `tokens` that there are by now, if it was said.
  void take_text(std::string_view text, bool whole, std::optional<int64_t> tokens, double now);

  Backend backend_;
  bool stream_, over_ = false;
  int64_t counted_ = 0;  // tokens, by events
  std::optional<int64_t> told_;
  double last_ = 0;
  Outcome out_;
};

// What a body that is no proper answer says: OpenAI's error, SGLang's, or its beginning.
std::string error_text(int status, std::string_view body);

}  // namespace cairn::serve
