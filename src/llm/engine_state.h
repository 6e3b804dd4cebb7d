// The insides of the engine, for engine.cc (callers, the loop) and engine_step.cc (what a step does).
#pragma once
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "llm/engine.h"
#include "llm/plan/scheduler.h"
#include "llm/stepper.h"

namespace cairn::llm {

// A request under way. Rows of it in steps under way are computed in vain when it goes.
struct Answer {
  Answer(uint64_t n, std::shared_ptr<Sink> hears, std::shared_ptr<Chooser> chooses, bool stretches)
      : number(n), sink(std::move(hears)), chooser(std::move(chooses)), stretched(stretches) {}
  ~Answer() { chooser->leave(); }
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;

  uint64_t number;
  std::shared_ptr<Sink> sink;
  std::shared_ptr<Chooser> chooser;
  bool stretched;
  std::optional<int32_t> last{};
  bool stopped = false;  // by an end token, its grammar or its sink
};

// A sink's last call.
void refuse(Sink& sink, const Error& error);

// Everything of an engine. The mutex guards what callers put in and read, and what the stepping thread is given; the
// rest is the engine thread's own.
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
        cache(model->kv_shape(), count, options.block_size, model->dtype(), model->device()),
        overlaps(!options.scheduler.disable_overlap_schedule && !options.speculative.on()),
        // A device may stand still with a step: not with this thread in it.
        stepper(*model, cache, options.graph, options.scheduler.max_running_requests,
                overlaps || !model->device().is_cpu(), mutex, wake) {}

  // engine.cc
  void loop();
  void stop();
  bool take_orders();
  void begin(Order order);
  void publish();

  // engine_step.cc
  bool over();
  void plan_ahead();
  void build(Step& step);
  void finish();
  void hand_out(Step& step, size_t index);
  void end(const Finished& f);
  void fail(RequestId id, const Error& error);
  void fail(std::unique_ptr<Step> step, const Error& error);
  void look_after_device();

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
  std::map<RequestId, Answer> answers;
  std::map<uint64_t, RequestId> numbers;
  std::deque<std::unique_ptr<Step>> steps;  // under way, the older one first
  uint64_t last_serial = 0;
  EngineStats counted;
  // A step runs while others are planned and handed out. Not with speculation: how far a step gets is not known while
  // it runs, so one planned beside it would have others' rows only, and the two halves would take turns for ever.
  const bool overlaps;
  std::optional<Error> broken;  // the device does not come back: every request fails with this
  Stepper stepper;
  std::thread thread;
};

}  // namespace cairn::llm
