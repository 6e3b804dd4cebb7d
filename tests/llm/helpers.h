// What the tests of the engine share: the tiny model, requests, and a sink that collects.
#pragma once
#include <gmock/gmock.h>

#include <condition_variable>
#include <mutex>
#include <random>

#include "device/under_test.h"
#include "llm/engine.h"
#include "models/language.h"

namespace cairn::llm {

// In bf16 on a processor, whose kernels give a row the same bits in any company; elsewhere in fp32, exact enough
// for the same tokens.
inline std::shared_ptr<const CausalLm> tiny() {
  static const std::shared_ptr<const CausalLm> model =
      or_throw(models::load_language_model(std::string(CAIRN_SOURCE_DIR) + "/weights/cairn-tiny-lm",
                                           device_under_test().is_cpu() ? kBF16 : kF32, device_under_test()));
  return model;
}

// Collects an answer; a caller may wait for its end, or stop it after so many tokens.
class Collector final : public Sink {
 public:
  explicit Collector(size_t most = SIZE_MAX) : most_(most) {}

  void prompt(std::vector<Choice> judged) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(prompt_) << "told twice";
    EXPECT_TRUE(choices_.empty()) << "told too late";
    prompt_ = std::move(judged);
  }
  void embedding(std::vector<float> numbers) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(embedding_) << "given twice";
    EXPECT_TRUE(choices_.empty()) << "given too late";
    embedding_ = std::move(numbers);
  }
  bool token(const Choice& c) override {
    const std::lock_guard lock(mutex_);
    choices_.push_back(c);
    tokens_.push_back(c.token);
    changed_.notify_all();
    return tokens_.size() < most_;
  }
  void done(const Done& d) override {
    const std::lock_guard lock(mutex_);
    done_ = d;
    changed_.notify_all();
  }
  void failed(const Error& e) override {
    const std::lock_guard lock(mutex_);
    error_ = e;
    changed_.notify_all();
  }

  std::vector<int32_t> wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_ || error_; });
    if (error_) throw Failure(*error_);
    return tokens_;
  }
  std::vector<Choice> choices() {
    wait();
    return choices_;
  }
  std::vector<Choice> prompt() {
    wait();
    if (!prompt_) throw Failure(Error{Code::kInternal, "the sink was not told of the prompt"});
    return *prompt_;
  }
  std::vector<float> embedding() {
    wait();
    if (!embedding_) throw Failure(Error{Code::kInternal, "the sink was given no embedding"});
    return *embedding_;
  }
  void wait_for_tokens(size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return tokens_.size() >= n || done_ || error_; });
  }
  Done ended() {
    wait();
    return *done_;
  }
  std::optional<Error> error() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_ || error_; });
    return error_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int32_t> tokens_;
  std::vector<Choice> choices_;
  std::optional<std::vector<Choice>> prompt_;
  std::optional<std::vector<float>> embedding_;
  std::optional<Done> done_;
  std::optional<Error> error_;
  size_t most_;
};

inline Generate some_request(uint32_t seed, int64_t length, int64_t tokens) {
  std::mt19937 random(seed);
  Generate g;
  for (int64_t i = 0; i < length; ++i) g.prompt.push_back(static_cast<int32_t>(random() % 4000));
  g.sampling.max_new_tokens = tokens;
  g.sampling.seed = seed;
  g.sampling.ignore_eos = true;
  g.sampling.temperature = seed % 2 ? 1 : 0;
  g.sampling.repetition_penalty = seed % 3 ? 1 : 1.2;
  return g;
}

inline std::unique_ptr<Engine> engine_of(Engine::Options o = {}) {
  if (o.block_size == 0) o.block_size = 16;  // on every device: tests count what is cached
  if (o.blocks == 0) o.blocks = 512;
  return or_throw(Engine::start(tiny(), std::move(o)));
}

// By an engine without company, which does one thing after the other.
inline std::vector<int32_t> alone(const Generate& g, Engine::Options o = {}) {
  o.scheduler.disable_overlap_schedule = true;
  const auto engine = engine_of(std::move(o));
  auto sink = std::make_shared<Collector>();
  const auto ticket = or_throw(engine->submit(g, sink));
  return sink->wait();
}

}  // namespace cairn::llm
