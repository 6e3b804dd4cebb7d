// What clients do to a server: leave, stall, flood, and send what is no HTTP.
#include <gmock/gmock.h>

#include <fstream>
#include <random>

#include "serve/http/toy.h"

// Freed memory that the address sanitizer holds back would look like growth.
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=4"; }

namespace cairn::serve {
namespace {

using testing::HasSubstr;

size_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  size_t pages = 0, resident = 0;
  in >> pages >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// The answer to raw bytes, and that the server closes after it.
Answer refused(Server& server, const std::string& bytes) {
  Client client(server.port());
  client.send(bytes);
  Answer answer = client.answer();
  EXPECT_TRUE(client.closed()) << bytes.substr(0, 60);
  EXPECT_EQ(header(answer.headers, "connection"), "close") << bytes.substr(0, 60);
  return answer;
}

TEST(BadRequests, GetAnAnswerThatNamesTheFault) {
  Toy toy;
  ServerOptions options;
  options.limits.header_bytes = 4096;
  options.limits.body_bytes = 100'000;
  const auto server = toy.serve(options);
  const auto status = [&](const std::string& bytes) { return refused(*server, bytes).status; };
  EXPECT_EQ(status("\x16\x03\x01\x02garbage\r\n\r\n"), 400);
  EXPECT_EQ(status("GET / HTTP/9.9\r\n\r\n"), 505);
  EXPECT_EQ(status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
  EXPECT_EQ(status("GET /%zz HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status("GET nowhere HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /hello HTTP/1.1\r\nA: " + std::string(5000, 'a') + "\r\n\r\n"), 431);
  EXPECT_EQ(status("GET /" + std::string(5000, 'a') + " HTTP/1.1\r\n\r\n"), 431);
  EXPECT_EQ(status(std::string(10'000, 'A')), 431);
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nContent-Length: 100001\r\n\r\n"), 413);
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"), 400);
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400);
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 400);
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(80'000, 'x')), 400);
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + std::string(131072, 'x')),
            413);
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n"), 417);
  EXPECT_EQ(status("POST /nowhere HTTP/1.1\r\nContent-Length: 50000\r\n\r\n"), 404);
  const Answer large =
      refused(*server, "POST /echo HTTP/1.1\r\nContent-Length: 100001\r\n\r\n" + std::string(100'001, 'x'));
  EXPECT_THAT(error_of(large), HasSubstr("larger than 100000 bytes"));
  EXPECT_EQ(error_of(large, "type"), "invalid_request_error");
}

TEST(BadRequests, NamesWhatIsWrongWithABody) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  EXPECT_EQ(client.post("/strict", "{\"a\":1}").body, "{\"a\":1}");
  EXPECT_THAT(error_of(client.post("/strict", "{\"a\":")), HasSubstr("line 1, column 6"));
  EXPECT_THAT(error_of(client.post("/strict", "[1]")), HasSubstr("must be a JSON object"));
  EXPECT_THAT(error_of(client.post("/strict", "{\"a\":\"\xff\"}")), HasSubstr("UTF-8"));
  EXPECT_THAT(error_of(client.post("/strict", std::string(100'000, '['))), HasSubstr("nested deeper"));
  client.send("POST /strict HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_THAT(error_of(client.answer()), HasSubstr("application/json"));
}

TEST(SlowClients, AreToldAndClosed) {
  Toy toy;
  ServerOptions options;
  options.read_timeout = 100ms;
  options.idle_timeout = 100ms;
  const auto server = toy.serve(options);
  EXPECT_EQ(refused(*server, "GET /hello HT").status, 408);
  EXPECT_EQ(refused(*server, "POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc").status, 408);
  EXPECT_TRUE(Client(server->port()).closed());  // says nothing: hears nothing
  // A byte now and then does not renew the time that a header has.
  Client drip(server->port());
  const auto began = std::chrono::steady_clock::now();
  for (const char c : std::string("GET /hello HTTP/1.1\r\nA: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"))
    if (!drip.send(std::string(1, c)))
      break;
    else
      std::this_thread::sleep_for(10ms);
  EXPECT_EQ(drip.answer().status, 408);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
}

TEST(SlowClients, DoNotKeepOthersWaiting) {
  Toy toy;
  ServerOptions options;
  options.read_timeout = 20s;
  const auto server = toy.serve(options);
  std::vector<Client> slow;
  for (int i = 0; i < 300; ++i)
    slow.emplace_back(server->port()).send(i % 2 ? "GET /hel" : "POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\nab");
  Client client(server->port());
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(client.get("/hello").status, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
}

// Writes until the client's buffers and the stream's queue are full, and stay so.
void fill(Stream& stream) {
  const std::string piece(1000, 'x');
  for (int stalls = 0; stalls < 5;) {
    if (stream.write(piece) == Stream::Push::kQueued) {
      stalls = 0;
    } else {
      ++stalls;
      std::this_thread::sleep_for(10ms);
    }
  }
}

TEST(SlowClients, AStreamThatNobodyReadsFillsItsQueueAndNoMore) {
  Toy toy;
  ServerOptions options;
  options.stream_buffer_bytes = 1 << 16;
  options.write_timeout = 1s;
  const auto server = toy.serve(options);
  Client slow(server->port(), 4096), other(server->port());
  slow.send("GET /open HTTP/1.1\r\n\r\n");
  Stream stream = toy.opened();
  std::atomic<bool> room{false};
  fill(stream);
  EXPECT_LE(stream.queued_bytes(), 1u << 16);
  stream.on_room([&] { room = true; });
  EXPECT_EQ(other.get("/hello").body, "hello\n");
  EXPECT_FALSE(room);
  slow.read_until("nothing like it", 50ms);  // takes what there is, so that the queue moves on
  EXPECT_TRUE(soon([&] { return room.load(); }));
  fill(stream);
  EXPECT_TRUE(soon([&] { return toy.told_gone == 1; }));  // and when it does not, the client is given up
  EXPECT_TRUE(stream.gone());
  ASSERT_TRUE(soon([&] { return toy.records().size() == 2; }));
  EXPECT_STREQ(toy.records()[1].outcome, "timeout");
}

TEST(Disconnects, AreToldAtOnceWhileAnAnswerIsAwaited) {
  Toy toy;
  const auto server = toy.serve();
  for (int i = 0; i < 20; ++i) {
    Client client(server->port());
    client.send("GET /never HTTP/1.1\r\n\r\n");
    if (i % 3 == 1) client.send("GET /hello HTTP/1.1\r\n\r\n");  // pipelined, so that there is something to read
    ASSERT_TRUE(soon([&] { return toy.kept_count() == static_cast<size_t>(i) + 1; }));
    const auto left = std::chrono::steady_clock::now();
    i % 2 ? client.reset() : client.close();
    ASSERT_TRUE(soon([&] { return toy.told_gone == i + 1; })) << i;
    EXPECT_LT(std::chrono::steady_clock::now() - left, 1s);
  }
  EXPECT_TRUE(soon([&] { return server->connections() == 0; }));
  const auto log = toy.records();
  ASSERT_EQ(log.size(), 20u);
  EXPECT_EQ(log[0].status, 499);
  EXPECT_STREQ(log[0].outcome, "client left");
}

TEST(Disconnects, EndStreamsMidway) {
  Toy toy;
  const auto server = toy.serve();
  std::vector<Client> clients;
  for (int i = 0; i < 100; ++i) clients.emplace_back(server->port()).send("GET /ticks?n=100000 HTTP/1.1\r\n\r\n");
  for (auto& client : clients) ASSERT_TRUE(client.read_until("data: 3"));
  for (size_t i = 0; i < 50; ++i) i % 2 ? clients[i].reset() : clients[i].close();
  EXPECT_TRUE(soon([&] { return toy.told_gone == 50; }));
  EXPECT_TRUE(soon([&] { return toy.ticker.live() == 50; }));
  const std::string before = clients[99].bytes();
  EXPECT_TRUE(clients[99].read_until("data: 50\n"));  // the others go on
}

TEST(Disconnects, AFloodBehindARequestIsNotReadWithoutBound) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  client.send("GET /never HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(soon([&] { return toy.kept_count() == 1; }));
  const size_t before = resident_bytes();
  std::thread flood([&] {
    const std::string junk(1 << 20, 'x');
    for (int i = 0; i < 256 && client.send(junk); ++i) {}
  });
  std::this_thread::sleep_for(200ms);
  EXPECT_LT(resident_bytes(), before + (32u << 20));
  EXPECT_EQ(Client(server->port()).get("/hello").status, 200);
  toy.kept[0]->json(200, "{}");  // the answer comes, then what follows turns out to be no request
  flood.join();
  EXPECT_EQ(client.answer().status, 200);
  EXPECT_TRUE(soon([&] { return server->connections() == 0; }));
}

TEST(Disconnects, AHalfClosedClientGetsWhatIsReady) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  client.send("GET /hello HTTP/1.1\r\n\r\nGET /big?n=5000000 HTTP/1.1\r\n\r\n");
  client.end_sending();
  EXPECT_EQ(client.answer().body, "hello\n");
  EXPECT_EQ(client.answer().body.size(), 5'000'000u);
  EXPECT_TRUE(client.closed());
  Client waits(server->port());
  waits.send("GET /never HTTP/1.1\r\n\r\n");
  waits.end_sending();
  EXPECT_TRUE(waits.closed());
  EXPECT_EQ(toy.told_gone, 1);
}

TEST(Load, FiveHundredTwelveStreamsAtOnce) {
  Toy toy;
  const auto server = toy.serve();
  std::vector<Client> clients;
  for (int i = 0; i < 512; ++i) clients.emplace_back(server->port()).send("GET /ticks?n=50 HTTP/1.1\r\n\r\n");
  std::string expected;
  for (int i = 0; i < 50; ++i) expected += sse(std::to_string(i));
  for (auto& client : clients) {
    const Answer answer = client.answer();
    ASSERT_TRUE(answer.whole);
    ASSERT_EQ(answer.body, expected + std::string(kSseDone));
  }
}

TEST(Load, ConnectionsBeyondTheLimitAreToldSo) {
  Toy toy;
  ServerOptions options;
  options.most_connections = 4;
  const auto server = toy.serve(options);
  std::vector<Client> clients;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(clients.emplace_back(server->port()).get("/hello").status, 200);
  Client fifth(server->port());
  fifth.send("GET /hello HTTP/1.1\r\n\r\n");
  const Answer answer = fifth.answer();
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(error_of(answer, "code"), "too_many_connections");
  EXPECT_EQ(clients[0].get("/hello").status, 200);
  clients.pop_back();
  fifth.close();
  EXPECT_TRUE(soon([&] { return Client(server->port()).get("/hello").status == 200; }));
}

TEST(Load, BodiesTogetherHaveALimit) {
  Toy toy;
  ServerOptions options;
  options.most_buffered_bytes = 100'000;
  const auto server = toy.serve(options);
  std::vector<Client> clients;
  for (int i = 0; i < 4; ++i)
    clients.emplace_back(server->port())
        .send("POST /echo HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + std::string(20'000, 'x'));
  std::this_thread::sleep_for(50ms);
  Client fifth(server->port());
  EXPECT_EQ(fifth.post("/echo", std::string(50'000, 'x')).status, 503);
  clients.clear();
  EXPECT_TRUE(soon([&] { return Client(server->port()).post("/echo", std::string(90'000, 'x')).status == 200; }));
}

// Opens and drops connections in every state, while a stream runs on.
void churn(uint16_t port, int count) {
  const char* openings[] = {"", "GET", "GET /hello HTTP/1.1\r\n\r\n", "GET /ticks?n=1000000 HTTP/1.1\r\n\r\n",
                            "POST /echo HTTP/1.1\r\nContent-Length: 1000\r\n\r\nab"};
  for (int i = 0; i < count; ++i) {
    Client client(port);
    client.send(openings[i % 5]);
    if (i % 3 == 0) client.reset();
  }
}

TEST(Load, TenThousandConnectionsLeaveNothingBehind) {
  Toy toy;
  const auto server = toy.serve();
  Client witness(server->port());
  witness.send("GET /ticks?n=100000000 HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(witness.read_until("data: 0"));
  churn(server->port(), 2000);  // until pools and arenas have their size
  ASSERT_TRUE(soon([&] { return server->connections() == 1 && toy.ticker.live() == 1; }));
  const size_t before = resident_bytes();
  toy.forget_log();
  churn(server->port(), 10'000);
  ASSERT_TRUE(soon([&] { return server->connections() == 1 && toy.ticker.live() == 1; }));
  toy.forget_log();
  EXPECT_LT(resident_bytes(), before + (24u << 20));
  const size_t seen = witness.bytes().size();
  EXPECT_TRUE(soon([&] { return !witness.read_until("no such text", 1ms) && witness.bytes().size() > seen; }));
}

TEST(Load, RandomBytesDisturbNobody) {
  Toy toy;
  const auto server = toy.serve();
  std::mt19937 random(7);
  const std::string sample =
      "POST /strict HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: "
      "chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n";
  for (int i = 0; i < 1500; ++i) {
    std::string bytes = sample;
    for (auto k = random() % 6 + 1; k > 0; --k) {
      const size_t at = random() % bytes.size();
      if (random() % 3 == 0)
        bytes.erase(at, random() % 9);
      else if (random() % 2)
        bytes[at] = static_cast<char>(random());
      else
        bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 30));
      if (bytes.empty()) break;
    }
    Client client(server->port());
    client.send(bytes);
    client.end_sending();
    ASSERT_TRUE(client.closed()) << bytes;
  }
  EXPECT_EQ(Client(server->port()).get("/hello").status, 200);
  EXPECT_TRUE(soon([&] { return server->connections() == 0; }));
}

}  // namespace
}  // namespace cairn::serve
