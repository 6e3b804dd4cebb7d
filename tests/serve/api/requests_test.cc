// What bodies of requests become, and which are refused.
#include <gmock/gmock.h>

#include "serve/api/chat.h"
#include "serve/api/completions.h"
#include "serve/api/generate.h"
#include "serve/api/model_routes.h"
#include "serve/client.h"

namespace cairn::serve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

Json json(const std::string& text) { return value(Json::parse(text)); }

// A request with these further members.
std::string completion(const std::string& more) { return R"({"model":"m","prompt":"p",)" + more + "}"; }
std::string chat(const std::string& more) {
  return R"({"model":"m","messages":[{"role":"user","content":"hi"}],)" + more + "}";
}

// That the body is refused, for a member of that name, with a message that has this in it.
template <class R>
void expect_refused(Parsed<R> (*parse)(const Json&), const std::string& body, const std::string& param,
                    const std::string& message) {
  const auto got = parse(json(body));
  ASSERT_FALSE(got) << body;
  EXPECT_EQ(got.error().status, 400) << body;
  EXPECT_EQ(got.error().param, param) << body;
  EXPECT_THAT(got.error().message, HasSubstr(message)) << body;
}

TEST(CompletionRequest, HasOpenAisDefaults) {
  const auto r = value(parse_completion(json(R"({"model":"m","prompt":"p"})")));
  EXPECT_EQ(r.prompts.size(), 1u);
  EXPECT_EQ(r.sampling.max_new_tokens, 16);
  EXPECT_EQ(r.sampling.n, 1);
  EXPECT_FALSE(r.sampling.temperature);  // the model's own
  EXPECT_FALSE(r.streaming.stream || r.echo || r.logprobs);
  EXPECT_TRUE(r.sampling.skip_special_tokens);
}

TEST(CompletionRequest, ReadsEveryParameter) {
  const auto r = value(parse_completion(json(completion(R"(
    "max_tokens":7,"min_tokens":2,"temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"frequency_penalty":1,
    "presence_penalty":-1,"repetition_penalty":1.1,"n":3,"best_of":3,"stop":["a","b"],"stop_regex":"c+",
    "stop_token_ids":[5],
    "logit_bias":{"10":-100,"11":2.5},"seed":42,"ignore_eos":true,"skip_special_tokens":false,"no_stop_trim":true,
    "regex":"x*","stream":true,"stream_options":{"include_usage":true},"echo":true,"logprobs":3,"user":"u",
    "rid":"r","priority":4,"cache_salt":"s","lora_path":null,"metadata":{"a":1})"))));
  const Sampling& s = r.sampling;
  EXPECT_EQ(s.max_new_tokens, 7);
  EXPECT_EQ(s.min_new_tokens, 2);
  EXPECT_EQ(s.temperature, 0.5);
  EXPECT_EQ(s.top_k, 40);
  EXPECT_EQ(s.n, 3);
  EXPECT_THAT(s.stop, ElementsAre("a", "b"));
  EXPECT_THAT(s.stop_regex, ElementsAre("c+"));
  EXPECT_THAT(s.stop_token_ids, ElementsAre(5));
  EXPECT_THAT(s.logit_bias, ElementsAre(Pair(10, -100.0), Pair(11, 2.5)));
  EXPECT_EQ(s.seed, 42);
  EXPECT_TRUE(s.ignore_eos && s.no_stop_trim && !s.skip_special_tokens);
  EXPECT_EQ(s.grammar.kind, Grammar::Kind::kRegex);
  EXPECT_TRUE(r.streaming.stream && r.streaming.include_usage && r.echo);
  EXPECT_EQ(r.logprobs, 3);
  EXPECT_EQ(r.origin.rid, "r");
  EXPECT_EQ(r.origin.priority, 4);
  EXPECT_EQ(r.origin.extra_key, "s");
}

TEST(CompletionRequest, TakesPromptsInFourForms) {
  const auto prompts = [](const std::string& text) {
    return value(parse_completion(json(R"({"model":"m","prompt":)" + text + "}"))).prompts;
  };
  EXPECT_EQ(prompts(R"("a")")[0].text, "a");
  EXPECT_EQ(prompts(R"(["a","b"])")[1].text, "b");
  EXPECT_THAT(prompts("[1,2]")[0].ids, ElementsAre(1, 2));
  EXPECT_THAT(prompts("[[1],[2,3]]")[1].ids, ElementsAre(2, 3));
}

TEST(CompletionRequest, NamesTheParameterThatIsWrong) {
  const auto refused = [](const std::string& more, const std::string& param, const std::string& message) {
    expect_refused(parse_completion, completion(more), param, message);
  };
  refused(R"("temperature":"hot")", "temperature", "expected a number, got a string");
  refused(R"("temperature":-1)", "temperature", "at least 0");
  refused(R"("top_p":1.5)", "top_p", "[0, 1]");
  refused(R"("temprature":1)", "temprature", "did you mean temperature?");
  refused(R"("n":1.5)", "n", "expected an integer");
  refused(R"("n":1000000)", "n", "[1, 128]");
  refused(R"("seed":99999999999999999999)", "seed", "integer");
  refused(R"("stop":[1])", "stop", "list of strings");
  refused(R"("stop":"")", "stop", "end every answer");
  refused(R"("stop_token_ids":[-4])", "stop_token_ids", "-4");
  refused(R"("logit_bias":{"x":1})", "logit_bias", "\"x\" is no token id");
  refused(R"("logit_bias":{"1":101})", "logit_bias", "[-100, 100]");
  refused(R"("repetition_penalty":0)", "repetition_penalty", "greater than 0");
  refused(R"("regex":"a","ebnf":"b")", "ebnf", "only one");
  refused(R"("regex":"a","response_format":{"type":"json_object"})", "response_format", "excludes");
  refused(R"("response_format":{"type":"xml"})", "response_format.type", "\"xml\"");
  refused(R"("response_format":{"type":"json_schema"})", "response_format.json_schema.schema", "object");
  refused(R"("stream_options":{})", "stream_options", "stream");
  refused(R"("stream":true,"stream_options":{"usage":1})", "stream_options.usage",
          "unknown parameter stream_options.usage");
  refused(R"("suffix":"x")", "suffix", "not supported");
  refused(R"("best_of":2)", "best_of", "not supported");
  refused(R"("min_tokens":20)", "min_tokens", "more than max_tokens, 16");
  EXPECT_EQ(value(parse_completion(value(Json::parse(R"({"prompt":"a"})")))).model, "");
  expect_refused(parse_completion, R"({"model":"m"})", "prompt", "is missing");
  expect_refused(parse_completion, R"({"model":"m","prompt":[]})", "prompt", "empty");
  expect_refused(parse_completion, R"({"model":"m","prompt":["a",1]})", "prompt", "strings only");
  expect_refused(parse_completion, R"({"model":"m","prompt":[1,"a"]})", "prompt", "found a string");
  expect_refused(parse_completion, R"({"model":"m","prompt":[[]]})", "prompt", "without tokens");
  expect_refused(parse_completion, R"({"model":"m","prompt":{"a":1}})", "prompt", "got an object");
}

TEST(ChatRequest, ReadsMessagesOfAllKinds) {
  const auto r = value(parse_chat(json(R"({"model":"m","messages":[
    {"role":"system","content":"s"},
    {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"name":"n"},
    {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function",
      "function":{"name":"f","arguments":"{\"x\":[1,2]}"}}],"refusal":null},
    {"role":"tool","tool_call_id":"c","content":"42"},
    {"role":"assistant","content":"done","reasoning_content":"hm"}]})")));
  ASSERT_EQ(r.messages.size(), 5u);
  EXPECT_EQ(r.messages[1].content, "a b");
  EXPECT_EQ(r.messages[1].name, "n");
  EXPECT_FALSE(r.messages[2].content);
  EXPECT_EQ(r.messages[2].tool_calls[0].name, "f");
  EXPECT_EQ(r.messages[3].tool_call_id, "c");
  EXPECT_EQ(r.messages[4].reasoning_content, "hm");
  EXPECT_EQ(template_message(r.messages[2]).dump(),
            R"({"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function",)"
            R"("function":{"name":"f","arguments":{"x":[1,2]}}}]})");
  EXPECT_FALSE(r.sampling.max_new_tokens);
}

TEST(ChatRequest, ReadsToolsAndWhichToCall) {
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f","description":"d","strict":true,
    "parameters":{"type":"object"}}}])";
  const auto kind = [&](const std::string& more) { return value(parse_chat(json(chat(tools + more)))).tool_choice; };
  EXPECT_EQ(kind("").kind, ToolChoice::Kind::kAuto);
  EXPECT_EQ(kind(R"(,"tool_choice":"none")").kind, ToolChoice::Kind::kNone);
  EXPECT_EQ(kind(R"(,"tool_choice":"required")").kind, ToolChoice::Kind::kRequired);
  const auto named = kind(R"(,"tool_choice":{"type":"function","function":{"name":"f"}})");
  EXPECT_EQ(named.kind, ToolChoice::Kind::kNamed);
  EXPECT_EQ(named.name, "f");
  EXPECT_EQ(value(parse_chat(json(chat("\"n\":1")))).tool_choice.kind, ToolChoice::Kind::kNone);
  const auto r = value(parse_chat(json(chat(tools))));
  EXPECT_TRUE(r.tools[0].strict);
  EXPECT_EQ(r.tools[0].parameters.dump(), R"({"type":"object"})");
  EXPECT_EQ(r.tools[0].as_sent.text("type"), "function");
}

TEST(ChatRequest, NamesTheMemberThatIsWrong) {
  const auto refused = [](const std::string& more, const std::string& param, const std::string& message) {
    expect_refused(parse_chat, chat(more), param, message);
  };
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f"}}],)";
  refused(R"("max_tokens":0)", "max_tokens", "[1, ");
  refused(R"("max_tokens":1,"max_completion_tokens":2)", "max_tokens", "differs");
  refused(R"("top_logprobs":2)", "top_logprobs", "logprobs");
  refused(R"("logprobs":true,"top_logprobs":21)", "top_logprobs", "[0, 20]");
  refused(R"("tools":{})", "tools", "expected a list");
  refused(R"("tools":[{"type":"function","function":{"name":"a b"}}])", "tools[0].function.name", "letters");
  refused(R"("tools":[{"type":"function"}])", "tools[0].function", "is missing");
  refused(R"("tools":[{"function":{"name":"a"}},{"function":{"name":"a"}}])", "tools[1].function.name", "two tools");
  refused(tools + R"("tool_choice":"maybe")", "tool_choice", "\"maybe\"");
  refused(tools + R"("tool_choice":{"type":"function","function":{"name":"g"}})", "tool_choice", "no tool named g");
  refused(tools + R"("tool_choice":"required","regex":"a")", "tool_choice", "excludes");
  refused(R"("tool_choice":"required")", "tool_choice", "without tools");
  refused(R"("tool_choice":5)", "tool_choice", "expected none");
  refused(R"("functions":[{"name":"f"}])", "functions", "not supported");
  refused(R"("modalities":["audio"])", "modalities", "not supported");
  refused(R"("continue_final_message":true)", "continue_final_message", "assistant");
  refused(R"("chat_template_kwargs":[1])", "chat_template_kwargs", "object");
  const auto message = [](const std::string& list, const std::string& param, const std::string& what) {
    expect_refused(parse_chat, R"({"model":"m","messages":)" + list + "}", param, what);
  };
  message("[]", "messages", "empty");
  message("3", "messages", "expected a list");
  message("[3]", "messages[0]", "expected an object");
  message(R"([{"role":"user"}])", "messages[0].content", "is missing");
  message(R"([{"role":"me","content":"x"}])", "messages[0].role", "none of");
  message(R"([{"role":"user","content":5}])", "messages[0].content", "got an integer");
  message(R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])",
          "messages[0].content[0].type", "text only");
  message(R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content[0].text", "is missing");
  message(R"([{"role":"assistant","tool_calls":[{"function":{"name":3}}]}])", "messages[0].tool_calls[0].function.name",
          "expected a string");
}

TEST(GenerateRequest, SpreadsOneValueOrAListOverItsPrompts) {
  const auto r = value(parse_generate(json(R"({"text":["a","b"],"rid":["x","y"],
    "sampling_params":[{"max_new_tokens":1},{"temperature":0,"sampling_seed":3}],"return_logprob":true,
    "top_logprobs_num":[1,2],"token_ids_logprob":[[7],[8,9]],"stream":true,"image_data":null,"lora_path":null})")));
  ASSERT_EQ(r.items.size(), 2u);
  EXPECT_TRUE(r.batch && r.stream);
  EXPECT_EQ(r.items[0].sampling.max_new_tokens, 1);
  EXPECT_EQ(r.items[1].sampling.max_new_tokens, 128);
  EXPECT_EQ(r.items[1].sampling.seed, 3);
  EXPECT_EQ(r.items[1].rid, "y");
  EXPECT_TRUE(r.items[0].return_logprob && r.items[1].return_logprob);
  EXPECT_EQ(r.items[1].top_logprobs_num, 2);
  EXPECT_THAT(r.items[1].token_ids_logprob, ElementsAre(8, 9));
  const auto one = value(parse_generate(json(R"({"input_ids":[1,2,3]})")));
  EXPECT_FALSE(one.batch);
  EXPECT_THAT(one.items[0].prompt.ids, ElementsAre(1, 2, 3));
  EXPECT_TRUE(value(parse_generate(json(R"({"input_ids":[[1]]})"))).batch);
}

TEST(GenerateRequest, NamesTheMemberThatIsWrong) {
  const auto refused = [](const std::string& body, const std::string& param, const std::string& message) {
    expect_refused(parse_generate, body, param, message);
  };
  refused("{}", "text", "is missing");
  refused(R"({"text":"a","input_ids":[1]})", "input_ids", "exclude");
  refused(R"({"text":[1]})", "text", "expected a string");
  refused(R"({"input_ids":"a"})", "input_ids", "token ids");
  refused(R"({"text":"a","sampling_params":{"max_tokens":3}})", "sampling_params.max_tokens", "did you mean");
  refused(R"({"text":"a","sampling_params":{"temperature":"x"}})", "sampling_params.temperature", "a number");
  refused(R"({"text":"a","sampling_params":3})", "sampling_params", "expected an object");
  refused(R"({"text":["a","b"],"sampling_params":[{}]})", "sampling_params", "a list of 1 for 2");
  refused(R"({"text":["a","b"],"rid":"x"})", "rid", "list of names");
  refused(R"({"text":"a","return_logprob":"yes"})", "return_logprob", "true or false");
  refused(R"({"text":"a","lora_path":"x"})", "lora_path", "not supported");
  expect_refused(parse_abort, "{}", "rid", "is missing");
}

TEST(OtherRequests, NameTheMemberThatIsWrong) {
  expect_refused(parse_embedding, R"({"model":"m"})", "input", "is missing");
  expect_refused(parse_embedding, R"({"model":"m","input":""})", "input", "without content");
  expect_refused(parse_embedding, R"({"model":"m","input":"a","encoding_format":"hex"})", "encoding_format", "hex");
  expect_refused(parse_tokenize, R"({"text":"a"})", "prompt", "is missing");
  expect_refused(parse_tokenize, R"({"prompt":"a","add_special_token":true})", "add_special_token", "did you mean");
  expect_refused(parse_detokenize, R"({"tokens":"a"})", "tokens", "list of token ids");
  expect_refused(parse_detokenize, R"({"tokens":[[1],2]})", "tokens", "list of token ids");
}

TEST(JsonWriter, WritesWhatAParserReadsBack) {
  JsonWriter w;
  w.begin_object().field("a", "q\"\\\n\x01/é\xf0\x9f\x98\x80").field("b", 1.0).field("c", 1e-7).field("d", -3);
  w.key("e").begin_array().value(true).null().begin_object().end_object().end_array();
  w.field("f", std::optional<double>()).field("g", std::nan("")).end_object();
  const std::string text = w.take();
  EXPECT_EQ(text,
            "{\"a\":\"q\\\"\\\\\\n\\u0001/é\xf0\x9f\x98\x80\",\"b\":1.0,\"c\":1e-07,\"d\":-3,"
            "\"e\":[true,null,{}],\"f\":null,\"g\":null}");
  EXPECT_TRUE(Json::parse(text));
}

TEST(JsonWriter, ReplacesBytesThatAreNoCharacters) {
  const std::string bad = "\xef\xbf\xbd";
  for (const auto& [in, out] :
       std::vector<std::pair<std::string, std::string>>{{"a\xff"
                                                         "b",
                                                         "a" + bad + "b"},
                                                        {"\xe2\x82", bad + bad},
                                                        {"\xed\xa0\x80", bad + bad + bad},
                                                        {"\xc0\xaf", bad + bad},
                                                        {"\xf4\x90\x80\x80", bad + bad + bad + bad},
                                                        {"\xe2\x82\xac", "\xe2\x82\xac"}}) {
    JsonWriter w;
    EXPECT_EQ(w.value(in).take(), "\"" + out + "\"");
  }
}

}  // namespace
}  // namespace cairn::serve
