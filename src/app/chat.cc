// cairn chat: a conversation in the terminal.
#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "app/answer.h"
#include "app/commands.h"
#include "app/flags.h"
#include "app/language_options.h"
#include "base/file.h"
#include "models/generation_config.h"
#include "text/chat_template.h"

namespace cairn::app {
namespace {

struct ChatOptions {
  std::string system;
  bool quiet = false;
  void fields(auto& f) { f("system", system, "what the model is told first")("quiet", quiet, "no speeds, no prompts"); }
};

constexpr const char* kHelp =
    "  /reset        forget the conversation\n  /system TEXT  start anew with this instruction\n"
    "  /save FILE    write the conversation as JSON\n  /exit         leave (or Ctrl-D); Ctrl-C stops an answer\n";

// The conversation so far, and how to go on with it.
class Chat {
 public:
  Chat(LanguageModel lm, const ChatOptions& o, llm::SamplingParams sampling, text::Tokenizer tokenizer,
       text::ModelTemplates templates)
      : options_(o),
        sampling_(std::move(sampling)),
        tokenizer_(std::move(tokenizer)),
        templates_(std::move(templates)) {
    llm::Engine::Options e;
    e.ends = or_throw(models::load_generation_config(lm.folder)).ends;
    e.model_name = lm.name;
    e.scheduler.max_running_requests = 1;
    engine_ = or_throw(llm::Engine::start(std::move(lm.model), std::move(e)));
    reset(o.system);
  }

  void reset(const std::string& system) {
    system_ = system;
    messages_.clear();
    if (!system.empty()) add("system", system);
  }
  const std::string& system() const { return system_; }
  Json messages() const { return messages_; }

  // One turn: the answer streams to standard output.
  Result<void> say(const std::string& text) {
    add("user", text);
    auto answered = answer();
    if (!answered) messages_.pop_back();  // the question may be put again
    return answered;
  }

 private:
  void add(const char* role, const std::string& content) {
    messages_.push_back(Json::Object{{"role", role}, {"content", content}});
  }

  Result<void> answer() {
    text::Conversation c;
    c.messages = messages_;
    c.special_tokens = templates_.special_tokens();
    c.add_generation_prompt = true;
    const std::string prompt = TRY(text::render(TRY(templates_.choose(false)), std::move(c)));
    const auto encoding = TRY(tokenizer_.encode(prompt, {.add_special = false}));
    llm::Generate request;
    request.sampling = sampling_;
    for (const int64_t id : encoding.ids) request.prompt.push_back(static_cast<int32_t>(id));
    interrupted = false;
    auto sink = std::make_shared<Answer>(tokenizer_, std::vector<std::string>(), encoding.ids);
    const auto ticket = TRY(engine_->submit(std::move(request), sink));
    const llm::Done done = TRY(sink->wait());
    fmt::print("\n");
    std::fflush(stdout);
    add("assistant", sink->text());
    if (!options_.quiet)
      fmt::print(stderr, "({} tokens, {} of them cached, then {} at {:.0f} tokens/s{})\n", done.prompt_tokens,
                 done.cached_tokens, done.generated, sink->tokens_per_second(), interrupted ? ", stopped" : "");
    interrupted = false;
    return {};
  }

  ChatOptions options_;
  llm::SamplingParams sampling_;
  text::Tokenizer tokenizer_;
  text::ModelTemplates templates_;
  std::unique_ptr<llm::Engine> engine_;
  std::string system_;
  Json::Array messages_;
};

// A line of standard input without its end; nothing at the end of input.
std::optional<std::string> read_line(bool ask) {
  if (ask) {
    fmt::print(stderr, "> ");
    std::fflush(stderr);
  }
  char* line = nullptr;
  size_t size = 0;
  const auto n = ::getline(&line, &size, stdin);
  std::optional<std::string> out;
  if (n >= 0) out = std::string(line, static_cast<size_t>(n));
  std::free(line);
  if (out && out->ends_with('\n')) out->pop_back();
  return out;
}

// Whether the conversation goes on.
Result<bool> obey(Chat& chat, const std::string& line) {
  const size_t space = line.find(' ');
  const std::string command = line.substr(0, space), rest = space == std::string::npos ? "" : line.substr(space + 1);
  if (command == "/exit" || command == "/quit") return false;
  if (command == "/reset") {
    chat.reset(chat.system());
  } else if (command == "/system") {
    chat.reset(rest);
  } else if (command == "/save") {
    if (rest.empty()) return invalid("/save needs the name of a file");
    TRY_VOID(write_file(rest, chat.messages().dump(2) + "\n"));
    fmt::print(stderr, "saved to {}\n", rest);
  } else {
    fmt::print(stderr, "{}", kHelp);
  }
  return true;
}

}  // namespace

Result<int> chat(const Arguments& args) {
  Flags flags("cairn chat [FLAGS]", "Talks to a language model. /help lists what else can be typed.");
  ChatOptions o;
  LanguageOptions lo;
  llm::SamplingParams sampling;
  sampling.max_new_tokens = 1024;
  flags.add("Chat", o);
  flags.add("Sampling", sampling);
  flags.add("Model", lo);
  if (!TRY(flags.parse(args))) return 0;
  auto lm = TRY(load_language(lo));
  if (lm.folder.empty()) return invalid("a synthetic model has no tokenizer: use --model");
  auto tokenizer = TRY(text::Tokenizer::load(lm.folder));
  auto templates = TRY(text::ModelTemplates::load(lm.folder));
  TRY(templates.choose(false));  // a model without a chat template is refused now, not after the first question
  const bool ask = ::isatty(STDIN_FILENO) != 0 && !o.quiet;
  if (ask) fmt::print(stderr, "{} ({}). /help lists what else can be typed.\n", lm.name, lo.dtype);
  auto started = caught([&] {
    return std::make_unique<Chat>(std::move(lm), o, std::move(sampling), std::move(tokenizer), std::move(templates));
  });
  const auto conversation = TRY(std::move(started));
  while (const auto line = read_line(ask)) {
    if (line->empty()) continue;
    Result<bool> on = true;
    if (line->starts_with('/'))
      on = obey(*conversation, *line);
    else if (auto said = conversation->say(*line); !said)
      on = tl::unexpected(said.error());
    if (!on && !ask) return tl::unexpected(on.error());  // a script wants to know
    if (!on)
      fmt::print(stderr, "{}\n", on.error().what);
    else if (!*on)
      break;
  }
  return 0;
}

}  // namespace cairn::app
