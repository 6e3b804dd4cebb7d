// A toy application behind a real server: handlers that answer at once, later from another thread, or never.
#pragma once
#include <atomic>
#include <mutex>

#include "serve/client.h"

namespace cairn::serve {

// Feeds streams from one thread, as an engine does: each gets its events one a round, then an end.
class Ticker {
 public:
  Ticker() : thread_([this] { run(); }) {}
  ~Ticker() {
    stop_ = true;
    thread_.join();
  }
  void add(Stream stream, int events, std::chrono::microseconds pause) {
    const std::lock_guard lock(mutex_);
    pause_ = pause;
    streams_.push_back({std::move(stream), events, 0});
  }
  size_t live() {
    const std::lock_guard lock(mutex_);
    return streams_.size();
  }

 private:
  struct One {
    Stream stream;
    int events, sent;
  };
  void run() {
    while (!stop_) {
      std::chrono::microseconds pause;
      {
        const std::lock_guard lock(mutex_);
        std::erase_if(streams_, [](One& one) {
          if (one.sent == one.events) return one.stream.end(kSseDone), true;
          return one.stream.write(sse(std::to_string(one.sent++))) == Stream::Push::kGone;
        });
        pause = pause_;
      }
      std::this_thread::sleep_for(pause);
    }
  }
  std::mutex mutex_;
  std::vector<One> streams_;
  std::chrono::microseconds pause_{500};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// What the handlers of a test leave behind. Declared before the server, so that it outlives the io threads.
struct Toy {
  Ticker ticker;
  std::atomic<int> told_gone{0};
  std::mutex mutex;
  std::vector<std::shared_ptr<Reply>> kept;
  std::vector<Stream> streams;
  std::vector<AccessRecord> log;

  size_t kept_count() {
    const std::lock_guard lock(mutex);
    return kept.size();
  }
  std::vector<AccessRecord> records() {
    const std::lock_guard lock(mutex);
    return log;
  }
  void forget_log() {
    const std::lock_guard lock(mutex);
    std::vector<AccessRecord>().swap(log);
  }
  // Takes the stream of the last /open, waiting for it.
  Stream opened() {
    if (!soon([&] { return std::lock_guard(mutex), !streams.empty(); })) throw std::runtime_error("no stream");
    const std::lock_guard lock(mutex);
    Stream out = streams.back();
    streams.pop_back();
    return out;
  }

  Router router() {
    Router r;
    const auto number = [](const HttpRequest& q, const char* name, int otherwise) {
      const auto text = query_value(q.query, name);
      return text ? std::stoi(*text) : otherwise;
    };
    r.add({"GET", "/hello", "says hello", [](HttpRequest, auto reply) { reply->whole(200, "text/plain", "hello\n"); },
           true});
    r.add({"POST", "/echo", "the body back", [](HttpRequest q, auto reply) { reply->json(200, std::move(q.body)); }});
    r.add({"POST", "/strict", "the body back, if it is JSON", [](HttpRequest q, auto reply) {
             auto body = json_body(q);
             body ? reply->json(200, body->dump()) : reply->error(body.error());
           }});
    r.add({"GET", "/models/{name}", "the rest of the path",
           [](HttpRequest q, auto reply) { reply->whole(200, "text/plain", q.rest); }});
    r.add({"GET", "/never", "keeps the client waiting", [this](HttpRequest, auto reply) {
             reply->on_disconnect([this] { ++told_gone; });
             const std::lock_guard lock(mutex);
             kept.push_back(reply);
           }});
    r.add({"GET", "/ticks", "events from another thread", [this, number](HttpRequest q, auto reply) {
             reply->on_disconnect([this] { ++told_gone; });
             ticker.add(reply->events(), number(q, "n", 10), std::chrono::microseconds(number(q, "pause", 500)));
           }});
    r.add({"GET", "/open", "a stream for the test to write to", [this](HttpRequest, auto reply) {
             reply->on_disconnect([this] { ++told_gone; });
             const std::lock_guard lock(mutex);
             streams.push_back(reply->events());
           }});
    r.add({"GET", "/big", "a large answer", [number](HttpRequest q, auto reply) {
             reply->whole(200, "text/plain", std::string(static_cast<size_t>(number(q, "n", 1)), 'x'));
           }});
    r.add({"GET", "/throws", "throws", [](HttpRequest, auto) { throw std::runtime_error("a bug"); }});
    r.add({"GET", "/fails", "throws a Failure", [](HttpRequest, auto) {
             throw Failure(Error{Code::kUnavailable, "not now"});
           }});
    r.add({"GET", "/silent", "drops its reply", [](HttpRequest, auto) {}});
    return r;
  }

  std::unique_ptr<Server> serve(ServerOptions options = {}) {
    options.port = 0;
    options.on_access = [this](const AccessRecord& record) {
      const std::lock_guard lock(mutex);
      log.push_back(record);
    };
    return value(Server::start(std::move(options), router()));
  }
};

inline std::string error_of(const Answer& answer, const char* member = "message") {
  const Json body = value(Json::parse(answer.body));
  const Json* error = body.find("error");
  return error ? error->text(member) : "no error";
}

}  // namespace cairn::serve
