// HTTP/1.1 messages: a request as handlers see it, the parser behind it, and the heads of answers.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "serve/http/api_error.h"

namespace cairn::serve {

// Name and value, in the order of the wire. Names of requests are in lower case.
using Headers = std::vector<std::pair<std::string, std::string>>;
// The first value of that name (in lower case), or nothing.
std::string_view header(const Headers& headers, std::string_view name);

// One request, whole. `path` is percent-decoded; `rest` is what a route's trailing {name} matched.
struct HttpRequest {
  std::string method, path, query, rest;
  Headers headers;
  std::string body;
  std::string request_id;  // the client's x-request-id where it is a sensible one, or one of ours
  std::string remote;      // the client's address

  std::string_view header(std::string_view name) const { return serve::header(headers, name); }
};

// The body as JSON. An error names the content type or the place of the fault. Browsers may post text/plain across
// sites without asking, so anything but application/json is refused.
Parsed<Json> json_body(const HttpRequest& request);

// The decoded value of one parameter of a query string, or nothing.
std::optional<std::string> query_value(std::string_view query, std::string_view name);
// "%41" -> "A"; nothing when an escape is broken or stands for a NUL.
std::optional<std::string> percent_decoded(std::string_view text);

std::string_view reason_phrase(int status);
std::string new_request_id();
// Whether a client's request id may enter logs and answers: 1 to 128 letters, digits and any of "-_.:+/=@".
bool sensible_request_id(std::string_view id);
// Whether two secrets are equal, in a time that depends on the length of `given` alone.
bool same_secret(std::string_view given, std::string_view secret);

struct HttpLimits {
  size_t header_bytes = 32 << 10;
  uint64_t body_bytes = 64 << 20;
};

// Reads one request from bytes as they come. Bytes that belong to the next request stay in the caller's buffer.
class RequestParser {
 public:
  explicit RequestParser(const HttpLimits& limits);
  ~RequestParser();

  // Takes what it can from the front of `bytes` and removes it. It stops after the header, so that a caller can look
  // at it before the body comes: call again for the rest. An error has the status to answer; the connection is then
  // beyond repair, because nobody knows where the next request begins.
  tl::expected<void, ApiError> put(std::string& bytes);

  bool header_done() const;
  bool done() const;  // header and body
  bool keep_alive() const;
  bool http_1_0() const;
  bool chunked() const;
  std::optional<uint64_t> content_length() const;
  std::string_view expect() const;  // the value of Expect
  size_t body_size() const;         // bytes of the body so far

  // The request without body, request_id and remote, once header_done(). An error when its target is no path.
  Parsed<HttpRequest> request() const;
  std::string take_body();  // once done()

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Reads one answer of another server from bytes as they come, as RequestParser reads requests. The body is taken piece
// by piece, so that a stream is read while it goes on.
class ResponseParser {
 public:
  // `to_head`: the answer to a HEAD request, which has no body whatever it says.
  explicit ResponseParser(const HttpLimits& limits, bool to_head = false);
  ~ResponseParser();

  Result<void> put(std::string& bytes);
  Result<void> put_end();  // the server closed: an error when the answer was not whole by then

  bool header_done() const;
  bool done() const;
  bool keep_alive() const;
  int status() const;
  Headers headers() const;  // names in lower case
  std::string take_body();  // what came since the last call

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Status line and headers of an answer, up to and with the empty line. Line breaks in values are dropped.
std::string response_head(int status, const Headers& headers);

}  // namespace cairn::serve
