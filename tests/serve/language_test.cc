// The routes of a language model, over sockets.
#include <gmock/gmock.h>

#include <atomic>
#include <set>

#include "base/file.h"
#include "serve/served.h"

namespace cairn::serve {
namespace {

using testing::HasSubstr;
using testing::Not;

Json::Object chat_of(const std::string& text) {
  return {{"messages", Json::Array{Json::Object{{"role", "user"}, {"content", text}}}}, {"temperature", 0}};
}
Json with(Json::Object object, Json::Object more) {
  for (auto& member : more) object.push_back(std::move(member));
  return object;
}

std::string trimmed(const std::string& text) { return std::string(trim(text)); }

// As tests/golden/lm/README.md says.
bool passes(const Json& row, const Json& message) {
  const std::string check = row.text("check"), content = trimmed(message.text("content"));
  const Json& wanted = at(row, "value");
  if (check == "exact") return content == trimmed(row.text("value"));
  if (check == "contains") return content.find(row.text("value")) != std::string::npos;
  if (check == "json") return Json::parse(content).value_or(nullptr) == wanted;
  const Json* calls = message.find("tool_calls");
  if (!calls || !calls->as_array() || calls->as_array()->size() != 1) return false;
  const Json& function = at(*calls, 0, "function");
  return Json(Json::Object{{"name", function.text("name")},
                           {"arguments", Json::parse(function.text("arguments")).value_or(nullptr)}}) == wanted;
}

class Tasks : public testing::TestWithParam<Dtype> {};

TEST_P(Tasks, AreAllAnsweredAtSixtyFourInFlight) {
  const Served served(GetParam());
  std::vector<Json> rows;
  for (const std::string& line : split(value(read_file(CAIRN_SOURCE_DIR "/tests/golden/lm/tasks.jsonl")), '\n'))
    if (!line.empty()) rows.push_back(value(Json::parse(line)));
  ASSERT_EQ(rows.size(), 256u);
  std::atomic<size_t> next{0}, right{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 64; ++i)
    clients.emplace_back([&] {
      Client client = served.client();
      for (size_t k = next++; k < rows.size(); k = next++) {
        const Json& row = rows[k];
        Json body(Json::Object{{"messages", at(row, "messages")}, {"temperature", 0}});
        body.set("max_tokens", at(row, "max_tokens"));
        if (!at(row, "tools").is_null()) body.set("tools", at(row, "tools"));
        const Answer a = client.post("/v1/chat/completions", body.dump());
        const auto answer = Json::parse(a.body);
        if (a.status == 200 && answer && passes(row, at(*answer, "choices", 0, "message")))
          ++right;
        else
          ADD_FAILURE() << row.text("id") << ": " << a.body;
      }
    });
  for (auto& c : clients) c.join();
  EXPECT_EQ(right, 256u);
  EXPECT_TRUE(soon([&] { return served.idle(); }));
}

INSTANTIATE_TEST_SUITE_P(Both, Tasks, testing::Values(kF32, kBF16),
                         [](const auto& parameter) { return parameter.param == kF32 ? "fp32" : "bf16"; });

class Language : public testing::Test {
 protected:
  static void SetUpTestSuite() { served_ = new Served(); }
  static void TearDownTestSuite() {
    delete served_;
    served_ = nullptr;
  }
  void TearDown() override {
    EXPECT_TRUE(soon([&] { return served_->idle(); })) << "blocks leak";
  }
  static Served* served_;
};
Served* Language::served_ = nullptr;

TEST_F(Language, AStreamJoinedIsTheWholeAnswer) {
  const Json::Object chat = chat_of("Calculate 12 + 30"), completion{{"prompt", "The capital of"}, {"temperature", 0}};
  const auto whole = served_->post("/v1/chat/completions", chat);
  std::string joined;
  Json last;
  for (const Json& e : served_->stream("/v1/chat/completions", with(chat, {{"stream", true}}))) {
    joined += at(e, "choices", 0, "delta").text("content");
    last = at(e, "choices", 0, "finish_reason");
  }
  EXPECT_EQ(joined, text_at(whole, "choices", 0, "message", "content"));
  EXPECT_THAT(joined, HasSubstr("= 42"));
  EXPECT_EQ(last, Json("stop"));
  const auto text = served_->post("/v1/completions", completion);
  joined.clear();
  Json usage;
  for (const Json& e : served_->stream(
           "/v1/completions",
           with(completion, {{"stream", true}, {"stream_options", Json::Object{{"include_usage", true}}}}))) {
    if (at(e, "choices").as_array()->empty())
      usage = at(e, "usage");
    else
      joined += text_at(e, "choices", 0, "text");
  }
  EXPECT_EQ(joined, text_at(text, "choices", 0, "text"));
  EXPECT_EQ(at(usage, "completion_tokens"), at(text, "usage", "completion_tokens"));
  const Json native(Json::Object{{"text", "The capital of"},
                                 {"sampling_params", Json::Object{{"temperature", 0}, {"max_new_tokens", 16}}},
                                 {"stream", true}});
  EXPECT_EQ(text_at(served_->stream("/generate", native).back(), "text"), joined);
}

TEST_F(Language, StopTextsEndAnswersAndAreCutOff) {
  const Json::Object base{{"prompt", "1 2 3"}, {"temperature", 0}, {"max_tokens", 40}};
  const std::string whole = text_at(served_->post("/v1/completions", base), "choices", 0, "text");
  ASSERT_GT(whole.size(), 12u);
  const std::string stop = whole.substr(8, 3);
  const size_t at_byte = whole.find(stop);
  const auto stopped = served_->post("/v1/completions", with(base, {{"stop", stop}}));
  EXPECT_EQ(text_at(stopped, "choices", 0, "text"), whole.substr(0, at_byte));
  EXPECT_EQ(text_at(stopped, "choices", 0, "finish_reason"), "stop");
  EXPECT_EQ(text_at(stopped, "choices", 0, "matched_stop"), stop);
  std::string joined;
  for (const Json& e : served_->stream("/v1/completions", with(base, {{"stop", stop}, {"stream", true}})))
    joined += text_at(e, "choices", 0, "text");
  EXPECT_EQ(joined, whole.substr(0, at_byte)) << "no part of a stop text is streamed";
  const auto kept = served_->post("/v1/completions", with(base, {{"stop", stop}, {"no_stop_trim", true}}));
  EXPECT_EQ(text_at(kept, "choices", 0, "text"), whole.substr(0, at_byte + stop.size()));
}

TEST_F(Language, SeedsGiveTheSameAnswerWhateverElseRuns) {
  const Json::Object base{{"prompt", "Once"}, {"temperature", 1.5}, {"max_tokens", 24}, {"seed", 11}, {"n", 3}};
  const auto alone = served_->post("/v1/completions", base);
  std::vector<std::thread> others;
  for (int i = 0; i < 6; ++i)
    others.emplace_back([i] {
      served_->post("/v1/completions", Json::Object{{"prompt", std::string(static_cast<size_t>(40 * i + 1), 'x')},
                                                    {"max_tokens", 30},
                                                    {"temperature", 2}});
    });
  const auto among = served_->post("/v1/completions", base);
  for (auto& t : others) t.join();
  std::set<std::string> different;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(text_at(alone, "choices", i, "text"), text_at(among, "choices", i, "text"));
    different.insert(text_at(alone, "choices", i, "text"));
  }
  EXPECT_EQ(different.size(), 3u);
}

TEST_F(Language, LogprobsComeWithEveryToken) {
  const auto chat = served_->post("/v1/chat/completions",
                                  with(chat_of("Calculate 1 + 1"), {{"logprobs", true}, {"top_logprobs", 2}}));
  const auto& content = *at(chat, "choices", 0, "logprobs", "content").as_array();
  std::string joined;
  for (const Json& token : content) {
    joined += text_at(token, "token");
    EXPECT_LE(at(token, "logprob").number(), 0);
    ASSERT_EQ(at(token, "top_logprobs").as_array()->size(), 2u);
    EXPECT_EQ(at(token, "top_logprobs", 0, "token"), at(token, "token")) << "greedy";
  }
  EXPECT_EQ(joined, text_at(chat, "choices", 0, "message", "content"));
  const auto native = served_->post(
      "/generate", Json::Object{{"input_ids", Json::Array{5, 6, 7}},
                                {"sampling_params", Json::Object{{"temperature", 0}, {"max_new_tokens", 4}}},
                                {"return_logprob", true},
                                {"top_logprobs_num", 2}});
  EXPECT_EQ(at(native, "meta_info", "output_token_logprobs").as_array()->size(), 4u);
  EXPECT_EQ(at(native, "meta_info", "output_top_logprobs", 0).as_array()->size(), 2u);
}

TEST_F(Language, BadRequestsAreRefusedByName) {
  struct Case {
    const char *path, *body, *what;
    int status;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"/v1/completions", R"({"model":"gpt-4","prompt":"a"})", "tiny", 404},
           {"/v1/completions", R"({"prompt":[1,99999]})", "99999", 400},
           {"/v1/completions", R"({"prompt":""})", "empty", 400},
           {"/v1/completions", R"({"prompt":"a","logit_bias":{"99999":1}})", "99999", 400},
           {"/v1/chat/completions", R"({"messages":[{"role":"tool","content":"a","tool_call_id":"x"}],"foo":1})", "foo",
            400},
           {"/v1/chat/completions", R"({"messages":[{"role":"user","content":"a"}],"max_tokens":"x"})", "max_tokens",
            400},
           {"/generate", R"({"text":"a","sampling_params":{"temperature":-1}})", "temperature", 400},
           {"/generate", R"({"text":"a","sampling_params":{"stop_regex":"("}})", "stop_regex", 400},
           {"/tokenize", R"({})", "prompt", 400}}) {
    Client client = served_->client();
    const Answer a = client.post(c.path, c.body);
    EXPECT_EQ(a.status, c.status) << c.body << a.body;
    EXPECT_THAT(a.body, HasSubstr(c.what)) << c.body;
  }
}

TEST_F(Language, AClientThatLeavesIsCancelled) {
  const auto before = served_->stats().generated_tokens;
  {
    Client client = served_->client();
    client.send_json("/v1/completions",
                     R"({"prompt":"Once","max_tokens":3000,"ignore_eos":true,"temperature":0,"stream":true})");
    ASSERT_TRUE(client.read_until("data: "));
  }
  EXPECT_TRUE(soon([&] { return served_->idle(); }));
  EXPECT_LT(served_->stats().generated_tokens - before, 3000);
}

TEST_F(Language, AnAbortedAnswerSaysSo) {
  Client client = served_->client();
  client.send_json("/generate", R"({"text":"Once","rid":"mine-1","stream":true,
    "sampling_params":{"max_new_tokens":3000,"ignore_eos":true}})");
  ASSERT_TRUE(client.read_until("output_ids"));
  Client other = served_->client();
  EXPECT_THAT(other.post("/abort_request", R"({"rid":"mine"})").body, HasSubstr("1"));
  const auto events = Served::events(client.answer());
  EXPECT_EQ(text_at(events.back(), "meta_info", "finish_reason", "type"), "abort");
}

TEST_F(Language, ForcedToolCallsAreCalls) {
  const Json tools(Json::Array{Json::Object{
      {"type", "function"},
      {"function",
       Json::Object{
           {"name", "get_weather"},
           {"parameters",
            Json::Object{{"type", "object"},
                         {"properties",
                          Json::Object{{"days", Json::Object{{"type", "integer"}, {"minimum", 1}, {"maximum", 9}}}}},
                         {"required", Json::Array{"days"}},
                         {"additionalProperties", false}}}}}}});
  const Json::Object chat = chat_of("Weather?");
  const Json forced = with(chat, {{"tools", tools}, {"tool_choice", "required"}, {"max_tokens", 400}});
  const auto answer = served_->post("/v1/chat/completions", forced);
  EXPECT_EQ(text_at(answer, "choices", 0, "finish_reason"), "tool_calls");
  EXPECT_EQ(text_at(answer, "choices", 0, "message", "tool_calls", 0, "function", "name"), "get_weather");
  const auto arguments =
      value(Json::parse(text_at(answer, "choices", 0, "message", "tool_calls", 0, "function", "arguments")));
  EXPECT_GE(at(arguments, "days").number(), 1);
}

TEST_F(Language, TextsGoToTokensAndBack) {
  const auto tokens = served_->post("/tokenize", Json::Object{{"prompt", "héllo wörld"}});
  const auto text = served_->post("/detokenize", Json::Object{{"tokens", at(tokens, "tokens")}});
  EXPECT_EQ(text_at(text, "text"), "héllo wörld");
}

TEST_F(Language, PromptsAreScoredAndEmbedded) {
  const auto scored = served_->post(
      "/generate", Json::Object{{"input_ids", Json::Array{5, 6, 7, 8}},
                                {"sampling_params", Json::Object{{"temperature", 0}, {"max_new_tokens", 2}}},
                                {"return_logprob", true},
                                {"logprob_start_len", 0},
                                {"token_ids_logprob", Json::Array{7, 9}},
                                {"top_logprobs_num", 1}});
  EXPECT_EQ(at(scored, "meta_info", "output_token_ids_logprobs", 1).as_array()->size(), 2u);
  EXPECT_EQ(at(scored, "meta_info", "input_token_ids_logprobs", 1, 1, 1), Json(9));
  const Json& input = at(scored, "meta_info", "input_token_logprobs");
  ASSERT_EQ(input.as_array()->size(), 4u);
  EXPECT_TRUE(at(input, 0, 0).is_null());
  EXPECT_LT(at(input, 1, 0).number(), 0);
  EXPECT_EQ(at(input, 3, 1), Json(8));
  const Json::Object echoed{
      {"prompt", "The capital of"}, {"echo", true}, {"logprobs", 1}, {"temperature", 0}, {"max_tokens", 3}};
  const auto whole = served_->post("/v1/completions", echoed);
  EXPECT_TRUE(text_at(whole, "choices", 0, "text").starts_with("The capital of"));
  const auto tokens = at(whole, "choices", 0, "logprobs", "tokens");
  std::string joined;
  for (const Json& t : *tokens.as_array()) joined += *t.as_string();
  EXPECT_EQ(joined, text_at(whole, "choices", 0, "text"));
  EXPECT_TRUE(at(whole, "choices", 0, "logprobs", "token_logprobs", 0).is_null());
  std::string streamed;
  for (const Json& e : served_->stream("/v1/completions", with(echoed, {{"stream", true}})))
    streamed += text_at(e, "choices", 0, "text");
  EXPECT_EQ(streamed, joined);
  const Json::Object only{{"prompt", "The capital of"}, {"echo", true}, {"logprobs", 1}, {"max_tokens", 1}};
  const auto events = served_->stream("/v1/completions", with(only, {{"stream", true}}));
  EXPECT_TRUE(text_at(events.front(), "choices", 0, "text").starts_with("The capital of"));
  EXPECT_TRUE(at(events.front(), "choices", 0, "logprobs", "token_logprobs", 0).is_null());
  const auto both =
      served_->post("/v1/embeddings",
                    Json::Object{{"input", Json::Array{"a fox", "a bird"}}, {"pooling", "mean"}, {"normalize", false}});
  EXPECT_EQ(at(both, "data", 1, "embedding").as_array()->size(), 384u);
}

TEST_F(Language, TheReferenceNamesEveryRoute) {
  const std::string page = value(read_file(CAIRN_SOURCE_DIR "/docs/api.md"));
  const std::string table = served_->app.router().reference();
  EXPECT_THAT(page, HasSubstr(table)) << "docs/api.md holds the table of the routes as it was";
}

TEST_F(Language, TheStateOfTheServerIsTold) {
  Client client = served_->client();
  EXPECT_EQ(client.get("/health").status, 200);
  EXPECT_EQ(client.get("/health_generate").status, 200);
  EXPECT_THAT(client.get("/metrics").body, HasSubstr("sglang:generation_tokens_total{model_name=\"tiny\"}"));
  EXPECT_EQ(text_at(value(Json::parse(client.get("/get_model_info").body)), "served_model_name"), "tiny");
  EXPECT_THAT(client.get("/get_server_info").body, HasSubstr("internal_states"));
  EXPECT_EQ(client.post("/flush_cache", "").status, 200);
  EXPECT_EQ(served_->stats().cached_blocks, 0);
}

TEST(LanguageLimits, AFullQueueAnswers503) {
  const Served served(kF32, {.max_running_requests = 1, .max_queued_requests = 1});
  const std::string body = R"({"prompt":"Once","max_tokens":3000,"ignore_eos":true})";
  Client running = served.client(), waiting = served.client(), refused = served.client();
  running.send_json("/v1/completions", body);
  ASSERT_TRUE(soon([&] { return served.stats().running == 1; }));
  waiting.send_json("/v1/completions", body);
  ASSERT_TRUE(soon([&] { return served.stats().waiting == 1; }));
  const Answer a = refused.post("/v1/completions", body);
  EXPECT_EQ(a.status, 503) << a.body;
  running.close();
  waiting.close();
  EXPECT_TRUE(soon([&] { return served.idle(); }));
  EXPECT_EQ(refused.post("/v1/completions", R"({"prompt":"Once","max_tokens":2})").status, 200);
}

TEST(LanguageLimits, FiveHundredAndTwelveStreamsRunAtOnce) {
  const Served served(kBF16, {.max_running_requests = 512});
  std::vector<Client> clients;
  for (int i = 0; i < 512; ++i) {
    clients.push_back(served.client());
    ASSERT_TRUE(clients.back().send_json("/v1/completions",
                                         R"({"prompt":"Number )" + std::to_string(i) +
                                             R"(","max_tokens":24,"ignore_eos":true,"temperature":0,"stream":true})"));
  }
  for (int i = 0; i < 512; ++i) {
    const auto events = Served::events(clients[static_cast<size_t>(i)].answer());
    ASSERT_FALSE(events.empty());
    EXPECT_EQ(text_at(events.back(), "choices", 0, "finish_reason"), "length");
  }
  EXPECT_TRUE(soon([&] { return served.idle(); }));
  EXPECT_EQ(served.stats().finished, 512);
}

}  // namespace
}  // namespace cairn::serve
