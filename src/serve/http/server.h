// The HTTP server: listens, speaks HTTP/1.1, and hands requests to the handlers of a router.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "serve/http/http.h"
#include "serve/http/router.h"

namespace cairn::serve {

// One request that is over, for the access log.
struct AccessRecord {
  std::string request_id, remote, method, path;
  int status = 0;                              // what was answered; 499 when the client left before the answer began
  uint64_t bytes_in = 0, bytes_out = 0;        // of bodies
  double seconds = 0, first_byte_seconds = 0;  // since the request's first byte; to the answer's first
  const char* outcome = "done";                // or "client left", "cut" (the answer broke off), "timeout"
  std::chrono::system_clock::time_point began;
};
// The record as one line of JSON, with a line break.
std::string access_line(const AccessRecord& record);

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 30000;  // 0: a free one, see Server::port()
  int threads = 2;        // that read, write and run handlers
  std::string api_key;    // asked for as "Authorization: Bearer KEY" by routes that are not open; empty: by none
  std::vector<std::string> cors_origins;  // origins whose pages may read answers; "*" is all; empty: none
  HttpLimits limits;
  size_t most_connections = 4096;                      // further ones get a 503
  size_t most_buffered_bytes = size_t{1} << 30;        // of request bodies still arriving, of all connections together
  size_t stream_buffer_bytes = size_t{1} << 20;        // queued for one slow reader
  std::chrono::milliseconds idle_timeout{75'000};      // between two requests
  std::chrono::milliseconds read_timeout{30'000};      // for a whole header; a body gets it, and 16 KiB a second
  std::chrono::milliseconds write_timeout{30'000};     // without a single byte taken by the client
  std::function<void(const AccessRecord&)> on_access;  // on io threads; several at a time
};

// Runs from start() until it is destroyed. Not to be drained or destroyed on one of its own threads.
class Server {
 public:
  // Errors: a host that has no address, a port that is taken or forbidden.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, Router router);
  ~Server();  // drains with no patience

  uint16_t port() const;
  std::string url() const;  // "http://127.0.0.1:30000"
  size_t connections() const;

  // Takes no new connections, closes idle ones, and lets requests in flight finish until the time is over; then cuts
  // them. True when none had to be cut.
  bool drain(std::chrono::milliseconds patience);

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cairn::serve
