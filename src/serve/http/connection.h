// One client's connection: its requests one after the other, each answered before the next is read.
#pragma once
#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "serve/http/server.h"

namespace cairn::serve {

class Connection;

// What all connections of a server share.
struct Shared {
  ServerOptions options;
  Router router;
  std::atomic<bool> draining{false};
  std::atomic<size_t> buffered{0};  // bytes of bodies that are arriving

  std::mutex mutex;
  std::condition_variable gone;  // told when `live` shrinks
  std::unordered_map<Connection*, std::weak_ptr<Connection>> live;
};

// Lives on a strand: every member is called there. Kept alive by its own coroutine and by pending operations.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using Clock = std::chrono::steady_clock;

  // `overload`: this client only gets a 503.
  Connection(Socket socket, std::shared_ptr<Shared> shared, bool overload);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  boost::asio::awaitable<void> run();
  void drain();  // closes it if no request is in flight
  void abort();  // closes it; the handler of a request in flight is told that the client left
  auto executor() { return socket_.get_executor(); }

 private:
  enum class Got { kData, kNothing, kEnd };
  struct Turn;  // one request and what happens to it

  boost::asio::awaitable<bool> turn();
  boost::asio::awaitable<bool> awaited();
  boost::asio::awaitable<bool> header(Turn& turn);
  boost::asio::awaitable<bool> body(Turn& turn);
  boost::asio::awaitable<bool> respond(Turn& turn);
  boost::asio::awaitable<bool> respond_stream(Turn& turn);
  boost::asio::awaitable<bool> refuse(Turn& turn, const ApiError& why);
  boost::asio::awaitable<bool> more(Turn& turn, Clock::time_point deadline);
  boost::asio::awaitable<bool> write(std::string_view bytes);
  boost::asio::awaitable<bool> ready(Socket::wait_type type, Clock::time_point deadline);
  boost::asio::awaitable<void> signalled();
  boost::asio::awaitable<void> yield();
  boost::asio::awaitable<void> linger();

  Parsed<const Route*> admit(Turn& turn);
  bool answer_options(Turn& turn);
  void answer_error(const ApiError& e);
  void dispatch(Turn& turn, const Route& route);
  std::string head(const Turn& turn, int status, Headers headers) const;
  Got read_now();
  void watch();
  void left();
  void close();
  void log(const Turn& turn) const;

  std::shared_ptr<Shared> shared_;
  Socket socket_;
  boost::asio::steady_timer timer_, signal_;
  std::string bytes_;  // read and not yet parsed
  std::string remote_;
  std::shared_ptr<Exchange> exchange_;  // of the request in flight
  uint64_t timer_turn_ = 0;
  bool overload_, idle_ = false, watching_ = false, waiting_ = false, timed_out_ = false, gone_ = false;
};

}  // namespace cairn::serve
