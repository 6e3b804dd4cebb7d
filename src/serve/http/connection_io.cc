// The socket side of a connection: reading, writing, waiting, and noticing that the client left.
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "serve/http/connection.h"

namespace cairn::serve {
namespace asio = boost::asio;
using asio::awaitable;
using boost::system::error_code;

namespace {

constexpr size_t kMostAhead = 64 << 10;            // bytes of later requests kept while one is answered
constexpr auto kLinger = std::chrono::seconds(2);  // for a client to read why it is turned away
constexpr auto kAsTuple = asio::as_tuple_t<asio::use_awaitable_t<>>(asio::use_awaitable);

bool try_again(const error_code& e) { return e == asio::error::would_block || e == asio::error::try_again; }

}  // namespace

// Appends what has arrived to bytes_, without waiting.
Connection::Got Connection::read_now() {
  thread_local std::array<char, 64 << 10> space;
  error_code e;
  const size_t n = socket_.read_some(asio::buffer(space), e);
  if (n > 0) bytes_.append(space.data(), n);
  if (!e) return Got::kData;
  return try_again(e) || e == asio::error::interrupted ? Got::kNothing : Got::kEnd;
}

awaitable<bool> Connection::write(std::string_view bytes) {
  while (!bytes.empty()) {
    error_code e;
    bytes.remove_prefix(socket_.write_some(asio::buffer(bytes.data(), bytes.size()), e));
    if (!e || e == asio::error::interrupted) continue;
    bool go_on = try_again(e);
    if (go_on) {
      go_on = co_await ready(Socket::wait_write, Clock::now() + shared_->options.write_timeout);
      timed_out_ = timed_out_ || !go_on;
    }
    if (!go_on) left();
    if (gone_) co_return false;
  }
  co_return true;
}

// Waits until the socket may be tried again. False when the deadline passed before.
awaitable<bool> Connection::ready(Socket::wait_type type, Clock::time_point deadline) {
  if (Clock::now() >= deadline) co_return false;
  timer_.expires_at(deadline);
  timer_.async_wait([self = shared_from_this(), turn = ++timer_turn_](const error_code& e) {
    error_code ignored;
    if (!e && turn == self->timer_turn_) self->socket_.cancel(ignored);
  });
  const auto [e] = co_await socket_.async_wait(type, kAsTuple);
  ++timer_turn_;
  timer_.cancel();
  co_return !e || Clock::now() < deadline;
}

// Waits until the exchange has something new, or the client left.
awaitable<void> Connection::signalled() {
  signal_.expires_at(Clock::time_point::max());
  co_await signal_.async_wait(kAsTuple);
}

awaitable<void> Connection::yield() { co_await asio::post(socket_.get_executor(), asio::use_awaitable); }

// Notices that the client leaves while its request is worked on. What it sends meanwhile is kept for later, up to a
// bound; beyond that nothing is read, so that it has to wait, and only a reset is noticed.
void Connection::watch() {
  watching_ = true;
  if (waiting_ || gone_) return;
  waiting_ = true;
  const auto type = bytes_.size() < kMostAhead ? Socket::wait_read : Socket::wait_error;
  socket_.async_wait(type, [self = shared_from_this(), type](const error_code& e) {
    self->waiting_ = false;
    if (!self->watching_ || !self->socket_.is_open()) return;
    if (type == Socket::wait_error && !e) return self->left();
    Got got = e ? Got::kNothing : Got::kData;
    while (got == Got::kData && self->bytes_.size() < kMostAhead) got = self->read_now();
    if (got == Got::kEnd) return self->left();
    self->watch();
  });
}

void Connection::left() {
  if (gone_) return;
  gone_ = true;
  if (exchange_) exchange_->leave();
  signal_.cancel();
  error_code ignored;
  socket_.cancel(ignored);
}

// Lets a client that is still sending read the answer: a socket closed with unread bytes would be reset at once.
awaitable<void> Connection::linger() {
  error_code e;
  socket_.shutdown(Socket::shutdown_send, e);
  const auto deadline = Clock::now() + kLinger;
  while (!e && !shared_->draining) {
    const Got got = read_now();
    bytes_.clear();
    if (got == Got::kEnd || Clock::now() >= deadline) break;
    if (got == Got::kData) {
      co_await yield();
    } else if (!co_await ready(Socket::wait_read, deadline)) {
      break;
    }
  }
}

void Connection::drain() {
  if (idle_) close();
}

void Connection::abort() {
  left();
  close();
}

void Connection::close() {
  ++timer_turn_;
  timer_.cancel();
  error_code ignored;
  socket_.close(ignored);
}

}  // namespace cairn::serve
