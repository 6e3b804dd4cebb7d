// Serves many requests with one model: a thread that plans steps and hands out their tokens, beside one that runs the
// steps and chooses the tokens.
//
//   auto engine = TRY(llm::Engine::start(std::move(model), {.ends = {eos}}));
//   auto ticket = TRY(engine->submit({.prompt = ids}, sink));     // sink hears of tokens; dropping the ticket cancels
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "llm/causal_lm.h"
#include "llm/ngram.h"
#include "llm/plan/config.h"
#include "llm/runner.h"
#include "llm/sampling.h"
#include "text/grammar/grammar.h"

namespace cairn::llm {

// Which hidden state stands for a prompt, after the final norm: the mean over its tokens, or that of its last one.
enum class Pooling { kNone, kMean, kLast };

// What a caller asks of a model.
struct Generate {
  std::vector<int32_t> prompt;
  SamplingParams sampling;
  bool logprobs = false;
  int64_t top_logprobs = 0;
  std::vector<int32_t> token_ids_logprob{};  // tokens whose logarithms are reported besides
  // The sink hears of the prompt's tokens from this position on (the first of a prompt has no probability); -1 or none:
  // of none.
  std::optional<int64_t> logprob_start{};
  Pooling embed = Pooling::kNone;  // the sink gets an embedding of the prompt
  int64_t priority = 0;
  std::string salt;  // callers with different salts share no cached prefix
  // What the answer's text must fit; null: anything. An end token is then chosen only where the text may end, and the
  // answer ends by itself where nothing else may follow. With `grammar_after` (a </think>) the grammar holds behind the
  // first such token only.
  std::shared_ptr<const text::grammar::CompiledGrammar> grammar{};
  std::optional<int32_t> grammar_after{};
};

// How an answer ended.
struct Done {
  enum class Reason { kStop, kLength } reason = Reason::kStop;
  std::optional<int32_t> matched{};  // the end token, where one ended it
  int64_t prompt_tokens = 0, cached_tokens = 0, generated = 0, retractions = 0;
};

// Hears what becomes of a request, on the engine's thread: it must be quick, and must not call the engine. What it
// throws fails its request. After done() or failed() nothing more comes; after the ticket was dropped, at most what was
// under way.
class Sink {
 public:
  virtual ~Sink() = default;
  // The prompt's tokens from logprob_start on, before any other call, with logarithms of their probabilities at
  // temperature 1.
  virtual void prompt(std::vector<Choice>) {}
  // One number a dimension, not scaled; after prompt(), before any token.
  virtual void embedding(std::vector<float>) {}
  // False ends the answer with this token (a stop string).
  virtual bool token(const Choice& choice) = 0;
  virtual void done(const Done& done) = 0;
  virtual void failed(const Error& error) = 0;
};

struct EngineStats {
  int64_t running = 0, waiting = 0, blocks = 0, free_blocks = 0, cached_blocks = 0;
  int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0, steps = 0, finished = 0, retractions = 0;
  int64_t drafted = 0, accepted = 0;  // tokens guessed by speculation, and those that turned out right
};

class Engine {
 public:
  struct Options {
    std::vector<int32_t> ends;  // the model's end tokens
    SchedulerConfig scheduler;  // its draft_tokens follow from `speculative`
    SpeculativeConfig speculative;
    GraphConfig graph;
    int64_t block_size = 0;  // tokens; 0: default_block_size()
    // Blocks of the cache; 0 takes `mem_fraction_static` of the memory that is available, and no more than all running
    // requests can fill.
    int64_t blocks = 0;
    double mem_fraction_static = 0.5;
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
