// A step is planned, and the one before it handed out, while another runs; and nobody's answer shows it.
#include <functional>
#include <thread>

#include "llm/helpers.h"

namespace cairn::llm {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// False when it has not come true in a long time.
bool until(const std::function<bool()>& f) {
  for (int i = 0; i < 10000; ++i) {
    if (f()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

// The tiny model, with a test looking on.
class Watched final : public CausalLm {
 public:
  std::function<void(int64_t)> before = [](int64_t) {};  // the n-th forward begins, from 1 on
  mutable std::atomic<int64_t> begun = 0;
  mutable std::vector<size_t> sequences;  // of each forward; the stepping thread's

  Tensor forward(const Batch& batch, const KvCache& cache) const override {
    sequences.push_back(batch.sequences.size());
    before(++begun);
    return tiny()->forward(batch, cache);
  }
  std::vector<Tensor> rotary(const Batch& batch) const override { return tiny()->rotary(batch); }
  Tensor logits(const Tensor& hidden) const override { return tiny()->logits(hidden); }
  KvShape kv_shape() const override { return tiny()->kv_shape(); }
  int64_t vocabulary() const override { return tiny()->vocabulary(); }
  int64_t max_positions() const override { return tiny()->max_positions(); }
  Dtype dtype() const override { return tiny()->dtype(); }
  c10::Device device() const override { return tiny()->device(); }
};

std::unique_ptr<Engine> watched_engine(const std::shared_ptr<Watched>& model, Engine::Options o = {}) {
  o.blocks = 512;
  o.graph.disable = true;  // replays do not come by here
  return or_throw(Engine::start(model, std::move(o)));
}

// Does something when it hears of its n-th token, from 1 on.
class Listener final : public Sink {
 public:
  explicit Listener(std::function<bool(int64_t)> f) : hears_(std::move(f)) {}
  bool token(const Choice& c) override {
    const bool goes_on = hears_(++heard);
    return answer->token(c) && goes_on;
  }
  void done(const Done& d) override { answer->done(d); }
  void failed(const Error& e) override { answer->failed(e); }

  const std::shared_ptr<Collector> answer = std::make_shared<Collector>();
  std::atomic<int64_t> heard = 0;

 private:
  std::function<bool(int64_t)> hears_;
};

void expect_no_leak(Engine& engine) {
  EXPECT_TRUE(until([&] { return engine.flush_cache().has_value(); }));
  EXPECT_TRUE(until([&] { return engine.stats().free_blocks == engine.stats().blocks; }));
}

TEST(Overlap, TokensAreHeardOfWhileTheNextStepRuns) {
  const auto model = std::make_shared<Watched>();
  const auto sink = std::make_shared<Listener>([&](int64_t n) {
    // Not before the next step has begun, which waits for it in turn.
    EXPECT_TRUE(n == 20 || until([&] { return model->begun > n; }));
    return true;
  });
  model->before = [&](int64_t n) { EXPECT_TRUE(until([&] { return sink->heard >= n - 1; })); };
  const auto engine = watched_engine(model);
  const auto ticket = or_throw(engine->submit(some_request(1, 40, 20), sink));
  EXPECT_EQ(sink->answer->wait(), alone(some_request(1, 40, 20)));
  EXPECT_EQ(model->begun, 20);
}

TEST(Overlap, ANewcomerIsInTheStepAfterTheOneThatRuns) {
  const auto model = std::make_shared<Watched>();
  const auto first = std::make_shared<Collector>(), second = std::make_shared<Collector>();
  std::unique_ptr<Engine> engine;
  Engine::Ticket late;
  model->before = [&](int64_t n) {
    if (n != 3) return;
    EXPECT_TRUE(until([&] { return engine->stats().steps == 2; }));  // the fourth has been planned by then
    late = or_throw(engine->submit(some_request(2, 30, 10), second));
    EXPECT_TRUE(until([&] { return engine->stats().running == 2; }));
  };
  engine = watched_engine(model);
  const auto ticket = or_throw(engine->submit(some_request(1, 40, 20), first));
  EXPECT_EQ(first->wait(), alone(some_request(1, 40, 20)));
  EXPECT_EQ(second->wait(), alone(some_request(2, 30, 10)));
  EXPECT_THAT(std::vector(model->sequences.begin(), model->sequences.begin() + 5), testing::ElementsAre(1, 1, 1, 2, 2));
}

TEST(Overlap, AStepThatFailsTakesItsOwnRequestsAndVoidsTheOneBehind) {
  const auto model = std::make_shared<Watched>();
  std::vector<std::shared_ptr<Collector>> sinks;
  std::vector<Engine::Ticket> tickets;
  sinks.reserve(5), tickets.reserve(5);  // two threads use them
  std::unique_ptr<Engine> engine;
  const auto submit = [&](uint32_t seed) {
    sinks.push_back(std::make_shared<Collector>());
    tickets.push_back(or_throw(engine->submit(some_request(seed, 20 + 10 * seed, 15), sinks.back())));
  };
  std::atomic<bool> both = false;
  model->before = [&](int64_t n) {
    EXPECT_TRUE(n != 1 || until([&] { return both && engine->stats().running == 2; }));
    if (n != 3) return;
    EXPECT_TRUE(until([&] { return engine->stats().steps == 2; }));
    for (const uint32_t seed : {2, 3, 5}) submit(seed);
    EXPECT_TRUE(until([&] { return engine->stats().running == 5; }));  // in the step behind this one
    throw Failure({Code::kInternal, "the third step does not like its tokens"});
  };
  engine = watched_engine(model);
  for (const uint32_t seed : {0, 1}) submit(seed);
  both = true;
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(sinks[i]->error());
    EXPECT_THAT(sinks[i]->error()->what, HasSubstr("does not like its tokens"));
  }
  ASSERT_EQ(sinks.size(), 5u);
  EXPECT_EQ(sinks[2]->wait(), alone(some_request(2, 40, 15)));
  EXPECT_EQ(sinks[3]->wait(), alone(some_request(3, 50, 15)));
  EXPECT_EQ(sinks[4]->wait(), alone(some_request(5, 70, 15)));
  expect_no_leak(*engine);
  EXPECT_EQ(model->sequences[3], 3u);
  EXPECT_EQ(engine->stats().steps, model->begun);
}

TEST(Overlap, ASinkThatThrowsFailsItsOwnRequest) {
  const auto engine = engine_of();
  const auto good = std::make_shared<Collector>();
  const auto bad = std::make_shared<Listener>([](int64_t n) -> bool {
    if (n == 3) throw std::bad_alloc();
    return true;
  });
  const auto t1 = or_throw(engine->submit(some_request(1, 40, 30), good));
  const auto t2 = or_throw(engine->submit(some_request(2, 40, 30), bad));
  EXPECT_EQ(good->wait(), alone(some_request(1, 40, 30)));
  ASSERT_TRUE(bad->answer->error());
  EXPECT_EQ(bad->answer->error()->code, Code::kExhausted);
  EXPECT_EQ(bad->heard, 3);
  expect_no_leak(*engine);
}

TEST(Overlap, WhatIsComputedInVainTouchesNeitherTheNextInItsSlotNorAFlush) {
  const auto model = std::make_shared<Watched>();
  model->before = [](int64_t n) {
    if (n == 4) std::this_thread::sleep_for(200ms);  // in vain: the answer ends with its third token
  };
  Engine::Options o;
  o.scheduler.max_running_requests = 1;
  const auto engine = watched_engine(model, o);
  const auto once = std::make_shared<Collector>(3);
  const auto ticket = or_throw(engine->submit(some_request(1, 40, 20), once));
  EXPECT_EQ(once->wait().size(), 3u);
  EXPECT_TRUE(engine->flush_cache());
  EXPECT_EQ(engine->stats().free_blocks, 512);
  EXPECT_EQ(model->begun, 4);
  // Ended by its sink, by an end token, and by the limit, one after the other.
  std::vector<std::shared_ptr<Collector>> sinks;
  std::vector<Engine::Ticket> tickets;
  const auto request = [](uint32_t i) {
    Generate g = some_request(i, 30 + i, 25);
    g.sampling.ignore_eos = false;
    if (i % 3 == 1) g.sampling.stop_token_ids = {alone(some_request(i, 30 + i, 25))[4]};
    return g;
  };
  for (uint32_t i = 0; i < 9; ++i) {
    sinks.push_back(std::make_shared<Collector>(i % 3 == 0 ? 5 : 1000));
    tickets.push_back(or_throw(engine->submit(request(i), sinks.back())));
  }
  for (uint32_t i = 0; i < 9; ++i) {
    auto want = alone(some_request(i, 30 + i, 25));
    if (i % 3 == 0) want.resize(5);
    if (i % 3 == 1) want.erase(std::ranges::find(want, want[4]) + 1, want.end());
    EXPECT_EQ(sinks[i]->wait(), want) << i;
  }
  expect_no_leak(*engine);
}

std::shared_ptr<const text::grammar::CompiledGrammar> letters(const std::string& regex) {
  std::vector<std::string> bytes(4096);
  for (size_t i = 0; i < 26; ++i) bytes[100 + i] = std::string(1, static_cast<char>('a' + i));
  return or_throw(text::grammar::CompiledGrammar::compile({text::grammar::Kind::kRegex, regex},
                                                          text::grammar::TokenSet::of(bytes)));
}

TEST(Overlap, ConstrainedAnswersInABatchAreThoseAlone) {
  const auto grammar = letters("((ab|c)[d-m]{2}(nop|q[rs]))*x");
  const auto engine = engine_of();
  const auto request = [&](uint32_t i) {
    Generate g = some_request(i, 20 + i, 40);
    if (i % 4) g.grammar = grammar;
    if (i % 4 == 3) g.grammar_after = alone(some_request(i, 20 + i, 40))[6];
    return g;
  };
  std::vector<std::shared_ptr<Collector>> sinks;
  std::vector<Engine::Ticket> tickets;
  for (uint32_t i = 0; i < 12; ++i) {
    sinks.push_back(std::make_shared<Collector>());
    tickets.push_back(or_throw(engine->submit(request(i), sinks.back())));
  }
  for (uint32_t i = 0; i < 12; ++i) EXPECT_EQ(sinks[i]->wait(), alone(request(i))) << i;
}

TEST(Overlap, AStepWaitsForTheGrammarsOfItsRows) {
  const auto model = std::make_shared<Watched>();
  Generate g = some_request(2, 30, 20);
  g.grammar = letters("(abcde[f-m]|n[o-s]t)*");
  const auto constrained = std::make_shared<Collector>();
  // The engine's thread is held up by a sink that goes, between the fourth step, which is over, and what it came to:
  // the fifth one runs, and needs the grammar followed over the fourth token.
  struct Slow final : Sink {
    explicit Slow(const Watched& m) : model(m) {}
    ~Slow() override {
      EXPECT_TRUE(until([&] { return model.begun == 5; }));
      std::this_thread::sleep_for(50ms);
    }
    bool token(const Choice&) override { return true; }
    void done(const Done&) override {}
    void failed(const Error&) override {}
    const Watched& model;
  };
  Engine::Ticket leaving;
  const auto sink = std::make_shared<Listener>([&](int64_t n) {
    if (n != 3) return true;
    EXPECT_TRUE(until([&] { return model->begun == 4; }));
    std::this_thread::sleep_for(50ms);
    leaving = {};
    return true;
  });
  std::unique_ptr<Engine> engine;
  std::atomic<bool> all = false;
  model->before = [&](int64_t n) { EXPECT_TRUE(n != 1 || until([&] { return all && engine->stats().running == 3; })); };
  engine = watched_engine(model);
  const auto t1 = or_throw(engine->submit(some_request(1, 40, 30), sink));
  const auto t2 = or_throw(engine->submit(g, constrained));
  leaving = or_throw(engine->submit(some_request(3, 30, 1000), std::make_shared<Slow>(*model)));
  all = true;
  EXPECT_EQ(constrained->wait(), alone(g));
  EXPECT_EQ(sink->answer->wait(), alone(some_request(1, 40, 30)));
  EXPECT_EQ(model->sequences[4], 3u);
}

TEST(Overlap, AStepWaitsForNoGrammarOfWhoIsGone) {
  const auto model = std::make_shared<Watched>();
  Generate g = some_request(2, 30, 1000);
  g.grammar = letters("[a-z]*");
  const auto constrained = std::make_shared<Collector>();
  Engine::Ticket leaving;
  // The third token is handed out only when the fourth step is over and the constrained request about to leave: the
  // fifth step is planned with it still, and nobody will follow its grammar over the fourth token.
  const auto sink = std::make_shared<Listener>([&](int64_t n) {
    if (n != 3) return true;
    EXPECT_TRUE(until([&] { return model->begun == 4; }));
    std::this_thread::sleep_for(50ms);
    leaving = {};
    return true;
  });
  std::unique_ptr<Engine> engine;
  std::atomic<bool> both = false;
  model->before = [&](int64_t n) {
    EXPECT_TRUE(n != 1 || until([&] { return both && engine->stats().running == 2; }));
  };
  engine = watched_engine(model);
  const auto ticket = or_throw(engine->submit(some_request(1, 40, 30), sink));
  leaving = or_throw(engine->submit(g, constrained));
  both = true;
  EXPECT_EQ(sink->answer->wait(), alone(some_request(1, 40, 30)));
  EXPECT_EQ(model->sequences[4], 2u);
  expect_no_leak(*engine);
}

TEST(Overlap, StoppingWaitsForTheStepThatRunsAndForNoOther) {
  const auto model = std::make_shared<Watched>();
  std::unique_ptr<Engine> engine;
  const auto sink = std::make_shared<Collector>();
  std::atomic<bool> failed = false;
  model->before = [&](int64_t n) { EXPECT_TRUE(n != 3 || until([&] { return failed.load(); })); };
  engine = watched_engine(model);
  const auto ticket = or_throw(engine->submit(some_request(1, 40, 20), sink));
  EXPECT_TRUE(until([&] { return engine->stats().steps == 2; }));
  std::thread stopping([&] { engine.reset(); });
  EXPECT_TRUE(sink->error());
  failed = true;
  stopping.join();
  EXPECT_EQ(model->begun, 3);
}

}  // namespace
}  // namespace cairn::llm
