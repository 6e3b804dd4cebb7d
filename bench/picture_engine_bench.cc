// Pictures a second of the diffusion engine: K requests at once against the same ones one after the other, without a
// cache and with DBCache. Both ways are run in turns, since the machine may be shared; seconds are those of the fastest
// round, the one that neighbours disturbed least, beside medians. One line of JSON per row. Usage: picture_engine_bench
// [ROUNDS [MODEL [SIDE [STEPS]]]]
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "device/device.h"
#include "diffusion/engine.h"
#include "models/registry.h"

namespace cairn::diffusion {
namespace {

// Counts the requests that are over.
struct Counter final : PictureSink {
  void done(Pictures) override { over(); }
  void failed(const Error& e) override {
    fmt::print(stderr, "{}\n", e.what);
    over();
  }
  void over() {
    const std::lock_guard lock(mutex);
    ++count;
    changed.notify_all();
  }
  void wait(int n) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return count >= n; });
  }

  std::mutex mutex;
  std::condition_variable changed;
  int count = 0;
};

double median(std::vector<double> v) {
  std::ranges::sort(v);
  return v[v.size() / 2];
}

// Seconds of `k` requests, all at once or one after the other.
double seconds(Engine& engine, Request r, int k, bool together) {
  const auto sink = std::make_shared<Counter>();
  std::vector<Engine::Ticket> tickets;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < k; ++i) {
    r.seeds = {static_cast<uint64_t>(i)};
    tickets.push_back(or_throw(engine.submit(r, sink)));
    if (!together) sink->wait(i + 1);
  }
  sink->wait(k);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void run(int rounds, const std::string& model, int64_t side, int64_t steps) {
  const auto engine =
      or_throw(Engine::start(or_throw(models::load_pipeline(model, {.dtype = kBF16, .loras = {}})), {}));
  const char* const caches[] = {
      R"({"cache_type":"NONE"})", R"({"Fn_compute_blocks":1,"residual_diff_threshold":0.12,"max_warmup_steps":4})",
      R"({"Fn_compute_blocks":1,"Bn_compute_blocks":1,"residual_diff_threshold":0.12,"max_warmup_steps":4,)"
      R"("enable_taylorseer":true})"};
  for (const char* keys : caches) {
    Request r;
    r.prompts = {"rocket on a blue background"};
    r.height = r.width = side;
    r.steps = steps;
    r.cache = or_throw(parse_cache_config(or_throw(Json::parse(keys))));
    seconds(*engine, r, 2, true);  // packs weights
    for (const int k : {2, 4, 8}) {
      std::vector<double> apart, together;
      const EngineStats before = engine->stats();
      for (int i = 0; i < rounds; ++i) {
        apart.push_back(seconds(*engine, r, k, false));
        together.push_back(seconds(*engine, r, k, true));
      }
      const EngineStats after = engine->stats();
      const double skipped = static_cast<double>(after.skipped_steps - before.skipped_steps) /
                             static_cast<double>(after.steps - before.steps);
      const double one = std::ranges::min(apart), all = std::ranges::min(together);
      fmt::print(
          "{{\"cache\": {}, \"requests\": {}, \"skipped\": {:.2f}, \"apart\": {:.4f}, \"together\": {:.4f}, \"gain\": "
          "{:.2f}, \"median_apart\": {:.4f}, \"median_together\": {:.4f}}}\n",
          keys, k, skipped, one, all, one / all, median(apart), median(together));
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace cairn::diffusion

int main(int argc, char** argv) {
  const auto number = [&](int i, int64_t otherwise) { return argc > i ? std::atoll(argv[i]) : otherwise; };
  cairn::device::set_threads(0);
  cairn::diffusion::run(static_cast<int>(number(1, 9)), argc > 2 ? argv[2] : CAIRN_SOURCE_DIR "/weights/cairn-emoji",
                        number(3, 0), number(4, 28));
}
