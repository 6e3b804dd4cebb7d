// A step on its way through a block stack, which stops wherever blocks must run. Caches are written as coroutines that
// ask for ranges of blocks and go on with what these made of the streams:
//
//   Walk Some::walk(const StepInfo& step, Streams in, int64_t depth) {
//     Streams x = co_await Ask(std::move(in), {0, 1});
//     …
//     co_return x;
//   }
//
// Whoever holds the walk runs the blocks, so one call of the model may serve the walks of many requests.
#pragma once
#include <coroutine>
#include <exception>
#include <utility>

#include "tensor/tensor.h"

namespace cairn::diffusion {

// What flows through a block stack: hidden (N, T, D), and encoder (N, S, D) where the blocks have a second stream.
// Blocks that only read the second stream, or never had one, return it as they got it; nothing is stored for it then.
struct Streams {
  Tensor hidden, encoder;
};

struct Range {
  int64_t first = 0, last = 0;  // blocks first … last - 1
  int64_t size() const { return last - first; }
};

class Walk {
 public:
  struct promise_type;
  using Handle = std::coroutine_handle<promise_type>;

  // What a walk waits for: those blocks, run on those streams. The range is never empty.
  class Ask {
   public:
    Ask(Streams in, Range blocks) : streams_(std::move(in)), blocks_(blocks) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(Handle h) noexcept { h.promise().ask = this; }
    Streams await_resume() noexcept { return std::move(streams_); }

   private:
    friend class Walk;
    Streams streams_;
    Range blocks_;
  };

  struct promise_type {
    Ask* ask = nullptr;
    Streams result;
    std::exception_ptr error;

    Walk get_return_object() { return Walk(Handle::from_promise(*this)); }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_value(Streams streams) { result = std::move(streams); }
    void unhandled_exception() { error = std::current_exception(); }
  };

  Walk(Walk&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Walk& operator=(Walk&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Walk() {
    if (handle_) handle_.destroy();
  }

  bool done() const { return handle_.done(); }
  // While it is not done: the blocks it waits for, and the streams they are to run on.
  Range wanted() const { return handle_.promise().ask->blocks_; }
  const Streams& streams() const { return handle_.promise().ask->streams_; }
  // The first blocks of those wanted, up to `block`, turned the streams into these. Once all of them have, the walk
  // goes on to what it wants next, or to its end. The tensors must not be written to later.
  void advance(Streams streams, int64_t block) {
    Ask& ask = *handle_.promise().ask;
    ask.streams_ = std::move(streams);
    ask.blocks_.first = block;
    if (ask.blocks_.size() == 0) handle_.resume();
  }
  // Once it is done: the streams after all blocks. Throws what the cache threw.
  Streams result() {
    if (handle_.promise().error) std::rethrow_exception(handle_.promise().error);
    return std::move(handle_.promise().result);
  }

 private:
  explicit Walk(Handle handle) : handle_(handle) {}

  Handle handle_;
};

}  // namespace cairn::diffusion
