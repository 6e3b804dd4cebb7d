// What well-behaved clients see.
#include "serve/http/server.h"

#include <gmock/gmock.h>

#include "serve/http/toy.h"

namespace cairn::serve {
namespace {

using testing::HasSubstr;

TEST(Server, AnswersManyRequestsOnOneConnection) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  for (int i = 0; i < 50; ++i) EXPECT_EQ(client.post("/echo", std::to_string(i)).body, std::to_string(i));
  EXPECT_EQ(server->connections(), 1u);
}

TEST(Server, AnswersPipelinedRequestsInTheirOrder) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  std::string all;
  for (int i = 0; i < 2000; ++i) {
    const std::string body = std::to_string(i);
    all += "POST /echo HTTP/1.1\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    if (i % 100 == 0) all += "\r\n";  // an empty line before a request is nothing
  }
  std::thread sender([&] { client.send(all); });
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(client.answer().body, std::to_string(i));
  sender.join();
}

TEST(Server, KeepsWhatIsPipelinedBehindAStream) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  client.send("GET /ticks?n=20 HTTP/1.1\r\n\r\n");
  std::this_thread::sleep_for(3ms);
  client.send("GET /hello HTTP/1.1\r\n\r\n");
  EXPECT_THAT(client.answer().body, HasSubstr("data: 19\n\ndata: [DONE]\n\n"));
  EXPECT_EQ(client.answer().body, "hello\n");
}

TEST(Server, StreamsEventsInChunks) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  const Answer answer = client.get("/ticks?n=100");
  std::string expected;
  for (int i = 0; i < 100; ++i) expected += sse(std::to_string(i));
  EXPECT_EQ(answer.body, expected + std::string(kSseDone));
  EXPECT_TRUE(answer.whole);
  EXPECT_EQ(header(answer.headers, "content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(header(answer.headers, "cache-control"), "no-cache");
  EXPECT_EQ(client.get("/hello").body, "hello\n");  // the connection goes on
}

TEST(Server, SendsWhatIsWrittenWithoutWaitingForMore) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  client.send("GET /open HTTP/1.1\r\n\r\n");
  Stream stream = toy.opened();
  EXPECT_TRUE(client.read_until("\r\n\r\n"));
  for (const char* text : {"one", "two"}) {
    EXPECT_EQ(stream.write(sse(text)), Stream::Push::kQueued);
    EXPECT_TRUE(client.read_until(text));
  }
  stream.end();
  EXPECT_EQ(stream.write("late"), Stream::Push::kGone);
  EXPECT_TRUE(client.read_until("\r\n0\r\n\r\n"));
}

TEST(Server, EndsAStreamToAnOldClientByClosing) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  client.send("GET /ticks?n=3 HTTP/1.0\r\n\r\n");
  const Answer answer = client.answer();
  EXPECT_EQ(header(answer.headers, "transfer-encoding"), "");
  EXPECT_EQ(answer.body, "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: [DONE]\n\n");
  EXPECT_TRUE(answer.whole);
}

TEST(Server, KeepsAnOldClientsConnectionWhenAsked) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  client.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(header(client.answer().headers, "connection"), "keep-alive");
  client.send("GET /hello HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.answer().body, "hello\n");
  EXPECT_TRUE(client.closed());
}

TEST(Server, CutsAStreamThatItsProducerAbandons) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  client.send("GET /open HTTP/1.1\r\n\r\n");
  {
    Stream stream = toy.opened();
    stream.write("half");
    EXPECT_TRUE(client.read_until("half"));
  }
  EXPECT_FALSE(client.answer().whole);
  ASSERT_TRUE(soon([&] { return !toy.records().empty(); }));
  EXPECT_STREQ(toy.records()[0].outcome, "cut");
}

TEST(Server, AnswersHeadWithoutABody) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  client.send("HEAD /hello HTTP/1.1\r\n\r\n");
  const Answer answer = client.answer(true);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(header(answer.headers, "content-length"), "6");
  client.send("HEAD /open HTTP/1.1\r\n\r\n");
  EXPECT_EQ(client.answer(true).status, 200);
  EXPECT_EQ(client.get("/hello").body, "hello\n");
  EXPECT_EQ(toy.opened().write("x"), Stream::Push::kGone);
}

TEST(Server, SaysWhichMethodsThereAre) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  client.send("OPTIONS /hello HTTP/1.1\r\n\r\n");
  const Answer options = client.answer();
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(header(options.headers, "allow"), "GET, HEAD, OPTIONS");
  const Answer wrong = client.post("/hello", "{}");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(header(wrong.headers, "allow"), "GET, HEAD, OPTIONS");
  EXPECT_THAT(error_of(wrong), HasSubstr("does not answer to POST"));
  const Answer missing = client.get("/helo");
  EXPECT_EQ(missing.status, 404);
  EXPECT_THAT(error_of(missing), HasSubstr("did you mean /hello?"));
  EXPECT_EQ(error_of(missing, "type"), "invalid_request_error");
  EXPECT_EQ(client.get("/models/org/name%20x").body, "org/name x");
  EXPECT_EQ(client.get("/models/").status, 404);
}

TEST(Server, AsksForTheKeyWhereThereIsOne) {
  Toy toy;
  ServerOptions options;
  options.api_key = "secret";
  const auto server = toy.serve(options);
  Client client(server->port());
  EXPECT_EQ(client.get("/hello").status, 200);  // an open route
  for (const char* headers : {"", "Authorization: Bearer wrong\r\n", "Authorization: Bearer secretsecret\r\n",
                              "Authorization: Bearer \r\n", "Authorization: Basic secret\r\n"}) {
    const Answer answer = Client(server->port()).post("/echo", "{}", headers);
    EXPECT_EQ(answer.status, 401) << headers;
    EXPECT_EQ(header(answer.headers, "www-authenticate"), "Bearer");
    EXPECT_EQ(error_of(answer, "code"), "invalid_api_key");
  }
  EXPECT_EQ(client.get("/nowhere").status, 401);  // nor does it tell which routes there are
  EXPECT_EQ(client.post("/echo", "{}", "Authorization: bearer  secret\r\n").status, 200);
}

TEST(Server, LetsOtherOriginsReadOnlyWhenTold) {
  Toy toy;
  const auto closed = toy.serve();
  EXPECT_EQ(header(Client(closed->port()).get("/hello", "Origin: http://a\r\n").headers, "access-control-allow-origin"),
            "");
  ServerOptions options;
  options.cors_origins = {"http://a"};
  const auto open = toy.serve(options);
  Client client(open->port());
  const Answer good = client.get("/hello", "Origin: http://a\r\n");
  EXPECT_EQ(header(good.headers, "access-control-allow-origin"), "http://a");
  EXPECT_EQ(header(good.headers, "vary"), "Origin");
  EXPECT_EQ(header(client.get("/hello", "Origin: http://b\r\n").headers, "access-control-allow-origin"), "");
  client.send(
      "OPTIONS /echo HTTP/1.1\r\nOrigin: http://a\r\nAccess-Control-Request-Method: POST\r\n"
      "Access-Control-Request-Headers: authorization, x-stainless-os\r\n\r\n");
  const Answer preflight = client.answer();
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(header(preflight.headers, "access-control-allow-methods"), "POST, OPTIONS");
  EXPECT_EQ(header(preflight.headers, "access-control-allow-headers"), "authorization, x-stainless-os");
}

TEST(Server, GivesEveryRequestAnId) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  EXPECT_EQ(header(client.get("/hello", "X-Request-Id: mine-1\r\n").headers, "x-request-id"), "mine-1");
  const std::string made(header(client.get("/hello").headers, "x-request-id"));
  EXPECT_EQ(made.size(), 24u);
  EXPECT_NE(header(client.get("/hello").headers, "x-request-id"), made);
  EXPECT_NE(header(client.get("/hello", "X-Request-Id: a b\"\r\n").headers, "x-request-id"), "a b\"");
}

TEST(Server, LogsEveryRequestOnce) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  client.post("/echo", "{\"a\":1}", "X-Request-Id: one\r\n");
  client.get("/nowhere");
  ASSERT_TRUE(soon([&] { return toy.records().size() == 2; }));
  const auto log = toy.records();
  EXPECT_EQ(log[0].request_id, "one");
  EXPECT_EQ(log[0].path, "/echo");
  EXPECT_EQ(log[0].bytes_in, 7u);
  EXPECT_EQ(log[0].bytes_out, 7u);
  EXPECT_EQ(log[1].status, 404);
  const Json line = value(Json::parse(access_line(log[0])));
  EXPECT_EQ(line.text("method"), "POST");
  EXPECT_EQ(line.find("status")->number(), 200);
  EXPECT_GE(line.find("seconds")->number(), line.find("first_byte_seconds")->number());
}

TEST(Server, TurnsWhatHandlersThrowIntoAnswers) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  EXPECT_EQ(client.get("/throws").status, 500);
  const Answer busy = client.get("/fails");
  EXPECT_EQ(busy.status, 503);
  EXPECT_EQ(error_of(busy), "not now");
  EXPECT_EQ(header(busy.headers, "retry-after"), "1");
  EXPECT_EQ(client.get("/silent").status, 500);
  EXPECT_EQ(client.get("/hello").status, 200);
}

TEST(Server, TakesBodiesInChunksAndAfterAContinue) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  client.send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  std::this_thread::sleep_for(2ms);
  client.send("4;x=y\r\ndefg\r\n0\r\n\r\n");
  EXPECT_EQ(client.answer().body, "abcdefg");
  client.send("POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  EXPECT_EQ(client.answer().status, 100);
  client.send("xyz");
  EXPECT_EQ(client.answer().body, "xyz");
}

TEST(Server, WritesLargeAnswersWhole) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  EXPECT_EQ(client.get("/big?n=20000000").body.size(), 20'000'000u);
  const std::string body(10'000'000, 'y');
  EXPECT_EQ(client.post("/echo", body).body, body);
}

TEST(Server, SaysWhyItCannotListen) {
  Toy toy;
  const auto server = toy.serve();
  ServerOptions options;
  options.port = server->port();
  auto second = Server::start(options, toy.router());
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().what, HasSubstr("--port 0 picks a free one"));
  options.host = "no.such.host.invalid";
  second = Server::start(options, toy.router());
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().what, HasSubstr("no.such.host.invalid"));
}

TEST(Drain, FinishesWhatIsInFlightAndClosesTheRest) {
  Toy toy;
  const auto server = toy.serve();
  Client idle(server->port()), busy(server->port());
  EXPECT_EQ(idle.get("/hello").status, 200);
  busy.send("GET /ticks?n=100&pause=1000 HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(busy.read_until("data: 0"));
  std::thread drain([&] { EXPECT_TRUE(server->drain(20s)); });
  EXPECT_TRUE(idle.closed());
  EXPECT_THAT(busy.answer().body, HasSubstr("data: 99\n\ndata: [DONE]"));
  EXPECT_TRUE(busy.closed());
  drain.join();
  EXPECT_THROW(Client(server->port()), std::runtime_error);
}

TEST(Drain, CutsWhatTakesTooLong) {
  Toy toy;
  const auto server = toy.serve();
  Client client(server->port());
  client.send("GET /never HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(soon([&] { return toy.kept_count() == 1; }));
  EXPECT_FALSE(server->drain(50ms));
  EXPECT_EQ(toy.told_gone, 1);
  EXPECT_TRUE(client.closed());
}

TEST(Drain, RepliesMayOutliveTheServer) {
  Toy toy;
  {
    const auto server = toy.serve();
    Client client(server->port());
    client.send("GET /never HTTP/1.1\r\n\r\n");
    ASSERT_TRUE(soon([&] { return toy.kept_count() == 1; }));
  }
  EXPECT_TRUE(toy.kept[0]->gone());
  toy.kept[0]->json(200, "{}");
}

}  // namespace
}  // namespace cairn::serve
