#include "serve/http/server.h"

#include <fmt/core.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <thread>

#include "serve/http/connection.h"
#include "serve/http/json_writer.h"

namespace cairn::serve {
namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr size_t kMostOverload = 256;  // connections beyond the limit that are told so; further ones are just closed
constexpr auto kBreath = std::chrono::milliseconds(50);  // after an accept that failed for want of something
constexpr auto kAsTuple = asio::as_tuple_t<asio::use_awaitable_t<>>(asio::use_awaitable);

// Asks for as many open files as the connections need. Returns how many connections there may be.
size_t room_for(size_t connections) {
  constexpr rlim_t kOthers = 128;  // weights, logs, the sockets of further clients while they are turned away
  const rlim_t wanted = connections + kMostOverload + kOthers;
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return connections;
  if (files.rlim_cur < wanted) {
    rlimit raised = files;
    raised.rlim_cur = std::min(wanted, files.rlim_max);
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) files = raised;
  }
  if (files.rlim_cur >= wanted) return connections;
  return std::max<size_t>(1, files.rlim_cur / 2);
}

// A peer that vanished without a word (a cable, a sleeping laptop) is noticed within a minute.
void keep_watch(tcp::socket& socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  const int idle = 30, interval = 10, probes = 3;
  setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

asio::awaitable<void> serve_one(std::shared_ptr<Connection> connection, std::shared_ptr<Shared> shared) {
  try {
    co_await connection->run();
  } catch (const std::exception&) {
    connection->abort();  // no memory for this request; the others go on
  }
  const std::lock_guard lock(shared->mutex);
  shared->live.erase(connection.get());
  shared->gone.notify_all();
}

asio::awaitable<void> listen(tcp::acceptor& acceptor, std::shared_ptr<Shared> shared) {
  asio::steady_timer breath(acceptor.get_executor());
  for (;;) {
    auto strand = asio::make_strand(acceptor.get_executor());
    tcp::socket socket(strand);
    const auto [e] = co_await acceptor.async_accept(socket, kAsTuple);
    if (!acceptor.is_open() || shared->draining) co_return;
    if (e) {  // too many open files, no buffers, or a client that is gone already
      breath.expires_after(kBreath);
      co_await breath.async_wait(kAsTuple);
      continue;
    }
    keep_watch(socket);
    std::shared_ptr<Connection> connection;
    {
      const std::lock_guard lock(shared->mutex);
      const size_t count = shared->live.size(), most = shared->options.most_connections;
      if (count >= most + kMostOverload) continue;
      connection = std::make_shared<Connection>(std::move(socket), shared, count >= most);
      shared->live.emplace(connection.get(), connection);
    }
    asio::co_spawn(strand, serve_one(connection, shared), asio::detached);
  }
}

}  // namespace

struct Server::State {
  State(ServerOptions options, Router router)
      : shared(std::make_shared<Shared>()), io(std::max(1, options.threads)), acceptor(asio::make_strand(io)) {
    shared->options = std::move(options);
    shared->router = std::move(router);
  }

  Result<void> open() {
    const ServerOptions& options = shared->options;
    error_code e;
    const auto found = tcp::resolver(io).resolve(options.host, std::to_string(options.port), tcp::resolver::passive, e);
    if (e || found.empty())
      return invalid(fmt::format("--host {}: no such address here ({})", options.host, e.message()));
    const tcp::endpoint at = found.begin()->endpoint();
    acceptor.open(at.protocol(), e);
    if (!e) acceptor.set_option(asio::socket_base::reuse_address(true), e);
    if (!e) acceptor.bind(at, e);
    if (!e) acceptor.listen(asio::socket_base::max_listen_connections, e);
    if (!e) return {};
    const char* way_out =
        e == asio::error::address_in_use ? "; another program listens there, and --port 0 picks a free one" : "";
    return failure(Code::kUnavailable,
                   fmt::format("cannot listen on {}:{}: {}{}", options.host, options.port, e.message(), way_out));
  }

  void run() {
    asio::co_spawn(acceptor.get_executor(), listen(acceptor, shared), asio::detached);
    for (int i = 0; i < std::max(1, shared->options.threads); ++i)
      threads.emplace_back([this] {
        for (;;) try {
            io.run();
            return;
          } catch (const std::exception&) {
            // What a callback of the program's own threw. The others' requests go on.
          }
      });
  }

  // Calls f on every connection, on its own strand.
  void each(void (Connection::*f)()) {
    const std::lock_guard lock(shared->mutex);
    for (const auto& [_, weak] : shared->live)
      if (const auto connection = weak.lock())
        asio::post(connection->executor(), [connection, f] { (connection.get()->*f)(); });
  }

  bool all_gone_within(std::chrono::milliseconds time) {
    std::unique_lock lock(shared->mutex);
    return shared->gone.wait_for(lock, time, [&] { return shared->live.empty(); });
  }

  bool drain(std::chrono::milliseconds patience) {
    shared->draining = true;
    asio::post(acceptor.get_executor(), [this] {
      error_code ignored;
      acceptor.close(ignored);
    });
    each(&Connection::drain);
    if (all_gone_within(patience)) return true;
    each(&Connection::abort);
    all_gone_within(std::chrono::seconds(10));
    return false;
  }

  std::shared_ptr<Shared> shared;
  asio::io_context io;
  tcp::acceptor acceptor;
  std::vector<std::thread> threads;
};

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}

Server::~Server() {
  state_->drain(std::chrono::milliseconds(0));
  state_->io.stop();
  for (auto& thread : state_->threads) thread.join();
}

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, Router router) {
  if (options.limits.header_bytes < 256 || options.limits.header_bytes > (1 << 20))
    return invalid("the limit of headers must lie in [256, 1048576] bytes");
  if (options.most_connections < 1) return invalid("the limit of connections must be at least 1");
  options.most_connections = room_for(options.most_connections);
  auto state = std::make_unique<State>(std::move(options), std::move(router));
  TRY_VOID(state->open());
  error_code e;
  state->shared->options.port = state->acceptor.local_endpoint(e).port();
  state->run();
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

uint16_t Server::port() const { return state_->shared->options.port; }

std::string Server::url() const {
  const std::string& host = state_->shared->options.host;
  const bool v6 = host.find(':') != std::string::npos;
  return v6 ? fmt::format("http://[{}]:{}", host, port()) : fmt::format("http://{}:{}", host, port());
}

size_t Server::connections() const {
  const std::lock_guard lock(state_->shared->mutex);
  return state_->shared->live.size();
}

bool Server::drain(std::chrono::milliseconds patience) { return state_->drain(patience); }

std::string access_line(const AccessRecord& record) {
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(record.began.time_since_epoch()).count();
  JsonWriter w;
  w.begin_object().field("unix_ms", since).field("request_id", record.request_id).field("remote", record.remote);
  w.field("method", record.method).field("path", record.path).field("status", record.status);
  w.field("bytes_in", record.bytes_in).field("bytes_out", record.bytes_out).field("seconds", record.seconds);
  w.field("first_byte_seconds", record.first_byte_seconds).field("outcome", record.outcome);
  return w.end_object().take() + "\n";
}

}  // namespace cairn::serve
