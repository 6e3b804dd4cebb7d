#include "serve/language_metrics.h"

#include <chrono>
#include <memory>
#include <mutex>

namespace cairn::serve {
namespace {

using Clock = std::chrono::steady_clock;

// Tokens a second since the reading before, which is at least a second old.
class Rate {
 public:
  double operator()(int64_t total) {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    const double passed = std::chrono::duration<double>(now - since_).count();
    if (passed >= 1) {
      rate_ = static_cast<double>(total - total_) / passed;
      since_ = now;
      total_ = total;
    }
    return rate_;
  }

 private:
  std::mutex mutex_;
  Clock::time_point since_ = Clock::now();
  int64_t total_ = 0;
  double rate_ = 0;
};

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace

LanguageMetrics::LanguageMetrics(Registry& r, const std::string& model, const llm::Engine& engine)
    : prompt_tokens(r.counter("sglang:prompt_tokens_total", "Tokens of prompts.", {{"model_name", model}})),
      cached_tokens(r.counter("sglang:cached_tokens_total", "Tokens of prompts that were found in the prefix cache.",
                              {{"model_name", model}})),
      generation_tokens(r.counter("sglang:generation_tokens_total", "Generated tokens.", {{"model_name", model}})),
      requests(r.counter("sglang:num_requests_total", "Answers that were asked for.", {{"model_name", model}})),
      aborted(r.counter("sglang:num_aborted_requests_total", "Answers that were cut off: the client left, or asked so.",
                        {{"model_name", model}})),
      time_to_first_token(r.histogram("sglang:time_to_first_token_seconds", "From the request to its first token.",
                                      ttft_buckets(), {{"model_name", model}})),
      inter_token_latency(r.histogram("sglang:inter_token_latency_seconds", "Between two tokens of an answer.",
                                      itl_buckets(), {{"model_name", model}})),
      e2e_latency(r.histogram("sglang:e2e_request_latency_seconds", "From the request to the end of its answer.",
                              e2e_buckets(), {{"model_name", model}})) {
  const auto gauge = [&](const char* name, const char* help, auto read) {
    r.gauge(name, help, [&engine, read] { return static_cast<double>(read(engine.stats())); }, {{"model_name", model}});
  };
  using S = llm::EngineStats;
  gauge("sglang:num_running_reqs", "Answers under way.", [](const S& s) { return s.running; });
  gauge("sglang:num_queue_reqs", "Requests that wait for room.", [](const S& s) { return s.waiting; });
  gauge("sglang:token_usage", "Share of the cache of keys and values that running answers hold.",
        [](const S& s) { return share(s.blocks - s.free_blocks - s.cached_blocks, s.blocks); });
  gauge("sglang:cache_hit_rate", "Share of prompt tokens that were found in the prefix cache.",
        [](const S& s) { return share(s.cached_tokens, s.prompt_tokens); });
  gauge("sglang:num_retracted_reqs", "Answers that gave their blocks back for a while, so far.",
        [](const S& s) { return s.retractions; });
  gauge("sglang:gen_throughput", "Generated tokens a second, lately.",
        [rate = std::make_shared<Rate>()](const S& s) { return (*rate)(s.generated_tokens); });
}

}  // namespace cairn::serve
