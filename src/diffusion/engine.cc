#include "diffusion/engine.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <thread>

#include "device/health.h"
#include "tensor/survive.h"

namespace cairn::diffusion {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr auto kLook = std::chrono::milliseconds(500);  // how often the device is looked after
constexpr const char* kAdvice = "ask for smaller or fewer pictures";

// A request's sink until its last words. The engine's thread speaks to it, and the one that watches the device.
class Voice {
 public:
  explicit Voice(std::shared_ptr<PictureSink> sink) : sink_(std::move(sink)) {}
  // Whether the sink is still there and took it.
  bool say(const std::function<void(PictureSink&)>& what) {
    const std::lock_guard lock(mutex_);
    return sink_ && survived([&] { what(*sink_); }, kAdvice);
  }
  void end(const std::function<void(PictureSink&)>& last_words = {}) {
    const std::lock_guard lock(mutex_);
    const auto sink = std::exchange(sink_, nullptr);  // nobody has a word after these
    if (sink && last_words) (void)survived([&] { last_words(*sink); }, kAdvice);
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<PictureSink> sink_;
};

// What a caller put in: a request, or the wish to cancel one.
struct Order {
  uint64_t number = 0;
  std::unique_ptr<Request> request;  // null: cancel
  std::shared_ptr<Voice> voice;
  int64_t preview_every = 0;
  Clock::time_point submitted = Clock::now();

  int64_t pictures() const { return static_cast<int64_t>(request->prompts.size()) * request->images_per_prompt; }
};

// A request under way.
struct Run {
  uint64_t number = 0;
  std::shared_ptr<Voice> voice;
  int64_t preview_every = 0;
  double waited = 0;
  Clock::time_point begun;
  Generation generation;
  uint64_t turn = 0;  // of its last step

  bool like(const Run& other) const {
    const LatentSize a = generation.size(), b = other.generation.size();
    return a.height == b.height && a.width == b.width && generation.text_tokens() == other.generation.text_tokens();
  }
};

}  // namespace

// Everything of an engine. The mutex guards what callers put in and read; the rest is the engine thread's own.
struct EngineState {
  EngineState(Pipeline p, Engine::Options o) : pipeline(std::move(p)), options(o) {}

  void loop();
  bool take_orders();
  void cancel(uint64_t number);
  void admit();
  void begin(Order order);
  void step();
  void report(std::list<Run>::iterator run, double seconds);
  void decode();
  void end(std::list<Run>& of, std::list<Run>::iterator run, int64_t EngineStats::*count,
           const std::function<void(PictureSink&)>& last_words);
  void publish();
  void watch();

  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Order> orders;
  bool stopping = false;
  int64_t waiting = 0;  // requests in orders and in the queue
  EngineStats stats;
  uint64_t last_number = 0;
  std::vector<std::weak_ptr<Voice>> voices;  // of all requests that are under way
  std::optional<Error> broken;               // the device does not come back: every request fails with this
  bool ended = false;                        // the engine's thread has ended

  const Pipeline pipeline;
  const Engine::Options options;
  std::deque<Order> queue;
  std::list<Run> running, finished;  // denoising, in order of arrival; waiting to be decoded
  EngineStats counted;
  uint64_t turn = 0;
  std::optional<BlockGraphs> graphs;  // the thread's
  std::thread thread, watcher;
};

bool EngineState::take_orders() {
  std::deque<Order> taken;
  {
    std::unique_lock lock(mutex);
    const bool idle = queue.empty() && running.empty() && finished.empty();
    wake.wait(lock, [&] { return !idle || !orders.empty() || stopping; });
    if (stopping) return false;
    taken.swap(orders);
  }
  for (Order& o : taken) {
    if (o.request)
      queue.push_back(std::move(o));
    else
      cancel(o.number);
  }
  return true;
}

void EngineState::cancel(uint64_t number) {
  const auto is = [&](const auto& x) { return x.number == number; };
  if (const auto it = std::ranges::find_if(queue, is); it != queue.end()) {
    ++counted.cancelled;
    queue.erase(it);
    return publish();
  }
  for (auto* runs : {&running, &finished})
    if (const auto it = std::ranges::find_if(*runs, is); it != runs->end())
      return end(*runs, it, &EngineStats::cancelled, {});
}

// The first in the queue that have room, and never one before its turn.
void EngineState::admit() {
  const auto pictures = [](const std::list<Run>& runs) {
    int64_t n = 0;
    for (const Run& r : runs) n += r.generation.images();
    return n;
  };
  while (!queue.empty() &&
         pictures(running) + pictures(finished) + queue.front().pictures() <= options.max_running_pictures) {
    Order order = std::move(queue.front());
    queue.pop_front();
    begin(std::move(order));
  }
}

void EngineState::begin(Order order) {
  const double waited = seconds_since(order.submitted);
  const auto start = Clock::now();
  const auto begun = survived(
      [&] {
        order.request->graphs = false;  // the engine's own are for all
        Generation g = or_throw(pipeline.begin(*order.request));
        running.push_back({order.number, order.voice, order.preview_every, waited, start, std::move(g), turn});
      },
      kAdvice);
  if (!begun) ++counted.failed;
  publish();
  if (!begun) order.voice->end([&](PictureSink& s) { s.failed(begun.error()); });
}

// The run is gone before its sink hears so: who asks then finds it gone.
void EngineState::end(std::list<Run>& of, std::list<Run>::iterator run, int64_t EngineStats::*count,
                      const std::function<void(PictureSink&)>& last_words) {
  const auto voice = std::move(run->voice);
  of.erase(run);
  ++(counted.*count);
  publish();
  voice->end(last_words);
}

// One step of all requests of one shape: that of the request that has waited longest for a step, a new one before those
// that have had theirs in the turn it came in.
void EngineState::step() {
  if (running.empty()) return;
  ++turn;
  const auto waited = [](const Run& r) { return std::pair(r.turn, r.generation.step()); };
  const Run& first = *std::ranges::min_element(running, {}, waited);
  std::vector<std::list<Run>::iterator> chosen;
  std::vector<Generation*> generations;
  for (auto it = running.begin(); it != running.end(); ++it) {
    if (!it->like(first)) continue;
    chosen.push_back(it);
    generations.push_back(&it->generation);
  }
  const auto start = Clock::now();
  std::vector<Result<void>> results;
  const auto ran = survived([&] { results = diffusion::advance(generations, graphs ? &*graphs : nullptr); }, kAdvice);
  if (!ran && ran.error().code != Code::kExhausted) device::look_after(pipeline.parts().denoiser->device());
  const double seconds = seconds_since(start);
  ++counted.batches;
  for (size_t i = 0; i < chosen.size(); ++i) {
    const auto& result = ran ? results[i] : ran;
    ++counted.steps;
    if (result)
      report(chosen[i], seconds);
    else
      end(running, chosen[i], &EngineStats::failed, [&](PictureSink& s) { s.failed(result.error()); });
  }
}

void EngineState::report(std::list<Run>::iterator run, double seconds) {
  const Generation& g = run->generation;
  run->turn = turn;
  const bool skipped = g.cache().skipped();
  counted.skipped_steps += skipped;
  const bool shows = run->preview_every > 0 && g.step() % run->preview_every == 0 && !g.done();
  std::vector<image::Image> pictures;
  if (shows)
    if (const auto made = survived([&] { pictures = g.pictures(); }, kAdvice); !made)
      return end(running, run, &EngineStats::failed, [&](PictureSink& s) { s.failed(made.error()); });
  const bool heard = run->voice->say([&](PictureSink& s) {
    s.progress({.step = g.step(), .steps = g.steps(), .seconds = seconds, .computed = !skipped});
    if (shows) s.preview(std::move(pictures), g.step());
  });
  if (!heard) return end(running, run, &EngineStats::cancelled, {});
  if (g.done()) finished.splice(finished.end(), running, run);
}

// One finished request, so that neither decoding nor denoising waits for all of the other.
void EngineState::decode() {
  if (finished.empty()) return;
  const auto run = finished.begin();
  const Generation& g = run->generation;
  Pictures out;
  const auto made = survived(
      [&] {
        out = {.pictures = g.pictures(),
               .latents = g.latents(),
               .cache = g.cache().stats(),
               .warnings = g.warnings(),
               .steps = g.steps(),
               .waited = run->waited,
               .seconds = seconds_since(run->begun)};
      },
      kAdvice);
  if (made)
    end(finished, run, &EngineStats::finished, [&](PictureSink& s) { s.done(std::move(out)); });
  else
    end(finished, run, &EngineStats::failed, [&](PictureSink& s) { s.failed(made.error()); });
}

void EngineState::publish() {
  counted.running = static_cast<int64_t>(running.size() + finished.size());
  counted.running_pictures = 0;
  for (const auto* runs : {&running, &finished})
    for (const Run& r : *runs) counted.running_pictures += r.generation.images();
  const std::lock_guard lock(mutex);
  waiting = static_cast<int64_t>(queue.size() + static_cast<size_t>(std::ranges::count_if(
                                                    orders, [](const Order& o) { return o.request != nullptr; })));
  stats = counted;
}

void EngineState::loop() {
  const Inference no_gradients;
  const c10::Device device = pipeline.parts().denoiser->device();
  const device::Stream stream(device);
  if (options.graphs && !device.is_cpu()) graphs.emplace(device);
  const device::Stream::Use use(stream);
  while (take_orders()) {
    const device::Busy busy(device);
    admit();
    step();
    decode();
    publish();
  }
  const Error over{Code::kUnavailable, "the engine has stopped"};
  const auto say = [&](PictureSink& s) { s.failed(over); };
  for (auto* runs : {&running, &finished})
    while (!runs->empty()) end(*runs, runs->begin(), &EngineStats::failed, say);
  {
    const std::lock_guard lock(mutex);
    std::ranges::move(orders, std::back_inserter(queue));
    orders.clear();
  }
  for (Order& o : queue)
    if (o.request) o.voice->end(say);
  queue.clear();
}

// Whose device does not answer any more hears so, though the engine's thread may stand still with it.
void EngineState::watch() {
  std::unique_lock lock(mutex);
  while (!wake.wait_for(lock, kLook, [&] { return stopping; })) {
    const auto ok = device::health();
    if (ok) continue;
    broken = ok.error();
    const auto all = std::exchange(voices, {});
    lock.unlock();
    for (const auto& v : all)
      if (const auto voice = v.lock()) voice->end([&](PictureSink& s) { s.failed(*broken); });
    return;
  }
}

Result<std::unique_ptr<Engine>> Engine::start(Pipeline pipeline, Options options) {
  if (options.max_running_pictures < 1 || options.max_queued_requests < 1)
    return invalid("max_running_pictures and max_queued_requests must be at least 1");
  std::unique_ptr<Engine> engine(new Engine());
  engine->state_ = std::make_shared<EngineState>(std::move(pipeline), options);
  EngineState& state = *engine->state_;
  state.thread = std::thread([s = engine->state_] {
    s->loop();
    const std::lock_guard lock(s->mutex);
    s->ended = true;
    s->wake.notify_all();
  });
  if (!state.pipeline.parts().denoiser->device().is_cpu()) state.watcher = std::thread([&state] { state.watch(); });
  return engine;
}

Engine::~Engine() {
  if (!state_) return;
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  state_->wake.notify_all();
  // A thread that stands still with its device keeps all that it may still use.
  const bool ends = !state_->broken || state_->wake.wait_for(lock, kLook, [&] { return state_->ended; });
  lock.unlock();
  if (state_->watcher.joinable()) state_->watcher.join();
  ends ? state_->thread.join() : state_->thread.detach();
}

Result<Engine::Ticket> Engine::submit(Request request, std::shared_ptr<PictureSink> sink, int64_t preview_every) {
  check(sink != nullptr, "a request needs a sink");
  TRY_VOID(state_->pipeline.validate(request));
  Order order{.request = std::make_unique<Request>(std::move(request)),
              .voice = std::make_shared<Voice>(std::move(sink)),
              .preview_every = preview_every};
  if (const int64_t most = state_->options.max_running_pictures; order.pictures() > most)
    return invalid(fmt::format("this engine makes at most {} pictures a request, this one asks for {}: send several",
                               most, order.pictures()));
  Ticket ticket;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->stopping) return failure(Code::kUnavailable, "the engine has stopped");
    if (state_->broken) return tl::unexpected(*state_->broken);
    if (state_->waiting >= state_->options.max_queued_requests)
      return failure(Code::kExhausted,
                     fmt::format("{} requests are waiting already: try again later", state_->waiting));
    ++state_->waiting;
    std::erase_if(state_->voices, [](const auto& v) { return v.expired(); });
    state_->voices.push_back(order.voice);
    ticket.number_ = order.number = ++state_->last_number;
    state_->orders.push_back(std::move(order));
  }
  state_->wake.notify_all();
  ticket.state_ = state_;
  return ticket;
}

void Engine::Ticket::cancel() {
  if (const auto state = state_.lock()) {
    {
      const std::lock_guard lock(state->mutex);
      Order order;
      order.number = number_;
      state->orders.push_back(std::move(order));
    }
    state->wake.notify_all();
  }
  state_.reset();
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(state_->mutex);
  EngineStats out = state_->stats;
  out.waiting = state_->waiting;
  return out;
}

const Pipeline& Engine::pipeline() const { return state_->pipeline; }

}  // namespace cairn::diffusion
