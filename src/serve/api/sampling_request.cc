#include "serve/api/sampling_request.h"

#include <fmt/core.h>

#include <charconv>

namespace cairn::serve {
namespace {

constexpr size_t kMostStops = 64, kLongestStop = 1024, kMostBias = 1024;

void read_bias(RequestReader& r, const Json& value, Sampling& out) {
  if (value.is_null()) return;
  const auto* members = value.as_object();
  if (!members) return r.fail("logit_bias", fmt::format("expected an object, got {}", value.kind()));
  if (members->size() > kMostBias) return r.fail("logit_bias", fmt::format("more than {} tokens", kMostBias));
  for (const auto& [key, bias] : *members) {
    int64_t id = -1;
    const auto [end, bad] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (bad != std::errc() || end != key.data() + key.size() || id < 0)
      return r.fail("logit_bias", fmt::format("\"{}\" is no token id", key.substr(0, 40)));
    if (!bias.is_number() || !(bias.number() >= -100 && bias.number() <= 100))
      return r.fail("logit_bias", fmt::format("the bias of token {} must be a number in [-100, 100]", id));
    out.logit_bias.emplace_back(id, bias.number());
  }
}

// Stop texts are looked for at every token, so their number and length have bounds.
void read_stops(RequestReader& r, std::string_view name, const Json& value, std::vector<std::string>& out) {
  if (value.is_null()) return;
  out = read_texts(r, name, value, kMostStops);
  for (const std::string& text : out) {
    if (text.empty()) return r.fail(name, "an empty text would end every answer");
    if (text.size() > kLongestStop) return r.fail(name, fmt::format("longer than {} bytes", kLongestStop));
  }
}

}  // namespace

std::vector<std::string> read_texts(RequestReader& r, std::string_view name, const Json& value, size_t most) {
  if (const auto* one = value.as_string()) return {*one};
  std::vector<std::string> out;
  const auto* list = value.as_array();
  if (!list) return r.fail(name, fmt::format("expected a string or a list of strings, got {}", value.kind())), out;
  if (list->size() > most) return r.fail(name, fmt::format("more than {} texts", most)), out;
  for (const Json& one : *list) {
    if (!one.as_string()) return r.fail(name, fmt::format("expected a list of strings, found {}", one.kind())), out;
    out.push_back(*one.as_string());
  }
  return out;
}

std::vector<int64_t> read_ids(RequestReader& r, std::string_view name, const Json& value) {
  std::vector<int64_t> out;
  const auto* list = value.as_array();
  if (!list) return r.fail(name, fmt::format("expected a list of token ids, got {}", value.kind())), out;
  out.reserve(list->size());
  for (const Json& one : *list) {
    if (!one.as_int()) return r.fail(name, fmt::format("expected a list of token ids, found {}", one.kind())), out;
    if (*one.as_int() < 0) return r.fail(name, fmt::format("{} is no token id", *one.as_int())), out;
    out.push_back(*one.as_int());
  }
  return out;
}

std::vector<Prompt> read_prompts(RequestReader& r, std::string_view name, const Json& value, size_t most, bool& batch) {
  batch = false;
  if (const auto* text = value.as_string()) return {Prompt{*text, {}, false}};
  const auto* list = value.as_array();
  if (!list)
    return r.fail(name, fmt::format("expected a string, a list of strings or token ids, got {}", value.kind())),
           std::vector<Prompt>{};
  if (list->empty()) return r.fail(name, "the list is empty"), std::vector<Prompt>{};
  if (list->front().is_number()) return {Prompt{"", read_ids(r, name, value), true}};
  batch = true;
  if (list->size() > most) return r.fail(name, fmt::format("more than {} prompts", most)), std::vector<Prompt>{};
  std::vector<Prompt> out;
  for (const Json& one : *list) {
    const bool tokenized = list->front().as_array() != nullptr;
    if (!tokenized && !one.as_string()) {
      r.fail(name,
             fmt::format("a list of prompts must hold strings only or lists of token ids only, found {}", one.kind()));
      break;
    }
    out.push_back(tokenized ? Prompt{"", read_ids(r, name, one), true} : Prompt{*one.as_string(), {}, false});
    if (tokenized && out.back().ids.empty()) r.fail(name, "a prompt without tokens");
  }
  return out;
}

void read_sampling(RequestReader& r, Sampling& out) {
  SamplingFields more{out, {}, {}, {}, {}, {}, {}};
  more.fields(r);
  if (!r.ok()) return;
  if (out.repetition_penalty == 0) r.fail("repetition_penalty", "must be greater than 0");
  read_stops(r, "stop", more.stop, out.stop);
  read_stops(r, "stop_regex", more.stop_regex, out.stop_regex);
  read_bias(r, more.logit_bias, out);
  for (const int64_t id : out.stop_token_ids)
    if (id < 0) r.fail("stop_token_ids", fmt::format("{} is no token id", id));
  const auto set = [&](const char* name, Grammar::Kind kind, std::string text) {
    if (out.grammar.kind != Grammar::Kind::kNone) r.fail(name, "only one of json_schema, regex and ebnf may be given");
    out.grammar = {kind, std::move(text)};
  };
  if (const Json& schema = more.json_schema; !schema.is_null()) {
    if (!schema.as_string() && !schema.as_object() && !schema.as_bool())
      r.fail("json_schema", fmt::format("expected a schema, got {}", schema.kind()));
    set("json_schema", Grammar::Kind::kJsonSchema, schema.as_string() ? *schema.as_string() : schema.dump());
  }
  if (more.regex) set("regex", Grammar::Kind::kRegex, *more.regex);
  if (more.ebnf) set("ebnf", Grammar::Kind::kEbnf, *more.ebnf);
}

void check_sampling(RequestReader& r, const Sampling& s, const SamplingNames& names) {
  if (s.max_new_tokens && s.min_new_tokens > *s.max_new_tokens)
    r.fail(names.min_tokens,
           fmt::format("{} is more than {}, {}", s.min_new_tokens, names.max_tokens, *s.max_new_tokens));
}

void read_response_format(RequestReader& r, Sampling& out) {
  const Json* format = r.find("response_format");
  if (!format || !r.ok()) return;
  if (!format->as_object()) return r.fail("response_format", fmt::format("expected an object, got {}", format->kind()));
  const std::string type = format->text("type");
  if (type == "text") return;
  if (out.grammar.kind != Grammar::Kind::kNone)
    return r.fail("response_format", "excludes json_schema, regex and ebnf");
  if (type == "json_object") {
    out.grammar = {Grammar::Kind::kJsonObject, ""};
  } else if (type == "json_schema") {
    const Json* named = format->find("json_schema");
    const Json* schema = named ? named->find("schema") : nullptr;
    if (!schema || !schema->as_object())
      return r.fail("response_format.json_schema.schema", "an object is expected here");
    out.grammar = {Grammar::Kind::kJsonSchema, schema->dump()};
  } else {
    r.fail("response_format.type", fmt::format("\"{}\" is none of text, json_object, json_schema", type.substr(0, 40)));
  }
}

}  // namespace cairn::serve
