#include "serve/load/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace cairn::serve {
namespace {

double percentile(const std::vector<double>& sorted, double percent) {
  const double at = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - static_cast<double>(below));
}

template <class F>
std::vector<double> gathered(const LoadRun& run, F&& add) {
  std::vector<double> out;
  for (const auto& o : run.outcomes)
    if (o.ok) add(o, out);
  return out;
}

std::vector<double> latencies(const LoadRun& run) {
  return gathered(run, [](const Outcome& o, auto& out) { out.push_back(o.latency); });
}
std::vector<double> first_tokens(const LoadRun& run) {
  return gathered(run, [](const Outcome& o, auto& out) {
    if (o.ttft) out.push_back(*o.ttft);
  });
}
std::vector<double> times_per_token(const LoadRun& run) {
  return gathered(run, [](const Outcome& o, auto& out) {
    if (o.ttft && o.output_tokens > 1) out.push_back((o.latency - *o.ttft) / static_cast<double>(o.output_tokens - 1));
  });
}
std::vector<double> gaps(const LoadRun& run) {
  return gathered(run, [](const Outcome& o, auto& out) { out.insert(out.end(), o.itl.begin(), o.itl.end()); });
}

// Tokens, and requests in flight, in each second of the run.
struct Seconds {
  explicit Seconds(const LoadRun& run) {
    const auto last = static_cast<size_t>(std::max(0.0, run.seconds));
    tokens.resize(last + 1);
    requests.resize(last + 1);
    for (const auto& o : run.outcomes) {
      if (!o.ok) continue;
      const auto second = [last](double t) { return std::min(last, static_cast<size_t>(std::max(0.0, t))); };
      for (size_t s = second(o.start); s <= second(o.start + o.latency); ++s) ++requests[s];
      if (!o.ttft) continue;
      double at = o.start + *o.ttft;
      ++tokens[second(at)];
      for (const double gap : o.itl) ++tokens[second(at += gap)];
    }
  }
  std::vector<int64_t> tokens, requests;
};

void rule(std::string& out, std::string_view title, char c) {
  const size_t rest = 50 - title.size();
  out.append(rest / 2, c).append(title).append(rest - rest / 2, c) += '\n';
}
void count(std::string& out, std::string_view name, int64_t value) {
  out += fmt::format("{:<40} {:<10}\n", name, value);
}
void real(std::string& out, std::string_view name, double value) {
  out += fmt::format("{:<40} {:<10.2f}\n", name, value);
}

}  // namespace

Spread::Spread(std::vector<double> seconds) {
  if (seconds.empty()) return;
  std::ranges::sort(seconds);
  const auto n = static_cast<double>(seconds.size());
  const double average = std::accumulate(seconds.begin(), seconds.end(), 0.0) / n;
  double squares = 0;
  for (const double x : seconds) squares += (x - average) * (x - average);
  mean = average * 1e3;
  std = std::sqrt(squares / n) * 1e3;
  median = percentile(seconds, 50) * 1e3;
  p90 = percentile(seconds, 90) * 1e3;
  p95 = percentile(seconds, 95) * 1e3;
  p99 = percentile(seconds, 99) * 1e3;
  max = seconds.back() * 1e3;
}

LoadMetrics::LoadMetrics(const LoadRun& run)
    : duration(run.seconds), e2e(latencies(run)), ttft(first_tokens(run)), tpot(times_per_token(run)), itl(gaps(run)) {
  double busy = 0;
  for (const auto& o : run.outcomes) {
    ++(o.ok ? completed : failed);
    if (!o.ok) continue;
    total_input += o.prompt_tokens;
    total_output += o.output_tokens;
    total_cached += o.cached_tokens;
    busy += o.latency;
    streamed = streamed || o.ttft;
  }
  if (duration <= 0) return;
  request_throughput = static_cast<double>(completed) / duration;
  input_throughput = static_cast<double>(total_input) / duration;
  output_throughput = static_cast<double>(total_output) / duration;
  total_throughput = static_cast<double>(total_input + total_output) / duration;
  concurrency = busy / duration;
  const Seconds seconds(run);
  max_output_tokens_per_s = static_cast<double>(*std::ranges::max_element(seconds.tokens));
  max_concurrent_requests = *std::ranges::max_element(seconds.requests);
}

std::string load_table(const LoadMetrics& m, const LoadSetting& setting) {
  std::string out;
  rule(out, " Serving Benchmark Result ", '=');
  out += fmt::format("{:<40} {:<10}\n", "Backend:", setting.backend);
  out += fmt::format("{:<40} {:<10}\n", "Traffic request rate:", setting.request_rate);
  out += fmt::format("{:<40} {:<10}\n", "Max request concurrency:",
                     setting.max_concurrency ? std::to_string(setting.max_concurrency) : "not set");
  count(out, "Successful requests:", static_cast<int64_t>(m.completed));
  if (m.failed) count(out, "Failed requests:", static_cast<int64_t>(m.failed));
  real(out, "Benchmark duration (s):", m.duration);
  count(out, "Total input tokens:", m.total_input);
  if (m.total_cached) count(out, "Total cached input tokens:", m.total_cached);
  count(out, "Total generated tokens:", m.total_output);
  real(out, "Request throughput (req/s):", m.request_throughput);
  real(out, "Input token throughput (tok/s):", m.input_throughput);
  real(out, "Output token throughput (tok/s):", m.output_throughput);
  if (m.streamed) real(out, "Peak output token throughput (tok/s):", m.max_output_tokens_per_s);
  count(out, "Peak concurrent requests:", m.max_concurrent_requests);
  real(out, "Total token throughput (tok/s):", m.total_throughput);
  real(out, "Concurrency:", m.concurrency);
  rule(out, "End-to-End Latency", '-');
  real(out, "Mean E2E Latency (ms):", m.e2e.mean);
  real(out, "Median E2E Latency (ms):", m.e2e.median);
  real(out, "P90 E2E Latency (ms):", m.e2e.p90);
  real(out, "P99 E2E Latency (ms):", m.e2e.p99);
  struct Section {
    const char *title, *name;
    const Spread* spread;
  };
  const Section sections[] = {{"Time to First Token", "TTFT", &m.ttft},
                              {"Time per Output Token (excl. 1st token)", "TPOT", &m.tpot},
                              {"Inter-Token Latency", "ITL", &m.itl}};
  for (const auto& s : sections) {
    if (!m.streamed) break;
    rule(out, s.title, '-');
    real(out, fmt::format("Mean {} (ms):", s.name), s.spread->mean);
    real(out, fmt::format("Median {} (ms):", s.name), s.spread->median);
    if (s.spread == &m.itl) real(out, "P95 ITL (ms):", m.itl.p95);
    real(out, fmt::format("P99 {} (ms):", s.name), s.spread->p99);
    if (s.spread == &m.itl) real(out, "Max ITL (ms):", m.itl.max);
  }
  return out + std::string(50, '=') + "\n";
}

std::string failures_text(const std::vector<Outcome>& outcomes, size_t most_reasons) {
  std::vector<std::pair<std::string, size_t>> reasons;
  size_t others = 0;
  for (const auto& o : outcomes) {
    if (o.ok) continue;
    const auto known = std::ranges::find(reasons, o.error, &std::pair<std::string, size_t>::first);
    if (known != reasons.end()) {
      ++known->second;
    } else if (reasons.size() < most_reasons) {
      reasons.emplace_back(o.error, 1);
    } else {
      ++others;
    }
  }
  std::string out;
  for (const auto& [reason, times] : reasons) out += fmt::format("{} failed: {}\n", times, reason);
  if (others) out += fmt::format("{} failed for other reasons\n", others);
  return out;
}

Json load_json(const LoadMetrics& m, const LoadSetting& setting) {
  Json out(Json::Object{});
  out.set("tag", setting.tag.empty() ? Json() : Json(setting.tag));
  out.set("backend", setting.backend);
  out.set("dataset_name", setting.dataset_name);
  double rate = 0;
  const char* end = setting.request_rate.data() + setting.request_rate.size();
  const bool numeric = std::from_chars(setting.request_rate.data(), end, rate).ptr == end && std::isfinite(rate);
  out.set("request_rate", numeric ? Json(rate) : Json(setting.request_rate));
  out.set("max_concurrency", setting.max_concurrency ? Json(setting.max_concurrency) : Json());
  out.set("random_input_len", setting.random_input_len);
  out.set("random_output_len", setting.random_output_len);
  out.set("random_range_ratio", setting.random_range_ratio);
  out.set("duration", m.duration);
  out.set("completed", static_cast<int64_t>(m.completed));
  out.set("failed", static_cast<int64_t>(m.failed));
  out.set("total_input_tokens", m.total_input);
  out.set("total_output_tokens", m.total_output);
  out.set("total_cached_tokens", m.total_cached);
  out.set("request_throughput", m.request_throughput);
  out.set("input_throughput", m.input_throughput);
  out.set("output_throughput", m.output_throughput);
  out.set("total_throughput", m.total_throughput);
  const std::pair<const char*, const Spread*> spreads[] = {
      {"e2e_latency", &m.e2e}, {"ttft", &m.ttft}, {"tpot", &m.tpot}, {"itl", &m.itl}};
  for (const auto& [name, s] : spreads) {
    out.set(fmt::format("mean_{}_ms", name), s->mean);
    out.set(fmt::format("median_{}_ms", name), s->median);
    out.set(fmt::format("std_{}_ms", name), s->std);
    if (s == &m.e2e) out.set("p90_e2e_latency_ms", s->p90);
    if (s == &m.itl) out.set("p95_itl_ms", s->p95);
    out.set(fmt::format("p99_{}_ms", name), s->p99);
  }
  out.set("concurrency", m.concurrency);
  out.set("max_output_tokens_per_s", m.max_output_tokens_per_s);
  out.set("max_concurrent_requests", m.max_concurrent_requests);
  return out;
}

void add_details(Json& into, const std::vector<Outcome>& outcomes) {
  Json::Array inputs, outputs, ttfts, itls, texts, errors;
  for (const auto& o : outcomes) {
    inputs.emplace_back(o.prompt_tokens);
    outputs.emplace_back(o.output_tokens);
    ttfts.emplace_back(o.ttft.value_or(0));
    itls.emplace_back(Json::Array(o.itl.begin(), o.itl.end()));
    texts.emplace_back(o.text);
    errors.emplace_back(o.error);
  }
  into.set("input_lens", std::move(inputs));
  into.set("output_lens", std::move(outputs));
  into.set("ttfts", std::move(ttfts));
  into.set("itls", std::move(itls));
  into.set("generated_texts", std::move(texts));
  into.set("errors", std::move(errors));
}

}  // namespace cairn::serve
