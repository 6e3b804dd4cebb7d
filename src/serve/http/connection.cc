#include "serve/http/connection.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/strings.h"

namespace cairn::serve {
namespace asio = boost::asio;
using asio::awaitable;
using boost::system::error_code;

namespace {

constexpr size_t kSmall = 16 << 10;      // bytes of a body that travels with its head, or is read though refused
constexpr uint64_t kSlowest = 16 << 10;  // bytes of a body a second

Headers json_headers(size_t length) {
  return {{"Content-Type", "application/json"}, {"Content-Length", std::to_string(length)}};
}

}  // namespace

struct Connection::Turn {
  Turn(const ServerOptions& options, std::atomic<size_t>& all) : parser(options.limits), buffered(all) {}
  ~Turn() { forget(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  // Counts the bytes of the body that are held now, here and in the sum of all connections.
  size_t hold(size_t bytes) {
    const size_t sum = buffered += bytes - held;
    held = bytes;
    return sum;
  }
  void forget() { hold(0); }

  RequestParser parser;
  HttpRequest request;
  Exchange::Head head;
  std::string method, path, id, origin;
  std::atomic<size_t>& buffered;
  size_t held = 0;
  int status = 499;
  uint64_t bytes_in = 0, bytes_out = 0;
  bool keep_alive = false, http_1_0 = false, head_only = false;
  const char* outcome = "done";
  Clock::time_point began = Clock::now(), first_byte{};
  std::chrono::system_clock::time_point wall = std::chrono::system_clock::now();
};

Connection::Connection(Socket socket, std::shared_ptr<Shared> shared, bool overload)
    : shared_(std::move(shared)),
      socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      signal_(socket_.get_executor()),
      overload_(overload) {
  error_code e;
  const auto peer = socket_.remote_endpoint(e);
  if (!e) remote_ = peer.address().to_string() + ":" + std::to_string(peer.port());
  socket_.non_blocking(true, e);
}

Connection::~Connection() {
  if (exchange_) exchange_->leave();
}

awaitable<void> Connection::run() {
  if (overload_) {
    Turn turn(shared_->options, shared_->buffered);
    turn.id = new_request_id();
    const std::string why = fmt::format("the server has its {} connections", shared_->options.most_connections);
    const ApiError full{503, why, {}, "too_many_connections"};
    co_await refuse(turn, full);
  }
  while (!overload_ && !shared_->draining && socket_.is_open()) {
    const bool go_on = co_await turn();
    if (!go_on) break;
    if (!bytes_.empty()) co_await yield();  // others have their turn before the next pipelined request
  }
  close();
}

// In these coroutines, whatever has a destructor is named before the co_await that uses it: g++ 12 destroys aggregates
// that are temporaries of such an expression twice.

// One request and its answer. True when the connection serves another.
awaitable<bool> Connection::turn() {
  if (!co_await awaited()) co_return false;
  Turn turn(shared_->options, shared_->buffered);
  turn.id = new_request_id();
  if (!co_await header(turn)) co_return false;
  exchange_ = std::make_shared<Exchange>(shared_->options.stream_buffer_bytes);
  const auto route = admit(turn);
  // A small body is read for the sake of the connection; a client that waits for a 100, or has much to send, is
  // stopped.
  const bool small = turn.parser.content_length().value_or(turn.parser.chunked() ? kSmall + 1 : 0) <= kSmall;
  if (!route && !(small && turn.parser.expect().empty())) co_return co_await refuse(turn, route.error());
  if (!co_await body(turn)) co_return false;
  if (!route) {
    answer_error(route.error());
  } else if (*route) {
    dispatch(turn, **route);
  }
  turn.forget();
  const bool again = co_await respond(turn);
  watching_ = false;
  exchange_->detach();
  if (gone_) turn.outcome = timed_out_ ? "timeout" : "client left";
  log(turn);
  co_return again && !gone_ && turn.keep_alive;
}

// Waits for the first byte of a request. False when there will be none.
awaitable<bool> Connection::awaited() {
  idle_ = true;
  const auto deadline = Clock::now() + shared_->options.idle_timeout;
  while (bytes_.empty()) {
    const Got got = read_now();
    if (got == Got::kData) break;
    const bool waits = got == Got::kNothing && !shared_->draining;
    if (bytes_.capacity() > kSmall) std::string().swap(bytes_);  // thousands of idle connections hold next to nothing
    if (!waits || !co_await ready(Socket::wait_read, deadline)) co_return false;
  }
  idle_ = false;
  co_return true;
}

// Reads on into bytes_. False when the client left, or was told that it is too slow.
awaitable<bool> Connection::more(Turn& turn, Clock::time_point deadline) {
  for (;;) {
    const Got got = read_now();
    if (got == Got::kData) co_return true;
    if (got == Got::kEnd) co_return false;
    if (co_await ready(Socket::wait_read, deadline)) continue;
    turn.outcome = "timeout";
    const ApiError slow{408, "the request came too slowly", {}, "timeout"};
    co_return co_await refuse(turn, slow);
  }
}

awaitable<bool> Connection::header(Turn& turn) {
  const auto deadline = turn.began + shared_->options.read_timeout;
  for (;;) {
    const auto taken = turn.parser.put(bytes_);
    if (!taken) co_return co_await refuse(turn, taken.error());
    if (turn.parser.header_done()) break;
    if (!co_await more(turn, deadline)) co_return false;
  }
  auto request = turn.parser.request();
  if (!request) co_return co_await refuse(turn, request.error());
  turn.request = *std::move(request);
  if (const auto given = turn.request.header("x-request-id"); sensible_request_id(given)) turn.id = given;
  turn.request.request_id = turn.id;
  turn.request.remote = remote_;
  turn.method = turn.request.method;
  turn.path = turn.request.path;
  turn.origin = turn.request.header("origin");
  turn.head_only = turn.method == "HEAD";
  turn.http_1_0 = turn.parser.http_1_0();
  turn.keep_alive = turn.parser.keep_alive();
  co_return true;
}

// The route that answers; null when answer_options() did. An error ends the request before its body is read.
Parsed<const Route*> Connection::admit(Turn& turn) {
  const HttpRequest& request = turn.request;
  if (const auto expect = turn.parser.expect(); !expect.empty() && lower_ascii(expect) != "100-continue")
    return tl::unexpected<ApiError>(ApiError{417, "the only expectation that is met is 100-continue", {}, {}});
  if (request.method == "OPTIONS" && answer_options(turn)) return nullptr;
  auto match = shared_->router.find(request.method, request.path);
  const std::string& key = shared_->options.api_key;
  if (!key.empty() && !(match && match->route->open)) {
    std::string_view given = request.header("authorization");
    const bool bearer = lower_ascii(given.substr(0, 7)) == "bearer ";
    if (!bearer || !same_secret(trim(given.substr(7)), key)) {
      const char* why = "this server asks for an API key, as the header \"Authorization: Bearer KEY\"";
      return tl::unexpected<ApiError>(ApiError{401, why, {}, "invalid_api_key"});
    }
  }
  if (!match) return tl::unexpected<ApiError>(std::move(match).error());
  turn.request.rest = std::move(match->rest);
  return match->route;
}

void Connection::answer_error(const ApiError& e) {
  exchange_->answer({e.status, {{"Content-Type", "application/json"}}, false, error_body(e)});
}

bool Connection::answer_options(Turn& turn) {
  const std::string methods = shared_->router.allowed(turn.path);
  if (methods.empty() && turn.path != "*") return false;
  Headers headers{{"Allow", methods.empty() ? "GET, HEAD, POST, OPTIONS" : methods}};
  if (!turn.request.header("access-control-request-method").empty() && !shared_->options.cors_origins.empty()) {
    headers.emplace_back("Access-Control-Allow-Methods", methods);
    headers.emplace_back("Access-Control-Allow-Headers", turn.request.header("access-control-request-headers"));
    headers.emplace_back("Access-Control-Max-Age", "600");
  }
  exchange_->answer({204, std::move(headers), false, {}});
  return true;
}

awaitable<bool> Connection::body(Turn& turn) {
  if (!turn.parser.done() && !turn.parser.expect().empty() && !turn.http_1_0)
    if (!co_await write("HTTP/1.1 100 Continue\r\n\r\n")) co_return false;
  for (int reads = 1; !turn.parser.done(); ++reads) {
    const auto taken = turn.parser.put(bytes_);
    if (!taken) co_return co_await refuse(turn, taken.error());
    turn.bytes_in = turn.parser.body_size();
    if (turn.hold(turn.bytes_in) > shared_->options.most_buffered_bytes) {
      const ApiError full{
          503, "too many bytes of request bodies are arriving at once; try again later", {}, "overloaded"};
      co_return co_await refuse(turn, full);
    }
    if (turn.parser.done()) break;
    const auto earned = std::chrono::seconds(turn.bytes_in / kSlowest);
    if (!co_await more(turn, turn.began + shared_->options.read_timeout + earned)) co_return false;
    if (reads % 16 == 0) co_await yield();
  }
  turn.request.body = turn.parser.take_body();
  co_return true;
}

void Connection::dispatch(Turn& turn, const Route& route) {
  exchange_->attach([weak = weak_from_this(), on = socket_.get_executor()] {
    asio::post(on, [weak] {
      if (const auto self = weak.lock()) self->signal_.cancel();
    });
  });
  const auto reply = std::make_shared<Reply>(exchange_, turn.id);
  try {
    route.handler(std::move(turn.request), reply);
  } catch (const Failure& e) { reply->error(e.error()); } catch (const std::exception& e) {
    reply->error(ApiError{500, std::string("the server failed: ") + e.what(), {}, "internal_error"});
  }
}

// Waits for the answer and writes it. True when all of it was written.
awaitable<bool> Connection::respond(Turn& turn) {
  while (!exchange_->take_head(turn.head)) {
    watch();
    co_await signalled();
    if (gone_) co_return false;
  }
  turn.status = turn.head.status;
  turn.first_byte = Clock::now();
  if (shared_->draining) turn.keep_alive = false;
  if (turn.head.streams) co_return co_await respond_stream(turn);
  watching_ = false;  // a client that only closed its sending side still gets what is there
  Headers headers = std::move(turn.head.headers);
  const bool no_body = turn.status == 204 || turn.status == 304;
  if (!no_body) headers.emplace_back("Content-Length", std::to_string(turn.head.body.size()));
  std::string out = head(turn, turn.status, std::move(headers));
  std::string_view rest = no_body || turn.head_only ? std::string_view() : turn.head.body;
  turn.bytes_out = rest.size();
  if (rest.size() <= kSmall) out += std::exchange(rest, {});
  co_return co_await write(out) && co_await write(rest);
}

awaitable<bool> Connection::respond_stream(Turn& turn) {
  Headers headers = std::move(turn.head.headers);
  if (turn.http_1_0) turn.keep_alive = false;  // the end of the connection is the end of the answer
  if (!turn.http_1_0) headers.emplace_back("Transfer-Encoding", "chunked");
  std::string out = head(turn, turn.status, std::move(headers));
  if (turn.head_only) {
    exchange_->leave();  // nobody reads what the handler would make
    co_return co_await write(out);
  }
  for (;;) {
    Exchange::Taken taken = exchange_->take();
    if (taken.ended) watching_ = false;
    turn.bytes_out += taken.bytes.size();
    if (turn.http_1_0) {
      out += taken.bytes;
    } else if (!taken.bytes.empty()) {
      out += fmt::format("{:x}\r\n", taken.bytes.size());
      out += taken.bytes;
      out += "\r\n";
    }
    if (taken.ended && !taken.broken && !turn.http_1_0) out += "0\r\n\r\n";
    const bool idle = out.empty();
    if (!co_await write(out)) co_return false;
    out.clear();
    if (taken.broken) {
      turn.outcome = "cut";
      error_code e;
      socket_.set_option(asio::socket_base::linger(true, 0), e);  // a reset: without chunks, an end would look whole
      co_return false;
    }
    if (taken.ended) co_return true;
    if (!idle) continue;
    watch();
    co_await signalled();
    if (gone_) co_return false;
  }
}

// Answers with an error and gives the connection up, because the rest of the request was not or cannot be read.
awaitable<bool> Connection::refuse(Turn& turn, const ApiError& why) {
  if (turn.method.empty()) {
    if (const auto request = turn.parser.request()) turn.method = request->method, turn.path = request->path;
  }
  turn.status = why.status;
  turn.keep_alive = false;
  turn.first_byte = Clock::now();
  const std::string text = error_body(why);
  std::string out = head(turn, why.status, json_headers(text.size()));
  if (turn.method != "HEAD") out += text;
  turn.forget();
  const bool written = co_await write(out);
  turn.bytes_out = text.size();
  log(turn);
  if (written) co_await linger();
  co_return false;
}

std::string Connection::head(const Turn& turn, int status, Headers headers) const {
  headers.emplace_back("x-request-id", turn.id);
  if (status == 401) headers.emplace_back("WWW-Authenticate", "Bearer");
  if (status == 405) headers.emplace_back("Allow", shared_->router.allowed(turn.path));
  if (!turn.keep_alive) headers.emplace_back("Connection", "close");
  if (turn.keep_alive && turn.http_1_0) headers.emplace_back("Connection", "keep-alive");
  const auto& origins = shared_->options.cors_origins;
  if (!origins.empty() && !turn.origin.empty()) {
    const bool any = std::ranges::find(origins, "*") != origins.end();
    headers.emplace_back("Vary", "Origin");
    if (any || std::ranges::find(origins, turn.origin) != origins.end()) {
      headers.emplace_back("Access-Control-Allow-Origin", any ? "*" : turn.origin);
      headers.emplace_back("Access-Control-Expose-Headers", "x-request-id");
    }
  }
  return response_head(status, headers);
}

void Connection::log(const Turn& turn) const {
  const auto& tell = shared_->options.on_access;
  if (!tell || overload_) return;
  AccessRecord record;
  record.request_id = turn.id;
  record.remote = remote_;
  record.method = turn.method;
  record.path = turn.path;
  record.status = turn.status;
  record.bytes_in = turn.bytes_in;
  record.bytes_out = turn.bytes_out;
  record.seconds = std::chrono::duration<double>(Clock::now() - turn.began).count();
  if (turn.first_byte != Clock::time_point{})
    record.first_byte_seconds = std::chrono::duration<double>(turn.first_byte - turn.began).count();
  record.outcome = turn.outcome;
  record.began = turn.wall;
  tell(record);
}

}  // namespace cairn::serve
