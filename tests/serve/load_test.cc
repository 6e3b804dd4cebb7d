// Many requests and bad ones: others do not notice, and memory stays what it was.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <random>

#include "serve/served.h"

namespace cairn::serve {
namespace {

double resident_mb() {
  std::ifstream file("/proc/self/statm");
  double pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

std::string body_of(int i, int tokens) {
  return R"({"prompt":"Number )" + std::to_string(i) + R"( is","max_tokens":)" + std::to_string(tokens) +
         R"(,"ignore_eos":true,"temperature":0,"stream":true})";
}

std::string text_of(const Answer& a) {
  std::string joined;
  for (const Json& e : Served::events(a)) joined += text_at(e, "choices", 0, "text");
  return joined;
}

TEST(Load, MemoryIsFlatOverTwentyThousandRequests) {
  const Served served(kBF16);
  const auto run = [&](int requests) {
    std::atomic<int> left{requests}, bad{0};
    std::vector<std::thread> clients;
    for (int t = 0; t < 32; ++t)
      clients.emplace_back([&] {
        Client client = served.client();
        for (int i = left--; i > 0; i = left--) {
          // Every kind of end: whole, streamed, refused.
          const int kind = i % 4;
          const std::string body = kind == 3 ? R"({"prompt":[-1]})" : body_of(i % 100, 2 + kind);
          bad += client.post("/v1/completions", body).status != (kind == 3 ? 400 : 200);
        }
      });
    for (auto& c : clients) c.join();
    EXPECT_EQ(bad, 0);
  };
  run(4000);
  // What leaks does so with every request; the allocator's pools for threads grow now and then.
  double least = 1e9;
  for (int i = 0; i < 4; ++i) {
    const double before = resident_mb();
    run(4000);
    least = std::min(least, resident_mb() - before);
  }
  EXPECT_LT(least, 2) << "MB more after 4,000 further requests, each time";
  EXPECT_TRUE(soon([&] { return served.idle(); }));
}

TEST(Load, AFloodOfBadRequestsLeavesStreamsUntouched) {
  const Served served;
  std::vector<std::string> expected;
  for (int i = 0; i < 8; ++i) {
    Client client = served.client();
    expected.push_back(text_of(client.post("/v1/completions", body_of(i, 400))));
  }
  std::vector<Client> streams;
  for (int i = 0; i < 8; ++i) {
    streams.push_back(served.client());
    ASSERT_TRUE(streams.back().send_json("/v1/completions", body_of(i, 400)));
  }
  const std::string good =
      R"({"model":"tiny","messages":[{"role":"user","content":"hello"}],"max_tokens":3,"stop":["a"],
    "logit_bias":{"5":1.5},"response_format":{"type":"text"},"tools":[{"type":"function","function":{"name":"f"}}]})";
  std::vector<std::thread> floods;
  std::atomic<int> answered{0};
  for (unsigned seed = 0; seed < 4; ++seed)
    floods.emplace_back([&, seed] {  // broken JSON, byte by byte
      std::mt19937 rng(seed);
      for (int round = 0; round < 400; ++round) {
        std::string body = good;
        for (auto k = rng() % 6 + 1; k > 0; --k) {
          const size_t at_byte = rng() % body.size();
          if (rng() % 3 == 0)
            body.erase(at_byte, rng() % 20);
          else
            body[at_byte] = static_cast<char>(rng());
          if (body.empty()) body = "{";
        }
        Client client = served.client();
        const Answer a = client.post(rng() % 2 ? "/v1/chat/completions" : "/generate", body);
        EXPECT_TRUE(a.status == 200 || a.status == 400 || a.status == 404 || a.status == 422) << a.status << body;
        ++answered;
      }
    });
  floods.emplace_back([&] {  // opened and dropped
    for (int i = 0; i < 10'000; ++i) {
      Client client = served.client();
      if (i % 3 == 1) client.send("POST /v1/comp");
      if (i % 3 == 2) client.reset();
    }
  });
  floods.emplace_back([&] {  // slow, half-closed, and too large
    std::vector<Client> held;
    for (int i = 0; i < 50; ++i) {
      held.push_back(served.client());
      held.back().send(
          "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{");
      Client half = served.client();
      half.send_json("/v1/completions", body_of(i, 5));
      half.end_sending();
      Client huge = served.client();
      huge.send("POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n\r\n");
      EXPECT_EQ(huge.answer().status, 413);
    }
  });
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(text_of(streams[static_cast<size_t>(i)].answer()), expected[static_cast<size_t>(i)]);
  for (auto& f : floods) f.join();
  EXPECT_EQ(answered, 1600);
  EXPECT_TRUE(soon([&] { return served.idle(); }));
  Client after = served.client();
  EXPECT_EQ(after.get("/health").status, 200);
}

}  // namespace
}  // namespace cairn::serve
