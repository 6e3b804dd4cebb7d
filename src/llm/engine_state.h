// The insides of the engine, for engine.cc (callers, the loop) and engine_step.cc (what a step does).
#pragma once
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "llm/engine.h"
#include "llm/plan/scheduler.h"
#include "llm/runner.h"

namespace cairn::llm {

// A request under way. `request.prompt` has moved to the scheduler.
struct Answer {
  uint64_t number = 0;
  std::shared_ptr<Sink> sink;
  Generate request;
  Sampler sampler;
  bool stretched = false;
  std::optional<int32_t> last{};
  bool stopped = false;  // by an end token, its grammar or its sink

  // Where the text stands in the grammar of the request, and what may follow there; none while nothing constrains it.
  std::optional<text::grammar::GrammarState> grammar{};
  std::vector<uint32_t> allowed{};

  // Begins to follow the grammar of the request.
  Result<void> constrain(int64_t vocabulary);
  // What the prompt's positions gave so far: positions below `read` are done with.
  std::vector<int32_t> prompt{};  // kept only where it is asked about
  int64_t read = 0;
  std::vector<Choice> scores{};
  std::vector<double> pooled{};

  // Follows the grammar over a chosen token. True: nothing but the end may follow.
  Result<bool> follow(int32_t token, int64_t vocabulary);
};

// Everything of an engine. The mutex guards what callers put in and read; the rest is the engine thread's own.
struct EngineState : std::enable_shared_from_this<EngineState> {
  struct Order {
    uint64_t number = 0;
    std::unique_ptr<Generate> request;  // null: cancel
    std::shared_ptr<Sink> sink;
  };

  EngineState(std::shared_ptr<const CausalLm> m, Engine::Options o, int64_t blocks)
      : model(std::move(m)),
        options(std::move(o)),
        pool(blocks, options.block_size),
        scheduler(options.scheduler, pool),
        cache(model->kv_shape(), blocks, options.block_size, model->dtype()) {}

  // engine.cc
  void loop();
  bool take_orders();
  void begin(Order order);
  void publish();

  // engine_step.cc
  void step();
  void run_step(const StepPlan& plan, StepResult& result);
  void read_prompt(Answer& a, const PlanRow& row, const StepHidden& step, int64_t first);
  Result<void> choose(Answer& a, std::span<float> logits, std::vector<Token>& chosen);
  std::vector<Token> propose(const PlanRow& row, const Answer& a) const;
  void end(const Finished& f);
  void fail(RequestId id, const Error& error);

  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Order> orders;
  bool stopping = false, flush = false;
  std::optional<Result<void>> flushed;
  EngineStats stats;
  uint64_t last_number = 0;

  std::shared_ptr<const CausalLm> model;
  Engine::Options options;
  kv::BlockPool pool;
  Scheduler scheduler;
  KvCache cache;
  std::map<RequestId, Answer> answers;
  std::map<uint64_t, RequestId> numbers;
  EngineStats counted;
  std::thread thread;
};

}  // namespace cairn::llm
