// cairn complete: continues a text.
#include <fmt/core.h>

#include <cstdio>

#include "app/answer.h"
#include "app/commands.h"
#include "app/flags.h"
#include "app/language_options.h"
#include "base/file.h"
#include "models/generation_config.h"

namespace cairn::app {
namespace {

struct CompleteOptions {
  std::string json;
  std::vector<std::string> stop;
  bool logprobs = false, quiet = false;
  int64_t top_logprobs = 0;

  void fields(auto& f) {
    f("stop", stop, "texts that end the answer");
    f("json", json, "ids, text, log probabilities and timings as JSON");
    f("logprobs", logprobs, "log probabilities in the JSON file")(
        "top_logprobs", top_logprobs, "and those of so many likeliest tokens", between(0, 20));
    f("quiet", quiet, "no summary");
  }
};

}  // namespace

Result<int> complete(const Arguments& args) {
  Flags flags("cairn complete TEXT [FLAGS]", "Continues a text with a language model.");
  CompleteOptions o;
  LanguageOptions lo;
  llm::SamplingParams sampling;
  std::vector<std::string> words;
  flags.add("Answer", o);
  flags.add("Sampling", sampling);
  flags.add("Model", lo);
  flags.positionals("TEXT", 1, words);
  if (!TRY(flags.parse(args))) return 0;
  if (words.empty()) return invalid("complete needs a text: cairn complete \"Once upon a time\"");
  for (const auto& stop : o.stop)
    if (stop.empty()) return invalid("--stop: a text that ends the answer cannot be empty");
  auto lm = TRY(load_language(lo));
  if (lm.folder.empty()) return invalid("a synthetic model has no tokenizer: use --model, or bench one-batch");
  const auto tokenizer = TRY(text::Tokenizer::load(lm.folder));
  const auto encoding = TRY(tokenizer.encode(words[0]));
  llm::Generate request;
  request.sampling = sampling;
  request.logprobs = o.logprobs || o.top_logprobs > 0;
  request.top_logprobs = o.top_logprobs;
  for (const int64_t id : encoding.ids) request.prompt.push_back(static_cast<int32_t>(id));
  llm::Engine::Options options;
  options.ends = TRY(models::load_generation_config(lm.folder)).ends;
  options.model_name = lm.name;
  options.scheduler.max_running_requests = 1;
  const auto engine = TRY(llm::Engine::start(std::move(lm.model), std::move(options)));
  auto sink = std::make_shared<Answer>(tokenizer, o.stop, encoding.ids);
  const auto ticket = TRY(engine->submit(std::move(request), sink));
  const llm::Done done = TRY(sink->wait());
  fmt::print("\n");
  if (!o.quiet)
    fmt::print(stderr, "{} tokens in {:.0f} ms, then {} at {:.0f} tokens/s\n", done.prompt_tokens,
               sink->first_token() * 1e3, done.generated, sink->tokens_per_second());
  if (!o.json.empty())
    TRY_VOID(write_file(o.json, sink->report(done, o.logprobs || o.top_logprobs > 0).dump(2) + "\n"));
  if (interrupted) return failure(Code::kCancelled, fmt::format("stopped after {} tokens", done.generated));
  return 0;
}

}  // namespace cairn::app
