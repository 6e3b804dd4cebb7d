// The client: addresses, answers in every framing, event streams, and servers that misbehave.
#include "serve/http/client.h"

#include <gmock/gmock.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "serve/client.h"
#include "serve/http/sse_reader.h"

namespace cairn::serve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Url, IsReadWithItsDefaults) {
  const auto all = [](const std::string& text) {
    const Url u = value(parse_url(text));
    return u.host + "|" + std::to_string(u.port) + "|" + u.path + "|" + u.authority();
  };
  EXPECT_EQ(all("http://a.b:30000/c/"), "a.b|30000|/c|a.b:30000");
  EXPECT_EQ(all("localhost"), "localhost|80||localhost:80");
  EXPECT_EQ(all("http://[::1]:8000"), "::1|8000||[::1]:8000");
  EXPECT_EQ(all("[::1]/v1"), "::1|80|/v1|[::1]:80");
}

TEST(Url, RefusesWhatIsNoAddress) {
  for (const char* text :
       {"", "http://", "http://:80", "a:0", "a:65536", "a:b", "a:8 0", "[::1", "[::1]8", "a\r\nb", "user@a", "a#b"})
    EXPECT_FALSE(parse_url(text)) << text;
  EXPECT_THAT(parse_url("https://a").error().what, HasSubstr("https is not spoken"));
}

std::string events(const std::string& bytes, size_t step) {
  SseReader reader;
  std::vector<SseEvent> got;
  for (size_t i = 0; i < bytes.size(); i += step) EXPECT_TRUE(reader.put(bytes.substr(i, step), got));
  std::string out;
  for (const auto& e : got) out += e.name + "=" + e.data + ";";
  return out;
}

TEST(SseReader, ReadsTheSameHoweverTheBytesAreCut) {
  const std::string bytes =
      ": hello\ndata: a\n\nevent: x\r\ndata:b\r\ndata:  c\r\n\r\rid: 1\rdata\r\rretry: 3\nevent: lost\n\ndata: "
      "end\n\ndata: cut";
  for (size_t step = 1; step <= bytes.size(); ++step) EXPECT_EQ(events(bytes, step), "=a;x=b\n c;=;=end;") << step;
}

TEST(SseReader, RefusesAnEventWithoutEnd) {
  SseReader reader;
  std::vector<SseEvent> got;
  const std::string piece(1 << 20, 'a');
  Result<void> last;
  for (int i = 0; i < 70 && last; ++i) last = reader.put(piece, got);
  ASSERT_FALSE(last);
  EXPECT_THAT(last.error().what, HasSubstr("64 MiB"));
}

std::string parsed(const std::string& bytes, size_t step, bool closes = false, bool to_head = false) {
  ResponseParser p(HttpLimits{}, to_head);
  std::string waiting, body;
  for (size_t i = 0; i < bytes.size(); i += step) {
    waiting += bytes.substr(i, step);
    if (const auto ok = p.put(waiting); !ok) return ok.error().what;
    if (p.header_done()) body += p.take_body();
  }
  if (closes)
    if (const auto ok = p.put_end(); !ok) return ok.error().what;
  if (!p.done()) return "not done: " + body;
  return std::to_string(p.status()) + " " + body + p.take_body() + (p.keep_alive() ? " kept" : "");
}

TEST(ResponseParser, ReadsEveryFraming) {
  const std::string head = "HTTP/1.1 200 OK\r\n";
  for (size_t step = 1; step < 200; step += 7) {
    EXPECT_EQ(parsed(head + "Content-Length: 5\r\n\r\nhello", step), "200 hello kept");
    EXPECT_EQ(parsed(head + "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", step),
              "200 hello kept");
    EXPECT_EQ(parsed(head + "\r\nhello", step, true), "200 hello");
    EXPECT_EQ(parsed(head + "Content-Length: 0\r\nConnection: close\r\n\r\n", step), "200 ");
    EXPECT_EQ(parsed(head + "Content-Length: 5\r\n\r\n", step, false, true), "200  kept");
    EXPECT_EQ(parsed("HTTP/1.1 204 No Content\r\n\r\n", step), "204  kept");
  }
}

TEST(ResponseParser, RefusesWhatIsNoAnswer) {
  const std::string head = "HTTP/1.1 200 OK\r\n";
  EXPECT_THAT(parsed("SSH-2.0-x\r\n", 100), HasSubstr("no proper HTTP answer"));
  EXPECT_THAT(parsed(head + "Content-Length: 5\r\n\r\nhel", 100, true), HasSubstr("before the end"));
  EXPECT_THAT(parsed(head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhe", 100, true), HasSubstr("before the end"));
  EXPECT_THAT(parsed(head + "Transfer-Encoding: chunked\r\n\r\nz\r\n", 100), HasSubstr("no proper"));
  EXPECT_THAT(parsed(head + "Content-Length: 99999999999999999\r\n\r\nx", 100), HasSubstr("no proper"));
  EXPECT_THAT(parsed(head + "X: " + std::string(40 << 10, 'x'), 1 << 20), HasSubstr("no proper"));
  EXPECT_THAT(parsed("", 1, true), HasSubstr("before the end"));
}

// Runs requests one after the other on one connection's client; an answer is "status body", or the error.
std::vector<std::string> ask(const Url& server, const std::vector<std::string>& targets, ClientOptions options = {}) {
  boost::asio::io_context io;
  HttpClient client(io.get_executor(), server, options);
  std::vector<std::string> out;
  const auto all = [&client, &targets, &out]() -> boost::asio::awaitable<void> {
    for (const auto& target : targets) {
      HttpClient::Request request{"POST", target, {{"Content-Type", "application/json"}}, "{}"};
      const auto head = co_await client.send(std::move(request));
      if (!head) {
        out.push_back(head.error().what);
        continue;
      }
      const auto body = co_await client.read_all(1000);
      out.push_back(body ? std::to_string(head->status) + " " + *body : body.error().what);
    }
  };
  std::exception_ptr thrown;
  boost::asio::co_spawn(io, all(), [&thrown](std::exception_ptr e) { thrown = e; });
  io.run();
  if (thrown) std::rethrow_exception(thrown);
  return out;
}

Router said_back() {
  Router r;
  r.add({"POST", "/remote", "the client's port",
         [](HttpRequest q, auto reply) { reply->whole(200, "text/plain", q.remote); }});
  r.add({"POST", "/stream", "two pieces", [](HttpRequest, auto reply) {
           auto stream = reply->events();
           stream.write("one ");
           stream.end("two");
         }});
  r.add({"POST", "/broken", "no end", [](HttpRequest, auto reply) { reply->events().write("one"); }});
  r.add({"POST", "/long", "much",
         [](HttpRequest, auto reply) { reply->whole(200, "text/plain", std::string(2000, 'x')); }});
  r.add({"POST", "/never", "no answer",
         [kept = std::make_shared<std::vector<std::shared_ptr<Reply>>>()](HttpRequest, auto reply) {
           kept->push_back(reply);
         }});
  return r;
}

class WithServer : public testing::Test {
 protected:
  WithServer() {
    ServerOptions options;
    options.port = 0;
    server_ = value(Server::start(options, said_back()));
    url_ = Url{"localhost", server_->port(), ""};
  }
  std::unique_ptr<Server> server_;
  Url url_;
};

TEST_F(WithServer, KeepsTheConnectionBetweenRequests) {
  const auto got = ask(url_, {"/remote", "/stream", "/nowhere", "/remote"});
  EXPECT_THAT(got[0], testing::StartsWith("200 "));
  EXPECT_EQ(got[1], "200 one two");
  EXPECT_THAT(got[2], HasSubstr("404"));
  EXPECT_EQ(got[3], got[0]);  // from the same port
}

TEST_F(WithServer, ConnectsAnewAfterAnAnswerThatWasNotReadToItsEnd) {
  const auto got = ask(url_, {"/remote", "/broken", "/remote", "/long", "/remote"});
  EXPECT_THAT(got[1], testing::AnyOf(HasSubstr("before the end of its answer"), HasSubstr("reset")));
  EXPECT_NE(got[2], got[0]);
  EXPECT_THAT(got[3], HasSubstr("more than 1000 bytes"));
  EXPECT_THAT(got[4], testing::StartsWith("200 "));
}

TEST_F(WithServer, GivesUpOnSilence) {
  ClientOptions options;
  options.silence_timeout = 50ms;
  const auto got = ask(url_, {"/never", "/stream"}, options);
  EXPECT_THAT(got[0], HasSubstr("fell silent"));
  EXPECT_EQ(got[1], "200 one two");
}

// A server that answers each connection with the next of these texts, and closes it. Counts connections.
class Scripted {
 public:
  explicit Scripted(std::vector<std::string> answers) : answers_(std::move(answers)) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (bind(listener_, reinterpret_cast<sockaddr*>(&at), size) != 0 || listen(listener_, 8) != 0) std::abort();
    getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] {
      for (const auto& answer : answers_) {
        const int fd = accept(listener_, nullptr, nullptr);
        if (fd < 0) return;
        char space[4096];
        if (recv(fd, space, sizeof space, 0) > 0) (void)!::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
        // The orderly end, and then the client's.
        shutdown(fd, SHUT_WR);
        while (recv(fd, space, sizeof space, 0) > 0) {}
        close(fd);
      }
    });
  }
  ~Scripted() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  Url url() const { return {"127.0.0.1", port_, ""}; }

 private:
  std::vector<std::string> answers_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::thread thread_;
};

TEST(HttpClient, OpensAKeptConnectionAnewThatTheServerClosed) {
  const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  const Scripted server({ok, ok});
  EXPECT_THAT(ask(server.url(), {"/", "/"}), ElementsAre("200 ok", "200 ok"));
}

TEST(HttpClient, SkipsInterimAnswers) {
  const Scripted server(
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok"});
  EXPECT_THAT(ask(server.url(), {"/"}), ElementsAre("200 ok"));
}

TEST(HttpClient, SaysWhatIsWrongWithAServer) {
  const Scripted server({"", "SSH-2.0\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"});
  const auto got = ask(server.url(), {"/", "/", "/"});
  EXPECT_THAT(got[0], HasSubstr("closed the connection before the end"));
  EXPECT_THAT(got[1], HasSubstr("no proper HTTP answer"));
  EXPECT_THAT(got[2], HasSubstr("closed the connection before the end"));
}

TEST(HttpClient, SaysThatAHostIsUnknown) {
  EXPECT_THAT(ask(Url{"no-such-host.invalid", 80, ""}, {"/"})[0], HasSubstr("cannot find no-such-host.invalid"));
}

}  // namespace
}  // namespace cairn::serve
