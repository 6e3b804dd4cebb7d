// cairn bench serving: many requests to a server, and how fast its answers came.
#include <fmt/core.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <fstream>

#include "app/bench.h"
#include "app/commands.h"
#include "app/flags.h"
#include "base/strings.h"
#include "serve/load/load.h"
#include "serve/load/report.h"

namespace cairn::app {
namespace {

constexpr int64_t kWarmupTokens = 32;

struct ServingOptions {
  std::string backend = "sglang", base_url, host = "127.0.0.1", model, api_key, tokenizer, request_rate = "inf";
  std::string extra_request_body, output_file, tag;
  int64_t port = 30000, max_concurrency = 0, warmup_requests = 1, timeout = 600;
  bool disable_stream = false, disable_ignore_eos = false, output_details = false, disable_tqdm = false;

  void fields(auto& f) {
    f("backend", backend,
      "whose routes to use: sglang is /generate, -chat is /v1/chat/completions, the others are "
      "/v1/completions",
      one_of(serve::backend_names()));
    f("base_url", base_url, "of the server, instead of --host and --port; http only");
    f("host", host, "of the server")("port", port, "of the server", between(1, 65535));
    f("model", model, "its name at the server; without it, the first of /v1/models");
    f("api_key", api_key, "sent as a bearer token");
    f("tokenizer", tokenizer, "a model's folder, for prompts of the wanted number of tokens");
    f("request_rate", request_rate, "requests a second, at random times; inf: all at once");
    f("max_concurrency", max_concurrency, "requests in flight; 0: no bound", between(0, 1e6));
    f("warmup_requests", warmup_requests, "requests before the clock starts", between(0, 1e4));
    f("timeout", timeout, "seconds of silence after which a request has failed", between(1, 1e6));
    f("disable_stream", disable_stream, "ask for whole answers")("disable_ignore_eos", disable_ignore_eos,
                                                                 "let answers end by themselves");
    f("extra_request_body", extra_request_body, "a JSON object with members that every request gets");
    f("output_file", output_file, "the numbers as one line of JSON, behind what is there");
    f("output_details", output_details, "times, texts and errors of every request in that line, too");
    f("tag", tag, "a name for the run, for that line")("disable_tqdm", disable_tqdm, "no line of progress");
  }
};

Result<serve::LoadOptions> load_options(const ServingOptions& o, int64_t seed) {
  serve::LoadOptions out;
  const bool v6 = o.host.find(':') != std::string::npos && !o.host.starts_with('[');
  const std::string address = fmt::format("http://{}:{}", v6 ? "[" + o.host + "]" : o.host, o.port);
  out.server = TRY(serve::parse_url(o.base_url.empty() ? address : o.base_url));
  // OpenAI's clients want the address with the /v1 that the routes here begin with.
  if (out.server.path.ends_with("/v1")) out.server.path.resize(out.server.path.size() - 3);
  out.backend = serve::backend_of(o.backend);
  out.api_key = o.api_key;
  for (const char c : o.api_key)
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) return invalid("--api-key: a space or control character");
  out.max_concurrency = o.max_concurrency;
  out.seed = seed;
  out.client.silence_timeout = std::chrono::seconds(o.timeout);
  out.request.stream = !o.disable_stream;
  out.request.ignore_eos = !o.disable_ignore_eos;
  if (!o.extra_request_body.empty()) {
    auto extra = Json::parse(o.extra_request_body);
    if (!extra) return tl::unexpected(within("--extra-request-body", std::move(extra).error()));
    if (!extra->as_object())
      return invalid(fmt::format("--extra-request-body: expected an object, got {}", extra->kind()));
    out.request.extra = *std::move(extra);
  }
  if (o.request_rate != "inf") {
    double rate = 0;
    const char* end = o.request_rate.data() + o.request_rate.size();
    const auto [at, error] = std::from_chars(o.request_rate.data(), end, rate);
    if (error != std::errc() || at != end || !std::isfinite(rate) || rate <= 0)
      return invalid(fmt::format("--request-rate: \"{}\" is neither inf nor a number above 0", o.request_rate));
    out.request_rate = rate;
  }
  return out;
}

Result<std::string> model_of(const serve::LoadOptions& load) {
  const Json models = TRY(serve::fetch_json(load, "/v1/models"));
  const Json* list = models.find("data");
  if (!list || !list->as_array() || list->as_array()->empty() || list->as_array()->front().text("id").empty())
    return invalid("the server names no model at /v1/models: say which with --model");
  return list->as_array()->front().text("id");
}

Result<void> warm_up(const serve::LoadOptions& load, serve::LoadPrompt prompt, int64_t times) {
  if (times == 0) return {};
  prompt.output_len = std::min(prompt.output_len, kWarmupTokens);
  serve::LoadOptions at_once = load;
  at_once.request_rate.reset();
  const std::vector<serve::LoadPrompt> prompts(static_cast<size_t>(times), prompt);
  const auto run = TRY(serve::run_load(at_once, prompts, interrupted));
  for (const auto& outcome : run.outcomes)
    if (outcome.ok) return {};
  return failure(Code::kUnavailable, "the warm-up failed: " + run.outcomes[0].error);
}

void show(const serve::LoadProgress& p) {
  std::fputs(
      fmt::format("\r{}/{} done, {} failed, {} in flight, {:.1f} tokens a second, {:.0f} s ", p.done, p.of, p.failed,
                  p.in_flight, static_cast<double>(p.output_tokens) / std::max(p.seconds, 1e-9), p.seconds)
          .c_str(),
      stderr);
  if (p.done == p.of) std::fputc('\n', stderr);
}

Result<void> append_line(const std::string& path, const std::string& line) {
  std::ofstream file(path, std::ios::app | std::ios::binary);
  file << line << '\n';
  file.flush();
  if (!file) return failure(Code::kUnavailable, path + ": cannot be written");
  return {};
}

}  // namespace

Result<int> bench_serving(const Arguments& args) {
  Flags flags("cairn bench serving [FLAGS]", "Sends many requests to a server and times the answers.");
  ServingOptions o;
  serve::DatasetOptions d;
  flags.add("Server", o);
  flags.add("Prompts", d);
  if (!TRY(flags.parse(args))) return 0;
  auto load = TRY(load_options(o, d.seed));
  const bool native = load.backend == serve::Backend::kSglang;
  std::optional<text::Tokenizer> tokenizer;
  if (!o.tokenizer.empty()) tokenizer = TRY(text::Tokenizer::load(o.tokenizer));
  const auto prompts = TRY(serve::make_dataset(d, native, tokenizer));
  load.request.model = o.model.empty() && !native ? TRY(model_of(load)) : o.model;
  TRY_VOID(warm_up(load, prompts[0], o.warmup_requests));
  const bool watched = !o.disable_tqdm && isatty(STDERR_FILENO);
  const auto run = TRY(
      serve::run_load(load, prompts, interrupted, watched ? show : std::function<void(const serve::LoadProgress&)>()));
  const serve::LoadMetrics metrics(run);
  const serve::LoadSetting setting{o.backend,          d.dataset_name,      o.request_rate,       o.max_concurrency,
                                   d.random_input_len, d.random_output_len, d.random_range_ratio, o.tag};
  fmt::print("{}", serve::load_table(metrics, setting));
  std::fputs(serve::failures_text(run.outcomes).c_str(), stderr);
  if (!o.output_file.empty()) {
    Json line = serve::load_json(metrics, setting);
    if (o.output_details) serve::add_details(line, run.outcomes);
    TRY_VOID(append_line(o.output_file, line.dump()));
  }
  return metrics.completed == 0 ? 1 : 0;
}

}  // namespace cairn::app
