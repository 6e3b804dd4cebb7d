#include "serve/http/client.h"

#include <fmt/core.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <optional>

namespace cairn::serve {
namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr auto kAsTuple = asio::as_tuple_t<asio::use_awaitable_t<>>(asio::use_awaitable);

tl::unexpected<Error> lost(std::string what) { return failure(Code::kUnavailable, std::move(what)); }

}  // namespace

std::string Url::authority() const {
  const bool v6 = host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

Result<Url> parse_url(std::string_view text) {
  const std::string shown(text.substr(0, 200));
  if (text.starts_with("https://"))
    return failure(Code::kUnsupported, shown + ": https is not spoken here; put a proxy that ends TLS in between");
  if (text.starts_with("http://")) text.remove_prefix(7);
  const size_t slash = std::min(text.find('/'), text.size());
  std::string_view authority = text.substr(0, slash), path = text.substr(slash);
  Url out;
  while (path.ends_with('/')) path.remove_suffix(1);
  for (const char c : text)
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f || c == '#' || c == '@')
      return invalid(fmt::format("{}: an address must not have the character 0x{:02x}", shown, c));
  out.path = path;
  std::string_view port;
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return invalid(shown + ": a bracket that is not closed");
    out.host = authority.substr(1, end - 1);
    authority.remove_prefix(end + 1);
    if (!authority.empty() && authority[0] != ':') return invalid(shown + ": expected a port behind the bracket");
    if (!authority.empty()) port = authority.substr(1);
  } else {
    const size_t colon = std::min(authority.find(':'), authority.size());
    out.host = authority.substr(0, colon);
    if (colon < authority.size()) port = authority.substr(colon + 1);
  }
  if (out.host.empty()) return invalid(shown + ": there is no host in this address");
  if (!port.empty()) {
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
    if (error != std::errc() || end != port.data() + port.size() || out.port == 0)
      return invalid(fmt::format("{}: \"{}\" is no port", shown, port));
  }
  return out;
}

struct HttpClient::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::any_io_executor executor, Url url, ClientOptions o)
      : server(std::move(url)), options(o), socket(executor), resolver(executor), timer(executor) {}

  // Ends what the connection waits for when the time is up. Disarmed by the next arm() or disarm().
  void arm(std::chrono::milliseconds patience) {
    timed_out = false;
    timer.expires_after(patience);
    timer.async_wait([weak = weak_from_this(), now = ++turn](const error_code& e) {
      const auto self = weak.lock();
      if (e || !self || self->turn != now) return;
      self->timed_out = true;
      self->resolver.cancel();
      error_code ignored;
      self->socket.close(ignored);
    });
  }
  void disarm() {
    ++turn;
    timer.cancel();
  }
  void close() {
    error_code ignored;
    socket.close(ignored);
    bytes.clear();
    parser.reset();
  }
  std::string why(const error_code& e) const {
    if (timed_out) return fmt::format("{} fell silent", server.authority());
    return fmt::format("{}: {}", server.authority(), e.message());
  }

  awaitable<Result<void>> connect() {
    close();
    arm(options.connect_timeout);
    const auto [unknown, found] = co_await resolver.async_resolve(server.host, std::to_string(server.port), kAsTuple);
    if (unknown) {
      disarm();
      co_return lost(fmt::format("cannot find {}: {}", server.host, timed_out ? "no answer" : unknown.message()));
    }
    const auto [refused, where] = co_await asio::async_connect(socket, found, kAsTuple);
    disarm();
    if (refused) {
      const std::string what = timed_out ? "no answer in time" : refused.message();
      close();
      co_return lost(fmt::format("cannot connect to {}: {}", server.authority(), what));
    }
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    co_return Result<void>();
  }

  // More bytes of the answer into the parser.
  awaitable<Result<void>> more() {
    if (!bytes.empty()) {
      const size_t before = bytes.size();
      if (auto ok = parser->put(bytes); !ok) co_return ok;
      if (bytes.size() < before) co_return Result<void>();
    }
    const size_t had = bytes.size();
    bytes.resize(had + (64 << 10));
    arm(options.silence_timeout);
    const auto [e, n] = co_await socket.async_read_some(asio::buffer(bytes.data() + had, bytes.size() - had), kAsTuple);
    disarm();
    bytes.resize(had + n);
    heard = heard || n > 0;
    if (e == asio::error::eof) {
      error_code ignored;
      socket.close(ignored);
      co_return parser->put_end();
    }
    if (e) co_return lost(why(e));
    co_return parser->put(bytes);
  }

  awaitable<Result<Head>> exchange(const std::string& message, bool to_head) {
    heard = false;
    arm(options.silence_timeout);
    const auto [unsent, n] = co_await asio::async_write(socket, asio::buffer(message), kAsTuple);
    disarm();
    if (timed_out) co_return lost(why(unsent));
    // A server that refuses a body answers before it has read it: the answer may be there though the sending failed.
    do {
      parser = std::make_unique<ResponseParser>(options.limits, to_head);
      while (!parser->header_done())
        if (auto ok = co_await more(); !ok) co_return tl::unexpected(std::move(ok).error());
    } while (parser->status() < 200);  // 100 Continue and its like come before the answer
    if (unsent) ended_early = true;
    co_return Head{parser->status(), parser->headers()};
  }

  Url server;
  ClientOptions options;
  tcp::socket socket;
  tcp::resolver resolver;
  asio::steady_timer timer;
  std::unique_ptr<ResponseParser> parser;  // of the answer that is being read
  std::string bytes;                       // read and not parsed
  uint64_t turn = 0;
  bool timed_out = false, heard = false;
  bool ended_early = false;  // the server did not take all of the request: the connection is of no more use
};

HttpClient::HttpClient(asio::any_io_executor executor, Url server, ClientOptions options)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(server), options)) {}

HttpClient::~HttpClient() { impl_->close(); }

awaitable<Result<HttpClient::Head>> HttpClient::send(Request request) {
  const auto self = impl_;
  std::string message =
      fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.target, self->server.authority());
  for (const auto& [name, value] : request.headers) message += fmt::format("{}: {}\r\n", name, value);
  if (!request.body.empty() || request.method == "POST")
    message += fmt::format("Content-Length: {}\r\n", request.body.size());
  message += "\r\n" + request.body;
  const bool kept = self->socket.is_open() && !self->ended_early && self->bytes.empty() && self->parser &&
                    self->parser->done() && self->parser->keep_alive();
  self->ended_early = false;
  if (kept) {
    auto head = co_await self->exchange(message, request.method == "HEAD");
    // Only a server that said nothing at all may have closed before it saw the request.
    if (head || self->heard || self->timed_out) co_return head;
  }
  if (auto ok = co_await self->connect(); !ok) co_return tl::unexpected(std::move(ok).error());
  co_return co_await self->exchange(message, request.method == "HEAD");
}

awaitable<Result<std::string>> HttpClient::read() {
  const auto self = impl_;
  if (!self->parser) co_return std::string();
  for (;;) {
    std::string piece = self->parser->take_body();
    if (!piece.empty() || self->parser->done()) co_return piece;
    if (auto ok = co_await self->more(); !ok) co_return tl::unexpected(std::move(ok).error());
  }
}

awaitable<Result<std::string>> HttpClient::read_all(size_t most) {
  std::string out;
  for (;;) {
    auto piece = co_await read();
    if (!piece || piece->empty()) {
      if (!piece) co_return piece;
      co_return out;
    }
    out += *piece;
    if (out.size() > most) co_return lost(fmt::format("an answer of more than {} bytes", most));
  }
}

}  // namespace cairn::serve
