// The answer to a request, given by a handler or later by any other thread: whole, or as a stream.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "serve/http/http.h"

namespace cairn::serve {

// What the answering side and the connection share. Holds no connection: either side may outlive the other.
class Exchange {
 public:
  struct Head {
    int status = 200;
    Headers headers;
    bool streams = false;
    std::string body;  // of an answer that does not stream
  };
  struct Taken {
    std::string bytes;
    bool ended = false, broken = false;  // broken: the producer went away without an end
  };

  explicit Exchange(size_t most_queued_bytes) : most_queued_(most_queued_bytes) {}

  // --- the answering side: any thread ---
  bool answer(Head head);  // false when there is an answer already, or nobody to read it
  enum class Push { kQueued, kFull, kGone };
  Push push(std::string_view bytes);
  void end(std::string_view last, bool broken);
  void on_disconnect(std::function<void()> told);
  void on_room(std::function<void()> told);
  bool gone() const;
  size_t queued() const;

  // --- the connection: one thread at a time ---
  // `wake` runs under a lock whenever there may be something to take, and must do no more than post.
  void attach(std::function<void()> wake);
  bool take_head(Head& into);  // true once, when the answer has begun
  Taken take();
  void leave();   // the client went away before it had all of the answer: the handler is told, now
  void detach();  // the answer is written

 private:
  void wake();

  mutable std::mutex mutex_;
  const size_t most_queued_;
  Head head_;
  std::string queue_;
  bool answered_ = false, head_taken_ = false, ended_ = false, broken_ = false, gone_ = false, waking_ = false;
  std::function<void()> wake_, disconnect_, room_;
};

// The rest of an answer that streams. Copies are the same stream; when the last goes without end(), the client's
// connection is cut, so that it cannot take half an answer for a whole one.
class Stream {
 public:
  using Push = Exchange::Push;
  explicit Stream(std::shared_ptr<Exchange> exchange);

  // Queues bytes for the client; never waits. kFull: the client reads too slowly, nothing was queued, and the caller
  // may try again after on_room, or give up. kGone: nobody reads any more.
  Push write(std::string_view bytes) { return exchange_->push(bytes); }
  // The end, after a last piece that is queued whatever the client's pace.
  void end(std::string_view last = {}) { exchange_->end(last, false); }
  // Calls `told` once, when at least half of the queue is free again; at once if it is.
  void on_room(std::function<void()> told) { exchange_->on_room(std::move(told)); }
  bool gone() const { return exchange_->gone(); }
  size_t queued_bytes() const { return exchange_->queued(); }

 private:
  struct Tail;
  std::shared_ptr<Exchange> exchange_;
  std::shared_ptr<Tail> tail_;
};

// A handler's way to answer, once; later answers are ignored. When the last copy of the pointer goes and nothing was
// answered, the client gets a 500.
class Reply {
 public:
  Reply(std::shared_ptr<Exchange> exchange, std::string request_id)
      : exchange_(std::move(exchange)), request_id_(std::move(request_id)) {}
  ~Reply();
  Reply(const Reply&) = delete;
  Reply& operator=(const Reply&) = delete;

  void whole(int status, std::string content_type, std::string body, Headers more = {});
  void json(int status, std::string body, Headers more = {});
  void error(const ApiError& e);
  void error(const Error& e) { error(api_error(e)); }
  Stream stream(std::string content_type, Headers more = {});
  Stream events() { return stream("text/event-stream; charset=utf-8", {{"X-Accel-Buffering", "no"}}); }

  // Calls `told` once if the client leaves before it has all of the answer, on the thread that notices; at once if it
  // has left. It must not block. Replaces an earlier one.
  void on_disconnect(std::function<void()> told) { exchange_->on_disconnect(std::move(told)); }
  bool gone() const { return exchange_->gone(); }
  const std::string& request_id() const { return request_id_; }

 private:
  std::shared_ptr<Exchange> exchange_;
  std::string request_id_;
};

// One server-sent event; `data` is one line.
std::string sse(std::string_view data);
// The same with a name, which browsers and OpenAI's clients dispatch by; without line breaks.
std::string sse(std::string_view event, std::string_view data);
// What ends a stream of events in OpenAI's and SGLang's format.
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";

}  // namespace cairn::serve
