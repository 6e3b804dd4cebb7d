#include "llm/engine.h"

#include <fmt/core.h>

#include <algorithm>

#include "device/device.h"
#include "llm/engine_state.h"

namespace cairn::llm {
namespace {

constexpr auto kLook = std::chrono::milliseconds(500);  // how often a device under way is looked after

}  // namespace

// Waits for something to do, and does what callers want. False: the engine stops.
bool EngineState::take_orders() {
  std::unique_lock lock(mutex);
  // A flush waits for steps that nobody waits for.
  const auto can_flush = [&] { return !answers.empty() || steps.empty(); };
  const auto ready = [&] {
    return stopping || !orders.empty() || (flush && can_flush()) || (!steps.empty() && steps.front()->over);
  };
  if (steps.empty() || model->device().is_cpu()) wake.wait(lock, ready);
  while (!wake.wait_for(lock, kLook, ready)) {
    lock.unlock();
    look_after_device();
    lock.lock();
  }
  if (stopping) return false;
  std::deque<Order> taken;
  taken.swap(orders);
  const bool flush_now = std::exchange(flush, false);
  lock.unlock();
  const bool newcomers = std::ranges::any_of(taken, [](const Order& o) { return o.request != nullptr; });
  // They need not wait for two steps: the one that is not running yet is planned again, with them.
  if (newcomers && steps.size() > 1 && stepper.recall(*steps.back())) steps.pop_back();
  for (Order& o : taken) {
    if (o.request) {
      begin(std::move(o));
    } else if (const auto it = numbers.find(o.number); it != numbers.end()) {
      scheduler.cancel(it->second);
      answers.erase(it->second);
      numbers.erase(it);
    }
  }
  if (!flush_now) return true;
  if (!can_flush()) {
    lock.lock();
    flush = true;
    return true;
  }
  auto result = scheduler.flush_cache();
  publish();  // who asked for it sees it done
  lock.lock();
  flushed = std::move(result);
  wake.notify_all();
  return true;
}

void EngineState::begin(Order order) {
  if (broken) return refuse(*order.sink, *broken);
  Generate& g = *order.request;
  const auto length = static_cast<int64_t>(g.prompt.size()) + g.sampling.max_new_tokens;
  const bool stretched = model->switch_length() > 0 && length > model->switch_length();
  const kv::Identity identity{.model = options.model_name,
                              .layout = fmt::format("{} {}", dtype_name(model->dtype()), options.block_size),
                              .adapter = stretched ? "stretched" : "",
                              .salt = g.salt};
  const int64_t scored = g.logprob_start.value_or(-1) < 0 ? -1 : std::max(*g.logprob_start - 1, int64_t{0});
  std::optional<int64_t> recompute_from;
  if (scored >= 0) recompute_from = scored;
  if (g.embed == Pooling::kMean) recompute_from = 0;
  // Of the last position only, which no cache is asked for.
  const int64_t pooled = g.embed == Pooling::kNone   ? -1
                         : g.embed == Pooling::kMean ? 0
                                                     : static_cast<int64_t>(g.prompt.size()) - 1;
  const auto prompt_size = static_cast<int64_t>(g.prompt.size());
  Sampler sampler(g.sampling, g.prompt, options.ends, options.random_seed + order.number);
  auto id = scheduler.submit({.prompt = scored >= 0 ? std::vector(g.prompt) : std::move(g.prompt),
                              .max_new_tokens = g.sampling.max_new_tokens,
                              .priority = g.priority,
                              .recompute_from = recompute_from,
                              .identity = identity.hash()});
  if (!id) return refuse(*order.sink, id.error());
  const bool constrained = g.grammar && !g.grammar_after;
  const auto chooser = std::make_shared<Chooser>(std::move(g), std::move(sampler), prompt_size, scored, pooled,
                                                 model->vocabulary(), options.speculative.on());
  numbers[order.number] = *id;
  answers.try_emplace(*id, order.number, std::move(order.sink), chooser, stretched);
  if (!constrained) return;
  if (const auto ok = chooser->constrain(); !ok) fail(*id, ok.error());
}

void EngineState::publish() {
  const std::lock_guard lock(mutex);
  stats = counted;
  stats.running = scheduler.running(), stats.waiting = scheduler.waiting();
  stats.blocks = blocks.size(), stats.free_blocks = blocks.free(), stats.cached_blocks = scheduler.tree().blocks();
  stats.finished = scheduler.stats().finished, stats.retractions = scheduler.stats().retractions;
}

void EngineState::loop() {
  publish();
  while (take_orders()) {
    if (over()) finish();
    plan_ahead();
    publish();
  }
  stop();
}

void EngineState::stop() {
  const Error over{Code::kUnavailable, "the engine has stopped"};
  if (!steps.empty() && stepper.recall(*steps.back())) steps.pop_back();
  while (!answers.empty()) fail(answers.begin()->first, over);
  if (broken && !steps.empty() && !this->over()) {
    static auto* const kept = new std::vector<std::shared_ptr<EngineState>>();
    kept->push_back(shared_from_this());
    stepper.abandon();
  } else {
    stepper.stop();
    steps.clear();
  }
  std::deque<Order> left;
  {
    const std::lock_guard lock(mutex);
    left.swap(orders);
    if (flush) flushed = tl::unexpected(over);
    wake.notify_all();
  }
  for (Order& o : left)
    if (o.request) refuse(*o.sink, over);
}

Result<std::unique_ptr<Engine>> Engine::start(std::shared_ptr<const CausalLm> model, Options options) {
  return caught([&] {
    options.scheduler.context_length = std::min(options.scheduler.context_length, model->max_positions());
    if (options.speculative.min_match > options.speculative.max_match)
      throw Failure(Error{Code::kInvalidArgument,
                          "speculative_ngram_min_match_window_size is above speculative_ngram_max_match_window_size"});
    options.speculative = or_throw(read<SpeculativeConfig>(write(options.speculative), "speculative"));
    options.scheduler.draft_tokens = options.speculative.drafts();
    if (options.block_size == 0) options.block_size = default_block_size(model->device());
    const KvShape shape = model->kv_shape();
    const int64_t bytes = KvCache::bytes_per_block(shape, options.block_size, model->dtype());
    int64_t blocks = options.blocks;
    if (blocks == 0) {
      const auto share = static_cast<double>(device::memory(model->device()).available) * options.mem_fraction_static;
      const int64_t each = (options.scheduler.context_length + options.block_size - 1) / options.block_size;
      blocks = std::min(static_cast<int64_t>(share) / bytes, options.scheduler.max_running_requests * each);
      if (blocks < 1) throw Failure(Error{Code::kExhausted, "there is no memory for a cache of keys and values"});
    }
    std::unique_ptr<Engine> engine(new Engine());
    const c10::Device device = model->device();
    engine->state_ = std::make_shared<EngineState>(std::move(model), std::move(options), blocks);
    device::synchronize(device);  // weights and cache are there before other streams read them
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
  for (const int32_t token : request.token_ids_logprob)
    if (token < 0 || token >= vocabulary)
      return invalid(fmt::format("token_ids_logprob: token {} is outside the vocabulary of {}", token, vocabulary));
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (request.logprob_start && (*request.logprob_start < -1 || *request.logprob_start > length))
    return invalid(fmt::format("logprob_start is {} in a prompt of {} tokens: give a position of it, or -1 for none",
                               *request.logprob_start, length));
  const int64_t room = context_length() - length;
  if (room < std::min(request.sampling.max_new_tokens, int64_t{1}))
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
