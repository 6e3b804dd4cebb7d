// cairn bench offline: many requests through the engine at once, without HTTP.
#include <fmt/core.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>

#include "app/bench.h"
#include "app/commands.h"
#include "app/flags.h"
#include "app/language_options.h"
#include "app/report.h"
#include "base/file.h"
#include "device/device.h"
#include "llm/engine.h"

namespace cairn::app {
namespace {

struct OfflineOptions {
  std::string dataset_name = "random", json;
  int64_t num_prompts = 64, input_len = 256, output_len = 64, prefix_len = 0, seed = 1, max_concurrency = 0;
  bool disable_warmup = false;

  void fields(auto& f) {
    f("dataset_name", dataset_name, "random ids, or random ids behind a prefix that all share",
      one_of({"random", "shared-prefix"}));
    f("num_prompts", num_prompts, "requests", between(1, 1e6));
    f("random_input_len", input_len, "tokens of a prompt", alias({"input_len"}).between(1, 1e6));
    f("random_output_len", output_len, "tokens of an answer; ends are ignored", alias({"output_len"}).between(1, 1e6));
    f("prefix_len", prefix_len, "of those of a prompt, that all share; with shared-prefix", between(0, 1e6));
    f("max_concurrency", max_concurrency, "requests in flight; 0: all at once", between(0, 1e6));
    f("seed", seed, "of the random ids")("disable_warmup", disable_warmup, "measure the first run");
    f("json", json, "the numbers as JSON");
  }
};

// When the tokens of a request came.
class Clock final : public llm::Sink {
 public:
  struct Board {
    std::mutex mutex;
    std::condition_variable changed;
    int64_t over = 0;
    std::optional<Error> error;
  };
  explicit Clock(Board& board) : board_(board), start(seconds_now()) {}

  bool token(const llm::Choice&) override {
    times.push_back(seconds_now());
    return !interrupted;
  }
  void done(const llm::Done& d) override {
    cached = d.cached_tokens;
    finish({});
  }
  void failed(const Error& e) override { finish(e); }

 private:
  Board& board_;
  void finish(std::optional<Error> error) {
    const std::lock_guard lock(board_.mutex);
    ++board_.over;
    if (error && !board_.error) board_.error = std::move(error);
    board_.changed.notify_all();
  }

 public:
  double start;
  std::vector<double> times;
  int64_t cached = 0;
};

std::vector<llm::Generate> dataset(const OfflineOptions& o, int64_t vocabulary, int64_t count) {
  std::mt19937_64 random(static_cast<uint64_t>(o.seed));
  std::uniform_int_distribution<int32_t> any(0, static_cast<int32_t>(vocabulary - 1));
  std::vector<int32_t> prefix(static_cast<size_t>(o.dataset_name == "shared-prefix" ? o.prefix_len : 0));
  for (int32_t& id : prefix) id = any(random);
  std::vector<llm::Generate> out(static_cast<size_t>(count));
  for (auto& g : out) {
    g.prompt = prefix;
    while (static_cast<int64_t>(g.prompt.size()) < o.input_len) g.prompt.push_back(any(random));
    g.sampling.max_new_tokens = o.output_len;
    g.sampling.temperature = 0;
    g.sampling.ignore_eos = true;
  }
  return out;
}

struct Outcome {
  double duration = 0;
  std::vector<std::shared_ptr<Clock>> clocks;
};

Result<Outcome> serve(llm::Engine& engine, std::vector<llm::Generate> requests, int64_t most) {
  Clock::Board board;
  Outcome out;
  std::vector<llm::Engine::Ticket> tickets;
  const double start = seconds_now();
  const auto wait_until = [&](int64_t over) {
    std::unique_lock lock(board.mutex);
    board.changed.wait(lock, [&] { return board.over >= over; });
  };
  for (size_t i = 0; i < requests.size() && !interrupted; ++i) {
    if (most > 0) wait_until(static_cast<int64_t>(i) - most + 1);
    out.clocks.push_back(std::make_shared<Clock>(board));
    tickets.push_back(TRY(engine.submit(std::move(requests[i]), out.clocks.back())));
  }
  wait_until(static_cast<int64_t>(out.clocks.size()));
  out.duration = seconds_now() - start;
  if (interrupted) return failure(Code::kCancelled, "stopped");
  if (board.error) return tl::unexpected(*board.error);
  return out;
}

// Mean, median and 99th percentile in milliseconds.
struct Spread {
  explicit Spread(std::vector<double> v) {
    if (v.empty()) return;
    std::ranges::sort(v);
    for (const double x : v) mean += x * 1e3 / static_cast<double>(v.size());
    median = v[v.size() / 2] * 1e3;
    p99 = v[std::min(v.size() - 1, v.size() * 99 / 100)] * 1e3;
  }
  double mean = 0, median = 0, p99 = 0;
};

}  // namespace

Result<int> bench_offline(const Arguments& args) {
  Flags flags("cairn bench offline [FLAGS]", "Times many requests at once through the engine, without HTTP.");
  OfflineOptions o;
  LanguageOptions lo;
  llm::Engine::Options options;
  flags.add("Benchmark", o);
  flags.add("Scheduler", options.scheduler);
  flags.add("Graphs", options.graph);
  flags.add("Model", lo);
  if (!TRY(flags.parse(args))) return 0;
  auto lm = TRY(load_language(lo));
  const int64_t vocabulary = lm.model->vocabulary();
  const std::string dtype = dtype_name(lm.model->dtype());
  if (o.input_len + o.output_len > lm.model->max_positions())
    return invalid(fmt::format("--random-input-len and --random-output-len go past the model's {} positions",
                               lm.model->max_positions()));
  if (o.prefix_len > o.input_len) return invalid("--prefix-len is longer than --random-input-len");
  options.scheduler.context_length = lm.model->max_positions();
  options.model_name = lm.name;
  const auto engine = TRY(llm::Engine::start(std::move(lm.model), std::move(options)));
  if (!o.disable_warmup) {
    OfflineOptions warm = o;
    warm.seed = -o.seed - 1;
    TRY(serve(*engine, dataset(warm, vocabulary, std::min<int64_t>(o.num_prompts, 4)), 0));
  }
  const auto before = engine->stats();
  const Outcome r = TRY(serve(*engine, dataset(o, vocabulary, o.num_prompts), o.max_concurrency));
  const auto after = engine->stats();
  std::vector<double> first, each, gaps, whole;
  int64_t generated = 0, cached = 0;
  for (const auto& c : r.clocks) {
    if (c->times.empty()) continue;
    generated += static_cast<int64_t>(c->times.size());
    cached += c->cached;
    first.push_back(c->times.front() - c->start);
    whole.push_back(c->times.back() - c->start);
    for (size_t i = 1; i < c->times.size(); ++i) gaps.push_back(c->times[i] - c->times[i - 1]);
    if (c->times.size() > 1)
      each.push_back((c->times.back() - c->times.front()) / static_cast<double>(c->times.size() - 1));
  }
  const int64_t prompted = o.num_prompts * o.input_len;
  const std::pair<const char*, double> rates[] = {
      {"request_throughput", static_cast<double>(o.num_prompts) / r.duration},
      {"input_throughput", static_cast<double>(prompted) / r.duration},
      {"output_throughput", static_cast<double>(generated) / r.duration},
      {"total_throughput", static_cast<double>(prompted + generated) / r.duration}};
  const std::pair<const char*, Spread> spreads[] = {
      {"ttft", Spread(first)}, {"tpot", Spread(each)}, {"itl", Spread(gaps)}, {"e2e_latency", Spread(whole)}};
  fmt::print(
      "{}, {}, {} threads: {} requests of {} tokens in and {} out, {:.2f} s, {} steps, {} tokens from the cache\n",
      lm.name, dtype, device::threads(), o.num_prompts, o.input_len, o.output_len, r.duration,
      after.steps - before.steps, cached);
  Json out(Json::Object{{"model", lm.name},
                        {"dtype", dtype},
                        {"threads", device::threads()},
                        {"duration", r.duration},
                        {"completed", static_cast<int64_t>(r.clocks.size())},
                        {"total_input_tokens", prompted},
                        {"total_output_tokens", generated},
                        {"cached_tokens", cached},
                        {"retractions", after.retractions - before.retractions}});
  for (const auto& [name, value] : rates) {
    fmt::print("{:<20}{:>12.1f} a second\n", name, value);
    out.set(name, value);
  }
  fmt::print("{:<20}{:>12}{:>12}{:>12}\n", "ms", "mean", "median", "p99");
  for (const auto& [name, s] : spreads) {
    fmt::print("{:<20}{:>12.2f}{:>12.2f}{:>12.2f}\n", name, s.mean, s.median, s.p99);
    out.set(fmt::format("mean_{}_ms", name), s.mean);
    out.set(fmt::format("median_{}_ms", name), s.median);
    out.set(fmt::format("p99_{}_ms", name), s.p99);
  }
  if (!o.json.empty()) TRY_VOID(write_file(o.json, out.dump(2) + "\n"));
  return 0;
}

}  // namespace cairn::app
