// A load test: many requests to one server, and when their tokens came.
#pragma once
#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "serve/http/client.h"
#include "serve/load/backend.h"

namespace cairn::serve {

struct LoadOptions {
  Url server;
  Backend backend = Backend::kSglang;
  RequestOptions request;
  std::string api_key;                 // empty: none is sent
  std::optional<double> request_rate;  // requests a second, at random times (Poisson); none: all at once
  int64_t max_concurrency = 0;         // in flight at a time, later ones wait; 0: no bound
  int64_t seed = 1;                    // of the times
  ClientOptions client;
};

struct LoadProgress {
  size_t done = 0, failed = 0, in_flight = 0, of = 0;
  int64_t output_tokens = 0;
  double seconds = 0;
};

struct LoadRun {
  std::vector<Outcome> outcomes;  // one for each prompt, in their order
  double seconds = 0;             // from the first request to the last answer
};

// Sends all prompts from one thread. `told` runs there after each answer. A request that fails is an outcome, not an
// error of the run; the run fails when `stop` turns true (Code::kCancelled), or when it cannot begin.
Result<LoadRun> run_load(const LoadOptions& options, const std::vector<LoadPrompt>& prompts,
                         const std::atomic<bool>& stop, const std::function<void(const LoadProgress&)>& told = {});

// GET `path` of the server as JSON: /v1/models, for one.
Result<Json> fetch_json(const LoadOptions& options, const std::string& path);

}  // namespace cairn::serve
