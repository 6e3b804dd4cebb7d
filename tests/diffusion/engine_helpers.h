// Requests of many kinds, and sinks that collect what becomes of them.
#pragma once
#include <fmt/core.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "device/under_test.h"
#include "diffusion/engine.h"
#include "models/registry.h"

namespace cairn::diffusion {

inline const Pipeline& emoji(Dtype dtype) {
  static std::map<Dtype, Pipeline> loaded;
  if (!loaded.contains(dtype))
    loaded.emplace(dtype,
                   or_throw(models::load_pipeline(std::string(CAIRN_SOURCE_DIR) + "/weights/cairn-emoji",
                                                  {.dtype = dtype, .device = device_under_test(), .loras = {}})));
  return loaded.at(dtype);
}

// Every cache, predictor and mask, with guidance, several pictures and a picture to start from here and there.
// Thresholds are high enough that short runs skip.
inline constexpr uint64_t kKinds = 11;
inline Request request_of_kind(uint64_t kind, int64_t steps) {
  static const char* const prompts[] = {"rocket", "panda face on a pink background", "red heart", "green apple"};
  static const char* const caches[kKinds] = {
      "",
      R"({"Fn_compute_blocks":1,"residual_diff_threshold":0.3,"max_warmup_steps":2})",
      R"({"Fn_compute_blocks":2,"Bn_compute_blocks":2,"residual_diff_threshold":0.3,"max_warmup_steps":3,)"
      R"("enable_taylorseer":true,"enable_encoder_taylorseer":true})",
      R"({"cache_type":"DBPrune","Fn_compute_blocks":2,"residual_diff_threshold":0.1,"max_warmup_steps":2})",
      R"({"Fn_compute_blocks":1,"steps_computation_mask":[1,1,0,1,0,0,1,0],"steps_computation_policy":"static"})",
      R"({"Fn_compute_blocks":1,"residual_diff_threshold":0.4,"max_warmup_steps":3,"enable_dmd":true})",
      R"({"Fn_compute_blocks":1,"residual_diff_threshold":0.4,"max_warmup_steps":2,"enable_foca":true})",
      R"({"cache_type":"DBPrune","Fn_compute_blocks":1,"Bn_compute_blocks":1,"residual_diff_threshold":0.15,)"
      R"("max_warmup_steps":3,"enable_taylorseer":true,"non_prune_block_ids":[4]})",
      R"({"Fn_compute_blocks":3,"Bn_compute_blocks":1,"residual_diff_threshold":0.3,"max_warmup_steps":2,)"
      R"("enable_separate_cfg":true,"cfg_diff_compute_separate":false})",
      R"({"Fn_compute_blocks":11,"residual_diff_threshold":0.5,"max_warmup_steps":1})",
      R"({"cache_type":"DBPrune","Fn_compute_blocks":1,"residual_diff_threshold":0.1,"max_warmup_steps":2,)"
      R"("enable_dynamic_prune_threshold":true,"max_dynamic_prune_threshold":0.3,"compat":true})"};
  Request r;
  r.prompts = {prompts[kind % 4]};
  r.seeds = {kind * 17 + 1};
  r.steps = steps;
  r.text_length = 32;
  if (kind == 3 || kind == 4 || kind == 8 || kind == 10) r.negative_prompt = "blurry", r.true_cfg_scale = 2.5;
  if (kind == 6) {  // starts from a picture, a few steps later
    r.image.emplace(64, 64);
    for (size_t i = 0; i < r.image->rgb.size(); ++i) r.image->rgb[i] = static_cast<uint8_t>(i * 7 % 251);
    r.strength = 0.8;
  }
  if (kind == 2 || kind == 7) r.images_per_prompt = 2;
  if (*caches[kind]) r.cache = or_throw(parse_cache_config(or_throw(Json::parse(caches[kind]))));
  return r;
}

// Both branches of every stack.
inline std::string trace_of(const CacheStats& stats) {
  std::string out;
  for (const auto& s : stats.stacks) out += s.main.trace + s.cfg.trace;
  return out;
}

struct Alone {
  Tensor latents;
  std::vector<image::Image> pictures;
  std::string trace;
};
inline Alone alone(const Pipeline& pipe, const Request& r) {
  const Inference no_gradients;
  auto run = or_throw(pipe.begin(r));
  while (!run.done()) run.advance();
  return {run.latents(), run.pictures(), trace_of(run.cache().stats())};
}

inline void eventually(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!holds() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(holds());
}

// Stops the engine thread at one place until it is released.
class Hold {
 public:
  void stop() {
    std::unique_lock lock(mutex_);
    reached_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return released_; });
  }
  void reached() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return reached_; });
  }
  void release() {
    const std::lock_guard lock(mutex_);
    released_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool reached_ = false, released_ = false;
};

// A letter for every step, written by the engine thread.
struct Order {
  std::string letters;
};

class Collector final : public PictureSink {
 public:
  Collector() = default;
  Collector(Order* order, char letter, Hold* hold = nullptr) : order_(order), hold_(hold), letter_(letter) {}

  void progress(const Progress& p) override {
    if (order_) order_->letters += letter_;
    if (hold_) hold_->stop();
    change([&] { progresses_.push_back(p); });
  }
  void preview(std::vector<image::Image> pictures, int64_t step) override {
    change([&] { previews_.push_back(pictures.empty() ? -1 : step); });
  }
  void done(Pictures p) override {
    change([&] { pictures_ = std::move(p); });
  }
  void failed(const Error& e) override {
    change([&] { error_ = e; });
  }

  Pictures wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return over(); });
    if (error_) throw Failure(*error_);
    return *pictures_;
  }
  Error error() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return over(); });
    return error_.value_or(Error{Code::kInternal, "it did not fail"});
  }
  void wait_for_steps(int64_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return static_cast<int64_t>(progresses_.size()) >= n || over(); });
  }
  bool ended() {
    const std::lock_guard lock(mutex_);
    return over();
  }
  std::vector<Progress> progresses() {
    const std::lock_guard lock(mutex_);
    return progresses_;
  }
  std::vector<int64_t> previews() {
    const std::lock_guard lock(mutex_);
    return previews_;
  }

 private:
  bool over() const { return pictures_ || error_; }
  void change(const std::function<void()>& f) {
    const std::lock_guard lock(mutex_);
    f();
    changed_.notify_all();
  }

  Order* order_ = nullptr;
  Hold* hold_ = nullptr;
  char letter_ = ' ';
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Progress> progresses_;
  std::vector<int64_t> previews_;
  std::optional<Pictures> pictures_;
  std::optional<Error> error_;
};

// Requests given to an engine, with their tickets.
struct Submitted {
  explicit Submitted(Engine& e) : engine(e) {}
  std::shared_ptr<Collector> add(Request r) {
    sinks.push_back(std::make_shared<Collector>());
    tickets.push_back(or_throw(engine.submit(r, sinks.back())));
    requests.push_back(std::move(r));
    return sinks.back();
  }
  size_t size() const { return requests.size(); }

  Engine& engine;
  std::vector<Request> requests;
  std::vector<std::shared_ptr<Collector>> sinks;
  std::vector<Engine::Ticket> tickets;
};

}  // namespace cairn::diffusion
