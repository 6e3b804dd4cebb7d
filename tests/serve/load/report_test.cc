// Readers of answers, and what is computed from them.
#include "serve/load/report.h"

#include <gmock/gmock.h>

namespace cairn::serve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

LoadPrompt prompt(int64_t tokens) { return {"p", {}, tokens, 5}; }
std::string native(const std::string& text, int64_t tokens, const std::string& finish = "null") {
  return R"({"text":")" + text + R"(","meta_info":{"prompt_tokens":7,"completion_tokens":)" + std::to_string(tokens) +
         R"(,"cached_tokens":2,"finish_reason":)" + finish + "}}";
}
std::string chunk(const std::string& text, const std::string& finish = "null") {
  return R"({"choices":[{"index":0,"text":")" + text + R"(","finish_reason":)" + finish + "}]}";
}

TEST(Spread, IsWhatNumPyGives) {
  const Spread s({0.004, 0.001, 0.003, 0.002});
  EXPECT_DOUBLE_EQ(s.mean, 2.5);
  EXPECT_DOUBLE_EQ(s.median, 2.5);
  EXPECT_NEAR(s.std, 1.118033988749895, 1e-12);
  EXPECT_NEAR(s.p90, 3.7, 1e-12);
  EXPECT_NEAR(s.p95, 3.85, 1e-12);
  EXPECT_NEAR(s.p99, 3.97, 1e-12);
  EXPECT_DOUBLE_EQ(s.max, 4);
  EXPECT_DOUBLE_EQ(Spread({}).p99, 0);
  EXPECT_DOUBLE_EQ(Spread({0.002}).p99, 2);
}

TEST(AnswerReader, SharesATimeAmongTokensThatComeTogether) {
  AnswerReader r(Backend::kSglang, prompt(1), true);
  r.take(native("a", 1), 0.5);
  r.take(native("a", 1), 0.6);  // nothing new
  r.take(native("a b c", 3), 0.9);
  r.take(native("a b c d", 4, R"({"type":"length","length":4})"), 1.0);
  r.take("[DONE]", 1.0);
  const auto o = r.finish(1.1);
  EXPECT_TRUE(o.ok) << o.error;
  EXPECT_EQ(o.ttft, 0.5);
  ASSERT_EQ(o.itl.size(), 3u);
  EXPECT_DOUBLE_EQ(o.itl[0], 0.2);
  EXPECT_DOUBLE_EQ(o.itl[1], 0.2);
  EXPECT_NEAR(o.itl[2], 0.1, 1e-12);
  EXPECT_EQ(o.prompt_tokens, 7);
  EXPECT_EQ(o.cached_tokens, 2);
  EXPECT_EQ(o.output_tokens, 4);
  EXPECT_EQ(o.text, "a b c d");
  EXPECT_DOUBLE_EQ(o.latency, 1.1);
}

TEST(AnswerReader, CountsEventsWhereNobodyCountsTokensAndBelievesTheUsage) {
  AnswerReader r(Backend::kCompletions, prompt(3), true);
  r.take(chunk("a"), 0.1);
  r.take(chunk(""), 0.2);
  r.take(chunk("b"), 0.3);
  r.take(chunk("", R"("length")"), 0.4);
  EXPECT_EQ(AnswerReader(r).finish(0.5).output_tokens, 2);
  r.take(
      R"({"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":8}}})",
      0.5);
  const auto o = r.finish(0.6);
  EXPECT_TRUE(o.ok);
  EXPECT_THAT(o.itl, ElementsAre(testing::DoubleNear(0.2, 1e-12)));
  EXPECT_EQ(o.output_tokens, 4);
  EXPECT_EQ(o.prompt_tokens, 9);
  EXPECT_EQ(o.cached_tokens, 8);
}

TEST(AnswerReader, ReadsChatsWithReasoning) {
  AnswerReader r(Backend::kChat, prompt(1), true);
  r.take(R"({"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]})", 0.1);
  r.take(R"({"choices":[{"delta":{"reasoning_content":"hm"},"finish_reason":null}]})", 0.2);
  r.take(R"({"choices":[{"delta":{"content":"yes"},"finish_reason":"stop"}]})", 0.3);
  const auto o = r.finish(0.3);
  EXPECT_EQ(o.ttft, 0.2);
  EXPECT_EQ(o.text, "hmyes");
  EXPECT_EQ(o.output_tokens, 2);
  AnswerReader whole(Backend::kChat, prompt(1), false);
  whole.take(R"({"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}],"usage":{"completion_tokens":3}})",
             0.3);
  const auto w = whole.finish(0.4);
  EXPECT_TRUE(w.ok && !w.ttft && w.itl.empty());
  EXPECT_EQ(w.output_tokens, 3);
}

TEST(AnswerReader, FailsWithTheServersReason) {
  const auto error = [](Backend backend, const std::string& data) {
    AnswerReader r(backend, prompt(1), true);
    r.take(data, 0.1);
    return r.finish(0.2).error;
  };
  EXPECT_EQ(error(Backend::kSglang, R"({"error":{"message":"too long"}})"), "too long");
  EXPECT_EQ(error(Backend::kCompletions, R"({"error":"no"})"), "no");
  EXPECT_EQ(error(Backend::kCompletions, R"({"object":"error","message":"m"})"), "m");
  EXPECT_EQ(error(Backend::kSglang, native("", 0, R"({"type":"abort","message":"full"})")), "aborted: full");
  EXPECT_THAT(error(Backend::kSglang, "[1]"), HasSubstr("no JSON object"));
  EXPECT_THAT(error(Backend::kSglang, "{"), HasSubstr("no JSON object"));
  EXPECT_THAT(error(Backend::kSglang, native("a", 1)), HasSubstr("ended before"));
  EXPECT_THAT(error(Backend::kSglang, native("a", 1'000'000'000'000)), HasSubstr("claims"));
  EXPECT_THAT(error(Backend::kChat, R"({"choices":3,"usage":4})"), HasSubstr("ended before"));
  EXPECT_EQ(error_text(503, R"({"error":{"message":"busy"}})"), "HTTP 503: busy");
  EXPECT_EQ(error_text(502, "Bad Gateway\n"), "HTTP 502: Bad Gateway");
  EXPECT_EQ(error_text(500, ""), "HTTP 500: without a word");
}

TEST(RequestBody, IsWhatTheRouteTakes) {
  RequestOptions o;
  o.model = "m";
  EXPECT_EQ(request_body(Backend::kSglang, {"", {1, 2}, 2, 5}, o),
            R"({"input_ids":[1,2],"sampling_params":{"temperature":0.0,"max_new_tokens":5,)"
            R"("ignore_eos":true},"stream":true})");
  EXPECT_EQ(request_body(Backend::kCompletions, prompt(1), o),
            R"({"model":"m","prompt":"p","temperature":0.0,"max_tokens":5,"ignore_eos":true,)"
            R"("stream_options":{"include_usage":true},"stream":true})");
  o.stream = o.ignore_eos = false;
  o.extra = Json(Json::Object{{"temperature", 0.5}, {"top_k", 3}});
  EXPECT_EQ(request_body(Backend::kChat, prompt(1), o),
            R"({"model":"m","messages":[{"role":"user","content":"p"}],"temperature":0.5,"max_completion_tokens":5,)"
            R"("ignore_eos":false,"stream":false,"top_k":3})");
}

Outcome outcome(double start, double ttft, std::vector<double> itl, int64_t input, int64_t output) {
  Outcome o;
  o.ok = true;
  o.start = start;
  o.ttft = ttft;
  o.latency = ttft;
  for (const double gap : itl) o.latency += gap;
  o.itl = std::move(itl);
  o.prompt_tokens = input;
  o.output_tokens = output;
  return o;
}

LoadRun two_and_a_failure() {
  LoadRun run;
  run.seconds = 2;
  run.outcomes = {outcome(0, 0.5, {0.25, 0.25}, 10, 3), outcome(0.5, 0.5, {0.5}, 20, 2), Outcome()};
  run.outcomes[2].error = "HTTP 503: busy";
  run.outcomes[2].latency = 100;
  return run;
}

TEST(LoadMetrics, AreSglangs) {
  const LoadMetrics m(two_and_a_failure());
  EXPECT_EQ(m.completed, 2u);
  EXPECT_EQ(m.failed, 1u);
  EXPECT_EQ(m.total_input, 30);
  EXPECT_EQ(m.total_output, 5);
  EXPECT_DOUBLE_EQ(m.request_throughput, 1);
  EXPECT_DOUBLE_EQ(m.input_throughput, 15);
  EXPECT_DOUBLE_EQ(m.output_throughput, 2.5);
  EXPECT_DOUBLE_EQ(m.total_throughput, 17.5);
  EXPECT_DOUBLE_EQ(m.concurrency, 1);  // (1 s + 1 s) in 2 s
  EXPECT_DOUBLE_EQ(m.e2e.mean, 1000);
  EXPECT_DOUBLE_EQ(m.ttft.mean, 500);
  EXPECT_DOUBLE_EQ(m.tpot.mean, 375);  // (0.5 / 2 and 0.5 / 1) of each request
  EXPECT_NEAR(m.itl.mean, 1000.0 / 3, 1e-9);
  EXPECT_DOUBLE_EQ(m.max_output_tokens_per_s, 3);
  EXPECT_EQ(m.max_concurrent_requests, 2);
}

TEST(LoadReport, HasSglangsLinesAndMembers) {
  const LoadRun run = two_and_a_failure();
  const LoadMetrics m(run);
  LoadSetting setting{"sglang", "random", "inf", 0, 1024, 128, 0.5, ""};
  const std::string table = load_table(m, setting);
  EXPECT_THAT(table, HasSubstr("============ Serving Benchmark Result ============\n"));
  EXPECT_THAT(table, HasSubstr("Successful requests:                     2         \n"));
  EXPECT_THAT(table, HasSubstr("Failed requests:                         1         \n"));
  EXPECT_THAT(table, HasSubstr("Mean TPOT (ms):                          375.00    \n"));
  EXPECT_THAT(table, HasSubstr("P95 ITL (ms):"));
  Json j = load_json(m, setting);
  EXPECT_EQ(j.text("request_rate"), "inf");
  EXPECT_TRUE(j.find("max_concurrency")->is_null());
  for (const char* name : {"duration",
                           "completed",
                           "total_input_tokens",
                           "total_output_tokens",
                           "request_throughput",
                           "input_throughput",
                           "output_throughput",
                           "total_throughput",
                           "mean_e2e_latency_ms",
                           "median_e2e_latency_ms",
                           "std_e2e_latency_ms",
                           "p90_e2e_latency_ms",
                           "p99_e2e_latency_ms",
                           "mean_ttft_ms",
                           "median_ttft_ms",
                           "std_ttft_ms",
                           "p99_ttft_ms",
                           "mean_tpot_ms",
                           "median_tpot_ms",
                           "std_tpot_ms",
                           "p99_tpot_ms",
                           "mean_itl_ms",
                           "median_itl_ms",
                           "std_itl_ms",
                           "p95_itl_ms",
                           "p99_itl_ms",
                           "concurrency",
                           "max_output_tokens_per_s",
                           "max_concurrent_requests"})
    EXPECT_TRUE(j.find(name) && j.find(name)->is_number()) << name;
  EXPECT_DOUBLE_EQ(j.find("mean_tpot_ms")->number(), 375);
  setting.request_rate = "2.5";
  EXPECT_DOUBLE_EQ(load_json(m, setting).find("request_rate")->number(), 2.5);
  add_details(j, run.outcomes);
  EXPECT_EQ(j.find("errors")->dump(), R"(["","","HTTP 503: busy"])");
  EXPECT_EQ(j.find("itls")->dump(), "[[0.25,0.25],[0.5],[]]");
}

TEST(LoadReport, LeavesOutWhatOnlyStreamsHave) {
  LoadRun run;
  run.seconds = 1;
  run.outcomes.resize(1);
  run.outcomes[0].ok = true;
  run.outcomes[0].latency = 1;
  EXPECT_THAT(load_table(LoadMetrics(run), {}), Not(HasSubstr("TTFT")));
}

TEST(LoadReport, CountsFailuresByReason) {
  std::vector<Outcome> outcomes(6);
  for (size_t i = 0; i < 6; ++i) outcomes[i].error = i < 3 ? "busy" : "reason " + std::to_string(i);
  EXPECT_EQ(failures_text(outcomes, 2), "3 failed: busy\n1 failed: reason 3\n2 failed for other reasons\n");
}

}  // namespace
}  // namespace cairn::serve
