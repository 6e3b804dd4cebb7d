#include "serve/load/load.h"

#include <fmt/core.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cmath>
#include <deque>
#include <random>

#include "base/strings.h"
#include "serve/http/sse_reader.h"

namespace cairn::serve {
namespace asio = boost::asio;
using asio::awaitable;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

namespace {

constexpr auto kAsTuple = asio::as_tuple_t<asio::use_awaitable_t<>>(asio::use_awaitable);
constexpr auto kLook = std::chrono::milliseconds(50);  // how often a run looks whether to stop

double seconds_since(Clock::time_point when) { return std::chrono::duration<double>(Clock::now() - when).count(); }

HttpClient::Request request_of(const LoadOptions& o, std::string method, const std::string& path, std::string body) {
  HttpClient::Request out{std::move(method), o.server.path + path, {{"Accept", "*/*"}}, std::move(body)};
  if (out.method == "POST") out.headers.emplace_back("Content-Type", "application/json");
  if (!o.api_key.empty()) out.headers.emplace_back("Authorization", "Bearer " + o.api_key);
  return out;
}

// Lives on one thread.
class Run {
 public:
  Run(const LoadOptions& options, const std::vector<LoadPrompt>& prompts, const std::atomic<bool>& stop,
      const std::function<void(const LoadProgress&)>& told)
      : options_(options), prompts_(prompts), stop_(stop), told_(told), arrival_(io_), look_(io_) {
    out_.outcomes.resize(prompts.size());
    progress_.of = prompts.size();
  }

  Result<LoadRun> go() {
    began_ = Clock::now();
    spawn(arrivals());
    watch();
    io_.run();
    if (broken_) std::rethrow_exception(broken_);
    if (stop_) return failure(Code::kCancelled, "stopped");
    return std::move(out_);
  }

 private:
  void spawn(awaitable<void> work) {
    asio::co_spawn(io_, std::move(work), [this](std::exception_ptr thrown) {
      if (!thrown) return;
      broken_ = thrown;
      io_.stop();
    });
  }

  void watch() {
    look_.expires_after(kLook);
    look_.async_wait([this](const error_code& e) {
      // A cancelled wait may have been over already, with its handler on the way: the last request says so itself.
      if (e || progress_.done == progress_.of) return;
      if (stop_) return io_.stop();
      watch();
    });
  }

  // Lets each request loose at its time; the first goes at once.
  awaitable<void> arrivals() {
    std::mt19937_64 random(static_cast<uint64_t>(options_.seed) ^ 0x5eed);
    double at = 0;
    for (size_t i = 0; i < prompts_.size(); ++i) {
      if (options_.request_rate && i > 0) {
        const double uniform = (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53;
        at += -std::log(uniform) / *options_.request_rate;
        arrival_.expires_at(began_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(at)));
        co_await arrival_.async_wait(kAsTuple);
      }
      waiting_.push_back(i);
      if (options_.max_concurrency == 0 || progress_.in_flight < static_cast<size_t>(options_.max_concurrency)) {
        ++progress_.in_flight;
        spawn(worker());
      }
    }
  }

  // One connection: takes what waits until nothing does. Connections are kept for those that come later.
  awaitable<void> worker() {
    std::unique_ptr<HttpClient> client;
    if (idle_.empty()) {
      client = std::make_unique<HttpClient>(io_.get_executor(), options_.server, options_.client);
    } else {
      client = std::move(idle_.back());
      idle_.pop_back();
    }
    while (!waiting_.empty()) {
      const size_t i = waiting_.front();
      waiting_.pop_front();
      out_.outcomes[i] = co_await one(*client, prompts_[i]);
      const Outcome& outcome = out_.outcomes[i];
      ++progress_.done;
      progress_.failed += outcome.ok ? 0 : 1;
      progress_.output_tokens += outcome.output_tokens;
      progress_.seconds = seconds_since(began_);
      out_.seconds = progress_.seconds;
      if (told_) told_(progress_);
    }
    --progress_.in_flight;
    idle_.push_back(std::move(client));
    if (progress_.done == progress_.of) look_.cancel();
  }

  awaitable<Outcome> one(HttpClient& client, const LoadPrompt& prompt) {
    const bool stream = options_.request.stream;
    AnswerReader reader(options_.backend, prompt, stream);
    auto request = request_of(options_, "POST", route_of(options_.backend),
                              request_body(options_.backend, prompt, options_.request));
    const auto sent = Clock::now();
    std::string error;
    const auto head = co_await client.send(std::move(request));
    if (!head) {
      error = head.error().what;
    } else if (head->status != 200) {
      const auto body = co_await client.read_all();
      error = body ? error_text(head->status, *body) : body.error().what;
    } else if (stream && header(head->headers, "content-type").starts_with("text/event-stream")) {
      error = co_await stream_into(client, reader, sent);
    } else {
      const auto body = co_await client.read_all();
      if (!body) error = body.error().what;
      if (body && stream) error = "asked for a stream, got " + std::string(header(head->headers, "content-type"));
      if (error.empty()) reader.take(*body, seconds_since(sent));
    }
    Outcome out = reader.finish(seconds_since(sent));
    out.start = std::chrono::duration<double>(sent - began_).count();
    if (!error.empty()) {
      out.ok = false;
      out.error = error;
    }
    co_return out;
  }

  awaitable<std::string> stream_into(HttpClient& client, AnswerReader& reader, Clock::time_point sent) {
    SseReader events;
    std::vector<SseEvent> come;
    for (;;) {
      const auto bytes = co_await client.read();
      if (!bytes) co_return bytes.error().what;
      if (bytes->empty()) co_return std::string();
      const double now = seconds_since(sent);
      come.clear();
      if (const auto ok = events.put(*bytes, come); !ok) co_return ok.error().what;
      for (const auto& event : come) reader.take(event.data, now);
    }
  }

  const LoadOptions& options_;
  const std::vector<LoadPrompt>& prompts_;
  const std::atomic<bool>& stop_;
  const std::function<void(const LoadProgress&)>& told_;
  LoadRun out_;
  LoadProgress progress_;
  Clock::time_point began_;
  std::exception_ptr broken_;
  asio::io_context io_{1};
  asio::steady_timer arrival_, look_;
  std::deque<size_t> waiting_;
  std::vector<std::unique_ptr<HttpClient>> idle_;
};

}  // namespace

Result<LoadRun> run_load(const LoadOptions& options, const std::vector<LoadPrompt>& prompts,
                         const std::atomic<bool>& stop, const std::function<void(const LoadProgress&)>& told) {
  if (prompts.empty()) return invalid("a load test without prompts");
  Run run(options, prompts, stop, told);
  return run.go();
}

Result<Json> fetch_json(const LoadOptions& options, const std::string& path) {
  asio::io_context io(1);
  HttpClient client(io.get_executor(), options.server, options.client);
  Result<Json> out = failure(Code::kInternal, "no answer");
  const auto fetch = [&client, &options, &path, &out]() -> awaitable<void> {
    const auto head = co_await client.send(request_of(options, "GET", path, ""));
    if (!head) {
      out = tl::unexpected(head.error());
      co_return;
    }
    const auto body = co_await client.read_all();
    if (!body) {
      out = tl::unexpected(body.error());
    } else if (head->status != 200) {
      out = failure(Code::kUnavailable, path + ": " + error_text(head->status, *body));
    } else {
      out = Json::parse(*body);
    }
  };
  std::exception_ptr thrown;
  asio::co_spawn(io, fetch(), [&thrown](std::exception_ptr e) { thrown = e; });
  io.run();
  if (thrown) std::rethrow_exception(thrown);
  return out;
}

}  // namespace cairn::serve
