// Serves many picture requests with one pipeline, on a thread of its own. Requests of one shape (size and text length)
// share each forward of the denoiser, every one at its own step, with its own step cache, settings and guidance; one
// that arrives joins at the next step. Requests of other shapes take turns, a step each.
//
//   auto engine = TRY(diffusion::Engine::start(std::move(pipeline), {}));
//   auto ticket = TRY(engine->submit({.prompts = {"rocket"}}, sink));   // sink hears of steps; dropping it cancels
#pragma once
#include <memory>
#include <vector>

#include "diffusion/pipeline.h"

namespace cairn::diffusion {

// A step of a request.
struct Progress {
  int64_t step = 0, steps = 0;  // steps done, of all
  double seconds = 0;           // of this step, which other requests may have shared
  bool computed = true;         // false where the cache skipped blocks
};

// What became of a request.
struct Pictures {
  std::vector<image::Image> pictures;
  Tensor latents;  // packed (N, tokens, channels)
  CacheStats cache;
  std::vector<std::string> warnings;
  int64_t steps = 0;
  double waited = 0, seconds = 0;  // before it was begun, and from then on
};

// Hears what becomes of a request, on a thread of the engine: it must be quick, and must not call the engine. After
// done() or failed() nothing more comes; after the ticket was dropped, at most what was under way. One that throws
// cancels its request.
class PictureSink {
 public:
  virtual ~PictureSink() = default;
  virtual void progress(const Progress&) {}
  // The pictures as they are after so many steps.
  virtual void preview(std::vector<image::Image>, int64_t /*step*/) {}
  virtual void done(Pictures pictures) = 0;
  virtual void failed(const Error& error) = 0;
};

struct EngineStats {
  int64_t running = 0, running_pictures = 0, waiting = 0;
  int64_t finished = 0, failed = 0, cancelled = 0;  // requests so far
  // Steps of the engine, and of requests: their quotient is the mean number of requests that share one. Of the latter,
  // those in which a cache skipped blocks.
  int64_t batches = 0, steps = 0, skipped_steps = 0;
};

class Engine {
 public:
  struct Options {
    int64_t max_running_pictures = 8;  // of requests that share the memory and the forwards
    int64_t max_queued_requests = 64;  // that wait to be begun
    bool graphs = true;                // on an accelerator: blocks are captured and replayed
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

  // Errors: options that make no sense.
  static Result<std::unique_ptr<Engine>> start(Pipeline pipeline, Options options);
  ~Engine();  // fails what is under way

  // Refuses what can never be served (kInvalidArgument), and everything while the queue is full (kExhausted). The sink
  // gets a preview every so many steps; 0: none. Any thread.
  Result<Ticket> submit(Request request, std::shared_ptr<PictureSink> sink, int64_t preview_every = 0);
  EngineStats stats() const;
  const Pipeline& pipeline() const;

 private:
  Engine() = default;
  std::shared_ptr<struct EngineState> state_;
};

}  // namespace cairn::diffusion
