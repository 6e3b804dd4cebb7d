// A client for other HTTP servers: one connection, kept open between requests, on Asio's coroutines.
#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "serve/http/http.h"

namespace cairn::serve {

struct Url {
  std::string host;  // a name or an address; IPv6 without its brackets
  uint16_t port = 80;
  std::string path;               // "" or from the slash on, with the query, without a slash at the end
  std::string authority() const;  // for the header Host
};
// "http://host:port/path", or the same without http://. Errors say what is wrong; https is one.
Result<Url> parse_url(std::string_view text);

struct ClientOptions {
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds silence_timeout{600'000};  // with nothing read or written
  HttpLimits limits{64 << 10, uint64_t{1} << 30};
};

// Requests one after the other. Must be used by one coroutine at a time, and live until that is done.
class HttpClient {
 public:
  struct Request {
    std::string method, target;  // the target with the query
    Headers headers;             // besides Host and Content-Length
    std::string body;
  };
  struct Head {
    int status = 0;
    Headers headers;  // names in lower case
  };

  HttpClient(boost::asio::any_io_executor executor, Url server, ClientOptions options = {});
  ~HttpClient();

  // Sends a request, connecting first where there is no connection, and reads the head of the answer. A kept
  // connection that the server closed meanwhile is opened anew. What is unread of an earlier answer is dropped with
  // its connection.
  boost::asio::awaitable<Result<Head>> send(Request request);
  // The next bytes of the body as they come; empty at its end.
  boost::asio::awaitable<Result<std::string>> read();
  // All that is left of the body; an error when it is more than `most` bytes.
  boost::asio::awaitable<Result<std::string>> read_all(size_t most = 64 << 20);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace cairn::serve
