// cairn complete: continues a text.
#include <fmt/core.h>

#include <condition_variable>
#include <cstdio>
#include <mutex>

#include "app/commands.h"
#include "app/flags.h"
#include "app/language_options.h"
#include "app/report.h"
#include "base/file.h"
#include "base/strings.h"
#include "llm/engine.h"
#include "text/tokenizer.h"

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

// Prints text as it comes, and keeps everything for the file.
class Printer final : public llm::Sink {
 public:
  Printer(const text::Tokenizer& tokenizer, std::vector<std::string> stops)
      : tokenizer_(tokenizer), stops_(std::move(stops)), start_(seconds_now()) {}

  bool token(const llm::Choice& choice) override {
    const std::lock_guard lock(mutex_);
    choices_.push_back(choice);
    if (choices_.size() == 1) first_ = seconds_now();
    ids_.push_back(choice.token);
    text_ = tokenizer_.decode(ids_, true).value_or("");
    for (const auto& stop : stops_)
      if (const size_t at = text_.find(stop); at != std::string::npos) {
        text_.resize(at);
        return false;
      }
    // A character whose bytes have not all come yet reads as U+FFFD; what may begin a stop text waits, too.
    size_t safe = text_.size();
    if (text_.ends_with("\xef\xbf\xbd")) safe = printed_;
    for (const auto& stop : stops_)
      for (size_t n = std::min(stop.size() - 1, text_.size()); n > 0; --n)
        if (std::string_view(text_).ends_with(std::string_view(stop).substr(0, n)))
          safe = std::min(safe, text_.size() - n);
    print(safe);
    return !interrupted;
  }
  void done(const llm::Done& done) override { finish(done, {}); }
  void failed(const Error& error) override { finish({}, error); }

  // Waits for the end.
  Result<llm::Done> wait() {
    std::unique_lock lock(mutex_);
    over_.wait(lock, [&] { return done_ || error_; });
    if (error_) return tl::unexpected(*error_);
    return *done_;
  }

  Json report(const llm::Done& done, bool logprobs) const {
    Json::Array ids, lines;
    for (const auto& c : choices_) {
      ids.emplace_back(int64_t{c.token});
      Json::Array top;
      for (const auto& [id, value] : c.top) top.push_back(Json::Array{int64_t{id}, double{value}});
      lines.push_back(Json::Object{{"id", int64_t{c.token}}, {"logprob", double{c.logprob}}, {"top", std::move(top)}});
    }
    Json out(Json::Object{
        {"text", text_},
        {"ids", std::move(ids)},
        {"finish_reason", done.reason == llm::Done::Reason::kStop ? "stop" : "length"},
        {"prompt_tokens", done.prompt_tokens},
        {"cached_tokens", done.cached_tokens},
        {"completion_tokens", done.generated},
        {"timing",
         Json::Object{{"first_token_s", first_ - start_}, {"decode_s", end_ - first_}, {"total_s", end_ - start_}}}});
    if (logprobs) out.set("logprobs", std::move(lines));
    return out;
  }
  double first_token() const { return first_ - start_; }
  double tokens_per_second() const {
    return ids_.size() > 1 ? static_cast<double>(ids_.size() - 1) / (end_ - first_) : 0;
  }

 private:
  void print(size_t upto) {
    if (upto <= printed_) return;
    std::fwrite(text_.data() + printed_, 1, upto - printed_, stdout);
    std::fflush(stdout);
    printed_ = upto;
  }
  void finish(const llm::Done& done, std::optional<Error> error) {
    const std::lock_guard lock(mutex_);
    end_ = seconds_now();
    if (choices_.empty()) first_ = end_;
    print(text_.size());
    if (error)
      error_ = std::move(error);
    else
      done_ = done;
    over_.notify_all();
  }

  const text::Tokenizer& tokenizer_;
  std::vector<std::string> stops_;
  std::mutex mutex_;
  std::condition_variable over_;
  std::vector<llm::Choice> choices_;
  std::vector<int64_t> ids_;
  std::string text_;
  size_t printed_ = 0;
  double start_, first_ = 0, end_ = 0;
  std::optional<llm::Done> done_;
  std::optional<Error> error_;
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
  options.ends = TRY(end_tokens(lm.folder));
  options.model_name = lm.name;
  options.scheduler.max_running_requests = 1;
  const auto engine = TRY(llm::Engine::start(std::move(lm.model), std::move(options)));
  auto sink = std::make_shared<Printer>(tokenizer, o.stop);
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
