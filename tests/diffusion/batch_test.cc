// Walks through a block stack: of one request, and of several that share their blocks.
#include <gmock/gmock.h>

#include <map>
#include <random>

#include "diffusion/denoiser.h"

namespace cairn::diffusion {
namespace {

constexpr int64_t kDepth = 9, kTokens = 5, kText = 3, kWidth = 8;

// A request on the way: what a Generation holds, without a model.
struct Toy {
  Toy(uint64_t seed, int64_t pictures, const char* keys)
      : latent(Noise(seed).normal({pictures, kTokens, kWidth}, kF32)),
        prepared{Noise(seed + 1).normal({pictures, kText, kWidth}, kF32), {}, {}},
        cache(*keys ? std::make_unique<RequestCache>(or_throw(parse_cache_config(or_throw(Json::parse(keys)))))
                    : std::make_unique<RequestCache>()) {
    for (int64_t i = 0; i < kDepth; ++i) {  // changes little from step to step
      Noise noise(seed + 2 + static_cast<uint64_t>(i));
      modulation.push_back(noise.normal({1, pictures, 2, kWidth}, kF32) * 0.1 +
                           noise.normal({20, pictures, 2, kWidth}, kF32) * 0.003);
    }
  }
  Input input() const { return {latent, prepared, modulation, step, {.index = step, .total = 20}}; }
  void take(const Streams& y) {
    latent = latent + y.hidden * 0.02;
    ++step;
  }

  Tensor latent;
  Prepared prepared;
  Modulation modulation;
  std::unique_ptr<RequestCache> cache;
  int64_t step = 0;
};

// Blocks that mix both streams, with the modulation of each picture. `passes`: the encoder stream is only read.
struct Stack {
  bool passes = false;
  std::map<int64_t, int> calls;  // by block
  std::vector<Tensor> made;

  Streams operator()(const Streams& in, Range r, const Batch::Modulated& m) {
    Streams x = in;
    for (int64_t i = r.first; i < r.last; ++i) {
      ++calls[i];
      const Tensor both = m[static_cast<size_t>(i)], shift = both.narrow(1, 0, 1), scale = both.narrow(1, 1, 1);
      const Tensor text = x.encoder.mean(1, true);
      x = {x.hidden + (x.hidden * scale + shift + text * 0.1).tanh(),
           passes ? x.encoder : x.encoder + (x.hidden.mean(1, true) * shift).tanh()};
      made.insert(made.end(), {x.hidden, x.encoder});
    }
    return x;
  }
};

// One step of all of them; what each gets is its own tensor.
std::vector<Streams> step(const std::vector<Toy*>& toys, Stack& stack) {
  Batch batch;
  for (Toy* t : toys) batch.add(t->input(), *t->cache);
  const Streams y = batch.run("blocks", {batch.latents(), batch.texts()}, kDepth,
                              [&](const Streams& x, Range r, const Batch::Modulated& m) { return stack(x, r, m); });
  const auto hidden = batch.split(y.hidden), encoder = batch.split(y.encoder);
  std::vector<Streams> out;
  for (size_t i = 0; i < toys.size(); ++i) out.push_back({hidden[i].clone(), encoder[i].clone()});
  return out;
}

const char* const kCaches[] = {
    "",
    R"({"Fn_compute_blocks":1,"residual_diff_threshold":0.9,"max_warmup_steps":2})",
    R"({"Fn_compute_blocks":3,"Bn_compute_blocks":2,"residual_diff_threshold":0.9,"max_warmup_steps":1,)"
    R"("enable_taylorseer":true,"enable_encoder_taylorseer":true})",
    R"({"cache_type":"DBPrune","Fn_compute_blocks":2,"residual_diff_threshold":0.05,"max_warmup_steps":2})",
    R"({"cache_type":"DBPrune","Fn_compute_blocks":1,"Bn_compute_blocks":1,"residual_diff_threshold":0.05,)"
    R"("max_warmup_steps":3,"enable_dmd":true,"non_prune_block_ids":[4]})",
    R"({"Fn_compute_blocks":2,"steps_computation_mask":[1,0,1,0,0],"steps_computation_policy":"static"})"};

TEST(BatchedWalks, EqualWalksAloneAndRunEachBlockOnceAStep) {
  std::mt19937 random(3);
  int64_t skipped = 0;
  for (int round = 0; round < 30; ++round) {
    const bool passes = round % 3 == 0;
    std::vector<std::unique_ptr<Toy>> together, apart;
    const auto add = [&] {
      const uint64_t seed = random();
      const int64_t pictures = 1 + static_cast<int64_t>(random() % 2);
      const char* keys = kCaches[random() % std::size(kCaches)];
      for (auto* toys : {&together, &apart}) toys->push_back(std::make_unique<Toy>(seed, pictures, keys));
    };
    add();
    for (int i = 0; i < 10; ++i) {
      if (random() % 3 == 0) add();  // joins while others are at later steps
      Stack shared{.passes = passes, .calls = {}, .made = {}};
      std::vector<Toy*> toys;
      for (const auto& t : together) toys.push_back(t.get());
      const auto got = step(toys, shared);
      for (const auto& [block, calls] : shared.calls) EXPECT_EQ(calls, 1) << "block " << block;
      for (size_t k = 0; k < toys.size(); ++k) {
        Stack own{.passes = passes, .calls = {}, .made = {}};
        const Streams want = step({apart[k].get()}, own)[0];
        ASSERT_TRUE(want.hidden.equal(got[k].hidden)) << "round " << round << ", step " << i << ", request " << k;
        ASSERT_TRUE(want.encoder.equal(got[k].encoder));
        toys[k]->take(got[k]);
        apart[k]->take(want);
        skipped += toys[k]->cache->skipped();
        EXPECT_EQ(toys[k]->cache->skipped(), apart[k]->cache->skipped());
      }
    }
  }
  EXPECT_GT(skipped, 200) << "the caches should have something to do";
}

TEST(BatchedWalks, LeaveNoMemoryOfNeighboursBehind) {
  for (const char* keys : kCaches) {
    Toy a(1, 1, keys), b(2, 1, "");
    Stack stack;
    for (int i = 0; i < 4; ++i) {
      const auto got = step({&a, &b}, stack);
      a.take(got[0]), b.take(got[1]);
    }
    for (const Tensor& t : stack.made) EXPECT_EQ(t.storage().use_count(), 1u) << keys;
  }
}

TEST(BatchedWalks, OfDifferentShapesAreADefect) {
  Toy a(1, 1, ""), b(2, 1, "");
  b.latent = Noise(2).normal({1, kTokens + 1, kWidth}, kF32);
  Batch batch;
  batch.add(a.input(), *a.cache);
  EXPECT_THROW(batch.add(b.input(), *b.cache), Bug);
}

struct Throwing final : StepCache {
  explicit Throwing(int64_t at) : at_(at) {}
  Walk walk(const StepInfo&, Streams in, int64_t depth) override {
    for (int64_t i = 0; i < depth; ++i) {
      if (i == at_) throw Failure(Error{Code::kInternal, "no further"});
      in = co_await Walk::Ask(std::move(in), {i, i + 1});
    }
    co_return in;
  }
  int64_t at_;
};

TEST(Walk, HandsOnWhatACacheThrowsAndFreesItsStreams) {
  for (int64_t at = 0; at <= kDepth; ++at) {
    Throwing cache(at);
    const Tensor x = zeros({1, 2, 4}, kF32);
    int64_t calls = 0;
    const auto blocks = [&](const Streams& s, Range) { return ++calls, Streams{s.hidden + 1, Tensor()}; };
    if (at < kDepth)
      EXPECT_THROW(cache.run({0, 1}, {x, {}}, kDepth, blocks), Failure);
    else
      EXPECT_TRUE(cache.run({0, 1}, {x, {}}, kDepth, blocks).hidden.equal(x + static_cast<double>(kDepth)));
    EXPECT_EQ(calls, at);
    EXPECT_EQ(x.use_count(), 1u);
  }
}

TEST(Walk, ThatIsDroppedHalfwayFreesItsStreams) {
  const Tensor x = zeros({1, 2, 4}, kF32);
  Throwing cache(kDepth);
  {
    Walk walk = cache.walk({0, 1}, {x, {}}, kDepth);
    EXPECT_FALSE(walk.done());
    Walk moved = std::move(walk);
    moved.advance(moved.streams(), 1);
    EXPECT_EQ(moved.wanted().first, 1);
    EXPECT_GT(x.use_count(), 1u);
  }
  EXPECT_EQ(x.use_count(), 1u);
}

}  // namespace
}  // namespace cairn::diffusion
