#include "llm/engine.h"

#include <fmt/core.h>

#include <condition_variable>
#include <deque>
#include <fstream>
#include <map>
#include <mutex>
#include <new>
#include <thread>

#include "device/device.h"
#include "llm/plan/scheduler.h"
#include "llm/runner.h"

namespace cairn::llm {

// Everything of an engine. The mutex guards what callers put in and read; the rest is the engine thread's own.
struct EngineState : std::enable_shared_from_this<EngineState> {
  struct Order {
    uint64_t number = 0;
    std::unique_ptr<Generate> request;  // null: cancel
    std::shared_ptr<Sink> sink;
  };
  // A request under way.
  struct Answer {
    uint64_t number = 0;
    std::shared_ptr<Sink> sink;
    Sampler sampler;
    bool logprobs = false, stretched = false;
    int64_t top_logprobs = 0;
    std::optional<int32_t> last{};
    bool stopped = false;  // by an end token or by its sink
  };

  EngineState(std::shared_ptr<const CausalLm> m, Engine::Options o, int64_t blocks)
      : model(std::move(m)),
        options(std::move(o)),
        pool(blocks, options.block_size),
        scheduler(options.scheduler, pool),
        cache(model->kv_shape(), blocks, options.block_size, model->dtype()) {}

  void loop();
  bool take_orders();
  void begin(Order order);
  void step();
  void choose(const StepPlan& plan, const Tensor& logits, StepResult& result);
  void end(const Finished& f);
  void fail(RequestId id, const Error& error);
  void publish();

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

namespace {

int64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string key, unit; file >> key;) {
    int64_t kib = 0;
    file >> kib >> unit;
    if (key == "MemAvailable:") return kib * 1024;
  }
  return int64_t{4} << 30;
}

// The one place where what a step meets stops being an exception: it fails the requests of that step.
template <class F>
Result<void> survived(F&& f) {
  try {
    return caught(f);
  } catch (const std::bad_alloc&) {
    return failure(Code::kExhausted, "out of memory: send shorter requests, or fewer at once");
  } catch (const std::exception& e) {
    if (const auto tensors = tensor_error(e))
      return tensors->out_of_memory
                 ? failure(Code::kExhausted, "out of memory: send shorter requests, or fewer at once")
                 : failure(Code::kInternal, "tensor library: " + tensors->what);
    return failure(Code::kInternal, fmt::format("a defect of cairn, please report it: {}", e.what()));
  }
}

}  // namespace

bool EngineState::take_orders() {
  std::unique_lock lock(mutex);
  const auto idle = [&] { return answers.empty() && orders.empty() && !stopping && !flush; };
  wake.wait(lock, [&] { return !idle(); });
  if (stopping) return false;
  std::deque<Order> taken;
  taken.swap(orders);
  const bool flush_now = std::exchange(flush, false);
  lock.unlock();
  for (Order& o : taken) {
    if (o.request) {
      begin(std::move(o));
    } else if (const auto it = numbers.find(o.number); it != numbers.end()) {
      scheduler.cancel(it->second);
      answers.erase(it->second);
      numbers.erase(it);
    }
  }
  if (flush_now) {
    auto result = scheduler.flush_cache();
    lock.lock();
    flushed = std::move(result);
    wake.notify_all();
  }
  return true;
}

void EngineState::begin(Order order) {
  Generate& g = *order.request;
  const auto length = static_cast<int64_t>(g.prompt.size()) + g.sampling.max_new_tokens;
  const bool stretched = model->switch_length() > 0 && length > model->switch_length();
  const kv::Identity identity{.model = options.model_name,
                              .layout = fmt::format("{} {}", dtype_name(model->dtype()), options.block_size),
                              .adapter = stretched ? "stretched" : "",
                              .salt = g.salt};
  Sampler sampler(g.sampling, g.prompt, options.ends, options.random_seed + order.number);
  auto id = scheduler.submit({.prompt = std::move(g.prompt),
                              .max_new_tokens = g.sampling.max_new_tokens,
                              .priority = g.priority,
                              .recompute_from = {},
                              .identity = identity.hash()});
  if (!id) return order.sink->failed(id.error());
  numbers[order.number] = *id;
  answers.emplace(*id, Answer{.number = order.number,
                              .sink = std::move(order.sink),
                              .sampler = std::move(sampler),
                              .logprobs = g.logprobs,
                              .stretched = stretched,
                              .top_logprobs = g.top_logprobs});
}

void EngineState::fail(RequestId id, const Error& error) {
  const auto it = answers.find(id);
  if (it == answers.end()) return;
  const auto sink = std::move(it->second.sink);
  numbers.erase(it->second.number);
  answers.erase(it);
  scheduler.cancel(id);
  sink->failed(error);
}

void EngineState::end(const Finished& f) {
  const auto it = answers.find(f.id);
  if (it == answers.end()) return;
  Answer& a = it->second;
  Done done{.reason = f.reason == FinishReason::kStop ? Done::Reason::kStop : Done::Reason::kLength,
            .prompt_tokens = f.prompt_tokens,
            .cached_tokens = f.cached_tokens,
            .generated = static_cast<int64_t>(f.output.size()),
            .retractions = f.retractions};
  if (a.stopped && a.last && a.sampler.ends(*a.last)) done.matched = a.last;
  counted.prompt_tokens += f.prompt_tokens;
  counted.cached_tokens += f.cached_tokens;
  counted.generated_tokens += done.generated;
  const auto sink = std::move(a.sink);
  numbers.erase(a.number);
  answers.erase(it);
  sink->done(done);
}

void EngineState::choose(const StepPlan& plan, const Tensor& logits, StepResult& result) {
  int64_t row = 0;
  std::vector<std::pair<RequestId, Error>> failed;
  for (const PlanRow& r : plan.rows) {
    if (!r.sample) {
      result.add({});
      continue;
    }
    const Tensor own = logits[row++];
    const auto it = answers.find(r.id);
    if (it == answers.end()) {  // cancelled while it ran
      result.add({});
      continue;
    }
    Answer& a = it->second;
    std::span<float> numbers_of(static_cast<float*>(own.mutable_data_ptr()), static_cast<size_t>(own.numel()));
    const auto choice = a.sampler.next(numbers_of, {}, a.logprobs, a.top_logprobs);
    if (!choice) {
      failed.emplace_back(r.id, choice.error());
      const Token none = 0;
      result.add({&none, 1}, true);
      continue;
    }
    a.last = choice->token;
    const bool goes_on = a.sink->token(*choice);
    a.stopped = !goes_on || a.sampler.ends(choice->token);
    result.add({&choice->token, 1}, a.stopped);
  }
  for (const auto& [id, error] : failed) fail(id, error);
}

void EngineState::step() {
  StepPlan plan = scheduler.plan();
  if (plan.empty()) {
    // Nothing runs and nothing fits: whoever waits would wait for ever.
    if (scheduler.running() == 0 && scheduler.waiting() > 0 && !answers.empty())
      fail(answers.begin()->first,
           Error{Code::kExhausted, "the cache of keys and values has no room for this request: use a larger one"});
    return;
  }
  StepResult result;
  const auto ran = survived([&] {
    const Inference no_gradients;
    std::vector<bool> stretched;
    for (const PlanRow& r : plan.rows) {
      const auto it = answers.find(r.id);
      stretched.push_back(it != answers.end() && it->second.stretched);
    }
    choose(plan, run(*model, cache, plan, stretched), result);
  });
  ++counted.steps;
  if (!ran) {
    std::vector<RequestId> ids;
    for (const PlanRow& r : plan.rows) ids.push_back(r.id);
    plan = StepPlan();  // gives its blocks back
    for (const RequestId id : ids) fail(id, ran.error());
    return;
  }
  const auto finished = scheduler.commit(std::move(plan), result);
  check(finished.has_value(), "a plan that nobody dropped commits");
  for (const Finished& f : *finished) end(f);
}

void EngineState::publish() {
  const std::lock_guard lock(mutex);
  stats = counted;
  stats.running = scheduler.running(), stats.waiting = scheduler.waiting();
  stats.blocks = pool.size(), stats.free_blocks = pool.free(), stats.cached_blocks = scheduler.tree().blocks();
  stats.finished = scheduler.stats().finished, stats.retractions = scheduler.stats().retractions;
}

void EngineState::loop() {
  publish();
  while (take_orders()) {
    if (!answers.empty()) step();
    publish();
  }
  const Error over{Code::kUnavailable, "the engine has stopped"};
  while (!answers.empty()) fail(answers.begin()->first, over);
  std::deque<Order> left;
  {
    const std::lock_guard lock(mutex);
    left.swap(orders);
    if (flush) flushed = tl::unexpected(over);
    wake.notify_all();
  }
  for (Order& o : left)
    if (o.request) o.sink->failed(over);
}

Result<std::unique_ptr<Engine>> Engine::start(std::shared_ptr<const CausalLm> model, Options options) {
  return caught([&] {
    options.scheduler.context_length = std::min(options.scheduler.context_length, model->max_positions());
    const KvShape shape = model->kv_shape();
    const int64_t bytes = KvCache::bytes_per_block(shape, options.block_size, model->dtype());
    int64_t blocks = options.blocks;
    if (blocks == 0) {
      const auto share = static_cast<double>(available_memory()) * options.mem_fraction_static;
      const int64_t each = (options.scheduler.context_length + options.block_size - 1) / options.block_size;
      blocks = std::min(static_cast<int64_t>(share) / bytes, options.scheduler.max_running_requests * each);
      if (blocks < 1) throw Failure(Error{Code::kExhausted, "there is no memory for a cache of keys and values"});
    }
    std::unique_ptr<Engine> engine(new Engine());
    engine->state_ = std::make_shared<EngineState>(std::move(model), std::move(options), blocks);
    EngineState* s = engine->state_.get();
    s->thread = std::thread([s] { s->loop(); });
    return engine;
  });
}

Engine::~Engine() {
  if (!state_) return;
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.notify_all();
  state_->thread.join();
}

Result<Engine::Ticket> Engine::submit(Generate request, std::shared_ptr<Sink> sink) {
  const int64_t vocabulary = state_->model->vocabulary();
  TRY_VOID(request.sampling.check(vocabulary));
  if (request.prompt.empty()) return invalid("the prompt is empty: give at least one token");
  for (const int32_t token : request.prompt)
    if (token < 0 || token >= vocabulary)
      return invalid(fmt::format("token id {} is outside the model's vocabulary of {}", token, vocabulary));
  const auto length = static_cast<int64_t>(request.prompt.size());
  const int64_t room = context_length() - length;
  if (room < 1)
    return invalid(
        fmt::format("the prompt has {} tokens and the context holds {}: shorten it", length, context_length()));
  request.sampling.max_new_tokens = std::min(request.sampling.max_new_tokens, room);
  Ticket ticket;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->stopping) return failure(Code::kUnavailable, "the engine has stopped");
    ticket.number_ = ++state_->last_number;
    state_->orders.push_back({ticket.number_, std::make_unique<Generate>(std::move(request)), std::move(sink)});
  }
  state_->wake.notify_all();
  ticket.state_ = state_;
  return ticket;
}

void Engine::Ticket::cancel() {
  if (const auto state = state_.lock()) {
    {
      const std::lock_guard lock(state->mutex);
      state->orders.push_back({number_, nullptr, nullptr});
    }
    state->wake.notify_all();
  }
  state_.reset();
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(state_->mutex);
  return state_->stats;
}

Result<void> Engine::flush_cache() {
  std::unique_lock lock(state_->mutex);
  state_->flush = true;
  state_->flushed.reset();
  state_->wake.notify_all();
  state_->wake.wait(lock, [&] { return state_->flushed.has_value(); });
  return *state_->flushed;
}

const CausalLm& Engine::model() const { return *state_->model; }
int64_t Engine::context_length() const { return state_->options.scheduler.context_length; }

}  // namespace cairn::llm
