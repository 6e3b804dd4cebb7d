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

  // Input log-probabilities: position `scored` is the first whose hidden state has not been used. -1: there is nothing
  // to tell the sink, or it has been told.
  int64_t scored = -1;
  std::vector<Choice> judged{};

  // The embedding of the prompt: the first position that is not part of it yet (-1: it is not asked for, or given), and
  // the sum so far.
  int64_t pooled = -1;
  std::vector<double> sum{};

  // Begins to follow the grammar of the request.
  Result<void> constrain(int64_t vocabulary);
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

  EngineState(std::shared_ptr<const CausalLm> m, Engine::Options o, int64_t count)
      : model(std::move(m)),
        options(std::move(o)),
        blocks(count, options.block_size),
        scheduler(options.scheduler, blocks),
        cache(model->kv_shape(), count, options.block_size, model->dtype()),
        runner(*model, cache, options.graph) {}

  // engine.cc
  void loop();
  bool take_orders();
  void begin(Order order);
  void publish();

  // engine_step.cc
  void step();
  Drafts drafts_of(const StepPlan& plan) const;
  void choose(const StepPlan& plan, const Batch& batch, const Drafts& drafts, StepResult& result);
  Result<void> judge_prompt(Answer& a, const PlanRow& row, const Tensor& hidden);
  void pool(Answer& a, const PlanRow& row, const Tensor& hidden);
  Result<void> choose(Answer& a, std::span<float> logits, std::vector<Token>& chosen);
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
  kv::BlockPool blocks;
  Scheduler scheduler;
  KvCache cache;
  Runner runner;
  std::map<RequestId, Answer> answers;
  std::map<uint64_t, RequestId> numbers;
  EngineStats counted;
  std::thread thread;
};

}  // namespace cairn::llm
