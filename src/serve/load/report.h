// What a load test found, in the numbers and words of SGLang's bench_serving.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "serve/load/load.h"

namespace cairn::serve {

// Of a set of times in seconds, in milliseconds; all 0 of an empty set. Percentiles lie on the line between their
// neighbours and `std` is the population's, both as NumPy has them by default.
struct Spread {
  explicit Spread(std::vector<double> seconds);
  double mean = 0, median = 0, std = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};

// Of the requests that succeeded.
struct LoadMetrics {
  explicit LoadMetrics(const LoadRun& run);

  size_t completed = 0, failed = 0;
  double duration = 0;                                                       // seconds
  int64_t total_input = 0, total_output = 0, total_cached = 0;               // tokens
  double request_throughput = 0;                                             // a second
  double input_throughput = 0, output_throughput = 0, total_throughput = 0;  // tokens a second
  double concurrency = 0;                                                    // requests in flight, on average
  double max_output_tokens_per_s = 0;                                        // in the best whole second
  int64_t max_concurrent_requests = 0;                                       // within one second
  // ttft, tpot (the time per token behind the first, of each request) and itl are of streams only.
  Spread e2e, ttft, tpot, itl;
  bool streamed = false;
};

// How the test was made, for the head of the report.
struct LoadSetting {
  std::string backend, dataset_name;
  std::string request_rate = "inf";  // as it was given
  int64_t max_concurrency = 0;
  int64_t random_input_len = 0, random_output_len = 0;
  double random_range_ratio = 0;
  std::string tag;
};

// The table, and below it the first different reasons of failures with how many there were of each.
std::string load_table(const LoadMetrics& metrics, const LoadSetting& setting);
std::string failures_text(const std::vector<Outcome>& outcomes, size_t most_reasons = 5);

// bench_serving's members, and ours beside them: failed, total_cached_tokens. add_details(): the times, lengths, texts
// and errors of every request, too.
Json load_json(const LoadMetrics& metrics, const LoadSetting& setting);
void add_details(Json& into, const std::vector<Outcome>& outcomes);

}  // namespace cairn::serve
