// Serves many requests with one model: a thread that plans a step, runs it, chooses tokens and hands them out.
//
//   auto engine = TRY(llm::Engine::start(std::move(model), {.ends = {eos}}));
//   auto ticket = TRY(engine->submit({.prompt = ids}, sink));     // sink hears of tokens; dropping the ticket cancels
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "llm/causal_lm.h"
#include "llm/plan/config.h"
#include "llm/sampling.h"
#include "text/grammar/grammar.h"

namespace cairn::llm {

// What a caller asks of a model.
struct Generate {
  std::vector<int32_t> prompt;
  SamplingParams sampling;
  bool logprobs = false;
  int64_t top_logprobs = 0;
  int64_t priority = 0;
  std::string salt;  // callers with different salts share no cached prefix
  // What the answer's text must fit; null: anything. An end token is then chosen only where the text may end, and the
  // answer ends by itself where nothing else may follow. With `grammar_after` (a </think>) the grammar holds behind the
  // first such token only.
  std::shared_ptr<const text::grammar::CompiledGrammar> grammar{};
  std::optional<int32_t> grammar_after{};
  // Log probabilities of the prompt's tokens from this position on (the very first token has none), with
  // `top_logprobs`; they come before the first token of the answer, of which there may be none (max_new_tokens 0).
  std::optional<int64_t> logprob_start{};
  // The hidden states of the prompt after the final norm: that of its last token, or the mean of all. With
  // max_new_tokens 0 nothing is generated.
  enum class Embed { kNone, kLast, kMean } embed = Embed::kNone;
};

// How an answer ended.
struct Done {
  enum class Reason { kStop, kLength } reason = Reason::kStop;
  std::optional<int32_t> matched{};  // the end token, where one ended it
  int64_t prompt_tokens = 0, cached_tokens = 0, generated = 0, retractions = 0;
};

// Hears what becomes of a request, on the engine's thread: it must be quick, and must not call the engine. After done()
// or failed() nothing more comes; after the ticket was dropped, at most what was under way.
class Sink {
 public:
  virtual ~Sink() = default;
  // False ends the answer with this token (a stop string).
  virtual bool token(const Choice& choice) = 0;
  // The prompt's tokens from Generate::logprob_start on, position 0 left out. Once, before the first token.
  virtual void prompt(const std::vector<Choice>&) {}
  virtual void embedding(std::vector<float>) {}
  virtual void done(const Done& done) = 0;
  virtual void failed(const Error& error) = 0;
};

struct EngineStats {
  int64_t running = 0, waiting = 0, blocks = 0, free_blocks = 0, cached_blocks = 0;
  int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0, steps = 0, finished = 0, retractions = 0;
  int64_t drafted = 0, accepted = 0;  // tokens of speculation
};

// Speculative decoding without a draft model: when the last tokens of a sequence have occurred in it before, what
// followed there is computed along and kept as far as it is what the sampler chooses. Answers are the same, token for
// token, as without.
struct Speculation {
  std::string algorithm = "none";
  int64_t draft_tokens = 8, min_match = 2, max_match = 12;

  void fields(auto& f) {
    f("speculative_algorithm", algorithm, "NGRAM proposes what followed the same tokens before",
      one_of({"none", "NGRAM"}));
    f("speculative_num_draft_tokens", draft_tokens, "tokens proposed in a step", between(1, 64));
    f("speculative_ngram_min_match_window_size", min_match, "tokens that must repeat at least", between(1, 64));
    f("speculative_ngram_max_match_window_size", max_match, "tokens that are looked for at most", between(1, 64));
  }
};

class Engine {
 public:
  struct Options {
    std::vector<int32_t> ends;  // the model's end tokens
    SchedulerConfig scheduler;
    int64_t block_size = 16;
    // Blocks of the cache; 0 takes `mem_fraction_static` of the memory that is available, and no more than all running
    // requests can fill.
    int64_t blocks = 0;
    double mem_fraction_static = 0.5;
    Speculation speculation{};
    uint64_t random_seed = 0;
    std::string model_name;  // for the identity of cached prefixes
  };

  // Cancels its request when it goes.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&&) noexcept = default;
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(state_, other.state_);
      std::swap(number_, other.number_);
      return *this;
    }
    ~Ticket() { cancel(); }
    void cancel();

   private:
    friend class Engine;
    std::weak_ptr<struct EngineState> state_;
    uint64_t number_ = 0;
  };

  // Errors: options that make no sense, or a cache that does not fit.
  static Result<std::unique_ptr<Engine>> start(std::shared_ptr<const CausalLm> model, Options options);
  ~Engine();  // fails what is under way

  // Refuses what can never be served (kInvalidArgument); a full queue fails the request later (kExhausted, through the
  // sink). Any thread.
  Result<Ticket> submit(Generate request, std::shared_ptr<Sink> sink);
  EngineStats stats() const;
  // Forgets all cached prefixes once nothing is running; refused (kUnavailable) while something is.
  Result<void> flush_cache();
  const CausalLm& model() const;
  int64_t context_length() const;

 private:
  Engine() = default;
  std::shared_ptr<struct EngineState> state_;
};

}  // namespace cairn::llm
