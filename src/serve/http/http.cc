#include "serve/http/http.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <cstring>
#include <ctime>
#include <random>

#include "base/strings.h"

namespace cairn::serve {
namespace beast = boost::beast;

std::string_view header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return {};
}

Parsed<Json> json_body(const HttpRequest& request) {
  const std::string_view type = request.header("content-type");
  if (lower_ascii(trim(type.substr(0, type.find(';')))) != "application/json") {
    const std::string got = type.empty() ? "none was given" : fmt::format("got \"{}\"", type.substr(0, 100));
    return refused("", fmt::format("the header Content-Type must be application/json, and {}", got));
  }
  if (!valid_utf8(request.body)) return refused("", "the body is not valid UTF-8");
  auto parsed = Json::parse(request.body);
  if (!parsed) return refused("", "the body is " + parsed.error().what);
  if (!parsed->as_object())
    return refused("", fmt::format("the body must be a JSON object, and it is {}", parsed->kind()));
  return *std::move(parsed);
}

std::optional<std::string> percent_decoded(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = digit(text[i + 1]), low = digit(text[i + 2]);
    if (high < 0 || low < 0 || high + low == 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::optional<std::string> query_value(std::string_view query, std::string_view name) {
  for (const std::string& pair : split(query, '&')) {
    const size_t equals = std::min(pair.find('='), pair.size());
    if (percent_decoded(std::string_view(pair).substr(0, equals)) != name) continue;
    std::string value = equals < pair.size() ? pair.substr(equals + 1) : "";
    std::ranges::replace(value, '+', ' ');
    return percent_decoded(value);
  }
  return std::nullopt;
}

std::string_view reason_phrase(int status) {
  if (status == 499) return "Client Closed Request";
  const auto known = beast::http::int_to_status(static_cast<unsigned>(status));
  const auto text = beast::http::obsolete_reason(known);
  return {text.data(), text.size()};
}

std::string new_request_id() {
  thread_local std::mt19937_64 random{[] {
    std::random_device device;
    return (uint64_t{device()} << 32) | device();
  }()};
  const uint64_t high = random(), low = random();
  return fmt::format("{:016x}{:08x}", high, low >> 32);
}

bool sensible_request_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 && std::ranges::all_of(id, [](char c) {
    const bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return alphanumeric || std::string_view("-_.:+/=@").find(c) != std::string_view::npos;
  });
}

bool same_secret(std::string_view given, std::string_view secret) {
  if (secret.empty()) return false;
  unsigned different = given.size() == secret.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    const auto ours = static_cast<unsigned char>(secret[i % secret.size()]);
    different |= static_cast<unsigned char>(given[i]) ^ ours;
  }
  // Keeps the compiler from leaving the loop early.
  const volatile unsigned result = different;
  return result == 0;
}

struct RequestParser::State {
  beast::http::request_parser<beast::http::string_body> parser;
  HttpLimits limits;
  bool began = false;
};

RequestParser::RequestParser(const HttpLimits& limits) : state_(std::make_unique<State>()) {
  state_->limits = limits;
  state_->parser.header_limit(static_cast<uint32_t>(limits.header_bytes));
  state_->parser.body_limit(limits.body_bytes);
}
RequestParser::~RequestParser() = default;

namespace {

ApiError described(const boost::system::error_code& e, const HttpLimits& limits) {
  using beast::http::error;
  if (e == error::header_limit) {
    return {431, fmt::format("the request line and headers are longer than {} bytes", limits.header_bytes), {}, {}};
  }
  if (e == error::body_limit) return {413, fmt::format("the body is larger than {} bytes", limits.body_bytes), {}, {}};
  if (e == error::bad_version) return {505, "this server speaks HTTP/1.1 and HTTP/1.0", {}, {}};
  return {400, "this is no HTTP request: " + e.message(), {}, {}};
}

}  // namespace

tl::expected<void, ApiError> RequestParser::put(std::string& bytes) {
  auto& parser = state_->parser;
  if (!state_->began) {  // RFC 9112, 2.2: empty lines before a request are skipped
    bytes.erase(0, std::min(bytes.find_first_not_of("\r\n"), bytes.size()));
    if (bytes.empty()) return {};
    state_->began = true;
  }
  parser.eager(parser.is_header_done());
  boost::system::error_code e;
  const size_t used = parser.put(boost::asio::const_buffer(bytes.data(), bytes.size()), e);
  bytes.erase(0, used);
  if (e && e != beast::http::error::need_more) return tl::unexpected<ApiError>(described(e, state_->limits));
  // The header's own limit is the parser's; what is left over behind it can only be a line between two chunks.
  if (parser.is_header_done() && !parser.is_done() && bytes.size() > state_->limits.header_bytes)
    if (e) return tl::unexpected<ApiError>(ApiError{400, "a chunk of the body has an endless first line", {}, {}});
  return {};
}

bool RequestParser::header_done() const { return state_->parser.is_header_done(); }
bool RequestParser::done() const { return state_->parser.is_done(); }
bool RequestParser::keep_alive() const { return state_->parser.keep_alive(); }
bool RequestParser::http_1_0() const { return state_->parser.get().version() < 11; }
bool RequestParser::chunked() const { return state_->parser.chunked(); }
size_t RequestParser::body_size() const { return state_->parser.get().body().size(); }

std::optional<uint64_t> RequestParser::content_length() const {
  const auto length = state_->parser.content_length();
  return length ? std::optional<uint64_t>(*length) : std::nullopt;
}

std::string_view RequestParser::expect() const {
  const auto text = state_->parser.get()[beast::http::field::expect];
  return {text.data(), text.size()};
}

std::string RequestParser::take_body() { return std::move(state_->parser.get().body()); }

Parsed<HttpRequest> RequestParser::request() const {
  const auto& message = state_->parser.get();
  HttpRequest out;
  out.method = message.method_string();
  for (const auto& field : message)
    out.headers.emplace_back(lower_ascii(std::string_view(field.name_string().data(), field.name_string().size())),
                             std::string(field.value()));
  std::string target(message.target());
  if (target.starts_with("http://")) {  // the absolute form, which proxies use
    const size_t slash = target.find('/', 7);
    target = slash == std::string::npos ? "/" : target.substr(slash);
  }
  const size_t mark = std::min(target.find('?'), target.size());
  auto path = percent_decoded(std::string_view(target).substr(0, mark));
  if (!path || !valid_utf8(*path) || (!path->starts_with('/') && *path != "*"))
    return refused("", "the target of the request is no valid path");
  out.path = *std::move(path);
  if (mark < target.size()) out.query = target.substr(mark + 1, target.find('#', mark) - mark - 1);
  return out;
}

struct ResponseParser::State {
  beast::http::response_parser<beast::http::string_body> parser;
  HttpLimits limits;
};

ResponseParser::ResponseParser(const HttpLimits& limits, bool to_head) : state_(std::make_unique<State>()) {
  state_->limits = limits;
  state_->parser.header_limit(static_cast<uint32_t>(limits.header_bytes));
  state_->parser.body_limit(limits.body_bytes);
  state_->parser.skip(to_head);
  state_->parser.eager(true);
}
ResponseParser::~ResponseParser() = default;

Result<void> ResponseParser::put(std::string& bytes) {
  auto& parser = state_->parser;
  if (bytes.empty() || parser.is_done()) return {};
  boost::system::error_code e;
  bytes.erase(0, parser.put(boost::asio::const_buffer(bytes.data(), bytes.size()), e));
  const bool more = e == beast::http::error::need_more;
  if (e && !more) return failure(Code::kUnavailable, "the server sent no proper HTTP answer: " + e.message());
  if (more && bytes.size() > state_->limits.header_bytes)
    return failure(Code::kUnavailable, "the server sent a chunk with an endless first line");
  return {};
}

Result<void> ResponseParser::put_end() {
  boost::system::error_code e;
  // Before the first byte put_eof() may not be called.
  if (state_->parser.got_some() && !state_->parser.is_done()) state_->parser.put_eof(e);
  if (e || !state_->parser.is_done())
    return failure(Code::kUnavailable, "the server closed the connection before the end of its answer");
  return {};
}

bool ResponseParser::header_done() const { return state_->parser.is_header_done(); }
bool ResponseParser::done() const { return state_->parser.is_done(); }
bool ResponseParser::keep_alive() const { return state_->parser.keep_alive(); }
int ResponseParser::status() const { return static_cast<int>(state_->parser.get().result_int()); }
std::string ResponseParser::take_body() { return std::exchange(state_->parser.get().body(), {}); }

Headers ResponseParser::headers() const {
  Headers out;
  for (const auto& field : state_->parser.get())
    out.emplace_back(lower_ascii(std::string_view(field.name_string().data(), field.name_string().size())),
                     std::string(field.value()));
  return out;
}

std::string response_head(int status, const Headers& headers) {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::string out = fmt::format("HTTP/1.1 {} {}\r\nDate: {}, {:02} {} {} {:02}:{:02}:{:02} GMT\r\n", status,
                                reason_phrase(status), days[utc.tm_wday], utc.tm_mday, months[utc.tm_mon],
                                utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
  for (const auto& [name, value] : headers) {
    out += name;
    out += ": ";
    for (const char c : value)
      if (c != '\r' && c != '\n') out += c;
    out += "\r\n";
  }
  return out += "\r\n";
}

}  // namespace cairn::serve
