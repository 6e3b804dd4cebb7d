// A plain client on a blocking socket, which can also misbehave; and what the tests of this folder share.
#pragma once
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/json.h"
#include "base/strings.h"
#include "serve/http/server.h"

namespace cairn::serve {

using namespace std::chrono_literals;

template <class T, class E>
T value(tl::expected<T, E> r) {
  if (r) return *std::move(r);
  if constexpr (std::is_same_v<E, Error>) throw std::runtime_error(r.error().what);
  if constexpr (std::is_same_v<E, ApiError>) throw std::runtime_error(r.error().message);
}

// Whether `done` comes true within ten seconds.
template <class F>
bool soon(F done) {
  for (const auto end = std::chrono::steady_clock::now() + 10s; std::chrono::steady_clock::now() < end;) {
    if (done()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return done();
}

struct Answer {
  int status = 0;   // 0: the connection ended before a whole head
  Headers headers;  // names in lower case
  std::string body;
  bool whole = false;  // all of the body, as its framing says
};

inline const std::string kJson = "application/json";

class Client {
 public:
  explicit Client(uint16_t port, int receive_buffer = 0) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    if (receive_buffer > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0)
      throw std::runtime_error(std::string("connect: ") + std::strerror(errno));
  }
  ~Client() { close(); }
  Client(Client&& other) noexcept : fd_(std::exchange(other.fd_, -1)), bytes_(std::move(other.bytes_)) {}
  Client(const Client&) = delete;

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  // Closes with a reset instead of an orderly end.
  void reset() {
    const linger hard{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close();
  }
  void end_sending() { shutdown(fd_, SHUT_WR); }

  // False when the server has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  // Reads on until `text` has come; false when the connection ended or fell silent before. Returns by `bytes()`.
  bool read_until(std::string_view text, std::chrono::milliseconds patience = 60s) {
    while (bytes_.find(text) == std::string::npos)
      if (!more(patience)) return false;
    return true;
  }
  // True when the server closes within the time.
  bool closed(std::chrono::milliseconds patience = 60s) {
    while (more(patience)) {}
    return ended_;
  }
  const std::string& bytes() const { return bytes_; }

  // One answer, taken off the front of what came.
  Answer answer(bool head_only = false) {
    Answer out;
    if (!read_until("\r\n\r\n")) return out;
    const size_t end = bytes_.find("\r\n\r\n");
    const auto lines = split(bytes_.substr(0, end), '\n');
    bytes_.erase(0, end + 4);
    out.status = std::stoi(lines[0].substr(9, 3));
    for (size_t i = 1; i < lines.size(); ++i) {
      const size_t colon = lines[i].find(':');
      out.headers.emplace_back(lower_ascii(lines[i].substr(0, colon)), trim(lines[i].substr(colon + 1)));
    }
    if (head_only || out.status == 204 || out.status == 100) return out.whole = true, out;
    if (header(out.headers, "transfer-encoding") == "chunked") return chunks(out), out;
    const std::string length(header(out.headers, "content-length"));
    while (length.empty() ? true : bytes_.size() < std::stoul(length))
      if (!more(60s)) break;
    const size_t size = length.empty() ? bytes_.size() : std::min(bytes_.size(), std::stoul(length));
    out.body = bytes_.substr(0, size);
    out.whole = length.empty() ? ended_ : size == std::stoul(length);
    bytes_.erase(0, size);
    return out;
  }

  Answer get(const std::string& path, const std::string& headers = "") {
    send("GET " + path + " HTTP/1.1\r\nHost: t\r\n" + headers + "\r\n");
    return answer();
  }
  bool send_json(const std::string& path, const std::string& body, const std::string& headers = "",
                 const std::string& type = kJson) {
    return send("POST " + path + " HTTP/1.1\r\nHost: t\r\nContent-Type: " + type +
                "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers + "\r\n" + body);
  }
  Answer post(const std::string& path, const std::string& body, const std::string& headers = "",
              const std::string& type = kJson) {
    send_json(path, body, headers, type);
    return answer();
  }

 private:
  bool more(std::chrono::milliseconds patience) {
    pollfd p{fd_, POLLIN, 0};
    if (poll(&p, 1, static_cast<int>(patience.count())) <= 0) return false;
    char space[65536];
    const ssize_t n = recv(fd_, space, sizeof space, 0);
    if (n <= 0) return ended_ = true, false;
    bytes_.append(space, static_cast<size_t>(n));
    return true;
  }
  void chunks(Answer& out) {
    for (;;) {
      if (!read_until("\r\n")) return;
      const size_t line = bytes_.find("\r\n"), size = std::stoul(bytes_.substr(0, line), nullptr, 16);
      while (bytes_.size() < line + 2 + size + 2)
        if (!more(60s)) return;
      out.body += bytes_.substr(line + 2, size);
      bytes_.erase(0, line + 2 + size + 2);
      if (size == 0) {
        out.whole = true;
        return;
      }
    }
  }

  int fd_ = -1;
  std::string bytes_;
  bool ended_ = false;
};

}  // namespace cairn::serve
