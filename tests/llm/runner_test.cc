// Replayed steps are the steps that they were captured from.
#include "llm/runner.h"

#include "llm/helpers.h"

namespace cairn::llm {
namespace {

constexpr int64_t kBlock = 16;

// Sequences whose blocks lie in an order of their own; a step is a token of some of them.
class Steps {
 public:
  Steps(int64_t sequences, int64_t longest, int64_t block = kBlock) : block_(block) {
    const auto each = static_cast<size_t>((longest + block - 1) / block);
    for (int64_t s = 0; s < sequences; ++s) {
      tables_.emplace_back(each);
      lengths_.push_back(0);
    }
    int32_t next = 0;
    for (size_t i = 0; i < each; ++i)
      for (auto& table : tables_) table[i] = next++;
  }

  Batch step(const std::vector<size_t>& of, int64_t tokens, std::mt19937& random) {
    const auto rows = static_cast<int64_t>(of.size()) * tokens;
    Batch b{.tokens = empty({rows}, Dtype::Long),
            .positions = empty({rows}, Dtype::Long),
            .slots = empty({rows}, Dtype::Long)};
    int64_t row = 0;
    for (const size_t s : of) {
      b.sequences.push_back({.row = row, .rows = tokens, .keys = lengths_[s] + tokens, .blocks = tables_[s].data()});
      for (int64_t i = 0; i < tokens; ++i, ++row) {
        const int64_t at = lengths_[s]++;
        put(b.tokens, row, static_cast<int64_t>(random() % 300));
        put(b.positions, row, at);
        put(b.slots, row, tables_[s][static_cast<size_t>(at / block_)] * block_ + at % block_);
      }
    }
    return b;
  }
  int64_t blocks() const { return static_cast<int64_t>(tables_.size() * tables_[0].size()); }

 private:
  static void put(const Tensor& t, int64_t i, int64_t value) { static_cast<int64_t*>(t.mutable_data_ptr())[i] = value; }
  int64_t block_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<int64_t> lengths_;
};

std::vector<int64_t> last_rows(const Batch& b) {
  std::vector<int64_t> out;
  for (const auto& s : b.sequences) out.push_back(s.row + s.rows - 1);
  return out;
}

// To the bit where a processor's kernels computed it; elsewhere a product of more rows may round differently.
bool same(const Tensor& got, const Tensor& want) {
  if (got.is_cpu()) return got.equal(want);
  const Tensor a = on_host(got).to(Dtype::Double), b = on_host(want).to(Dtype::Double);
  return (a - b).norm().item<double>() <= 2e-2 * b.norm().item<double>();
}

// A model that its device captures.
std::shared_ptr<const CausalLm> captured() {
  static const std::shared_ptr<const CausalLm> model = or_throw(models::load_language_model(
      std::string(CAIRN_SOURCE_DIR) + "/weights/cairn-tiny-lm", kBF16, device_under_test()));
  return model;
}

// Runs the same steps with and without graphs, and compares every number.
void compare(const CausalLm& model, GraphConfig config, int64_t least_replays, int64_t block = kBlock) {
  const Inference no_gradients;
  Steps steps(9, 160, block);
  const auto cache = [&] { return KvCache(model.kv_shape(), steps.blocks(), block, model.dtype(), model.device()); };
  const KvCache own = cache(), other = cache();
  Runner graphs(model, own, config), eager(model, other, {.disable = true});
  std::mt19937 random(7);
  std::vector<size_t> all(9);
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  for (int i = 0; i < 120; ++i) {
    std::ranges::shuffle(all, random);
    const std::vector<size_t> some(all.begin(), all.begin() + 1 + static_cast<std::ptrdiff_t>(random() % all.size()));
    const Batch b = steps.step(some, i % 17 ? 1 : 3, random);
    const auto rows = last_rows(b);
    const auto got = graphs.run(b, rows), want = eager.run(b, rows);
    const device::Stream::Use on(graphs.stream());
    eager.stream().synchronize();
    ASSERT_TRUE(same(got.logits, want.logits)) << "step " << i << ", " << some.size() << " sequences";
    ASSERT_TRUE(same(got.hidden, want.hidden)) << "step " << i;
    got.logits.fill_(0);  // as samplers may
  }
  EXPECT_GE(graphs.replays(), least_replays);
  EXPECT_EQ(eager.replays(), 0);
}

TEST(Runner, ReplayedStepsAreTheSameToTheBit) {
  compare(*captured(), {}, 60);
  EXPECT_NO_FATAL_FAILURE(compare(*captured(), {.max_bs = 3}, 10));
  if (!device_under_test().is_cpu()) return;  // an NPU's attention over blocks takes no fp32
  const auto wide = or_throw(
      models::load_language_model(std::string(CAIRN_SOURCE_DIR) + "/weights/cairn-tiny-lm", kF32, device_under_test()));
  compare(*wide, {}, 60);
}

TEST(Runner, StepsAreFilledUpToTheSizesThatAreCaptured) {
  compare(*captured(), {.sizes = {4, 9}}, 80);
  compare(*captured(), {.max_bs = 6, .sizes = {2, 6}}, 40);
  compare(*captured(), {.disable_padding = true, .sizes = {4}}, 5);
}

TEST(GraphConfig, ChoosesTheLeastSizeThatHoldsAStep) {
  const auto sizes = [](const GraphConfig& c, bool processor) {
    std::vector<int64_t> out;
    for (const int64_t n : {1, 2, 3, 5, 13, 17, 33, 64, 65}) out.push_back(c.size_for(n, processor));
    return out;
  };
  using testing::ElementsAre;
  EXPECT_THAT(sizes({}, true), ElementsAre(1, 2, 3, 5, 13, 17, 33, 64, 0));
  EXPECT_THAT(sizes({}, false), ElementsAre(1, 2, 4, 8, 16, 24, 40, 64, 0));
  EXPECT_THAT(sizes({.max_bs = 6}, false), ElementsAre(1, 2, 4, 6, 0, 0, 0, 0, 0));
  EXPECT_THAT(sizes({.sizes = {16, 2}}, true), ElementsAre(2, 2, 16, 16, 16, 0, 0, 0, 0));
  EXPECT_THAT(sizes({.disable_padding = true, .sizes = {16, 2}}, false), ElementsAre(0, 2, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(sizes({.disable = true}, false), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 0));
}

// A model that does something with three rows that no replay would do.
class AwkwardWithThree final : public CausalLm {
 public:
  Tensor forward(const Batch& batch, const KvCache& cache) const override {
    if (batch.rows() == 3) (void)on_host(batch.tokens * 2.0);
    return captured()->forward(batch, cache);
  }
  std::vector<Tensor> rotary(const Batch& batch) const override { return captured()->rotary(batch); }
  Tensor logits(const Tensor& hidden) const override { return captured()->logits(hidden); }
  KvShape kv_shape() const override { return captured()->kv_shape(); }
  int64_t vocabulary() const override { return captured()->vocabulary(); }
  int64_t max_positions() const override { return captured()->max_positions(); }
  Dtype dtype() const override { return captured()->dtype(); }
  c10::Device device() const override { return captured()->device(); }
};

TEST(Runner, ASizeThatCannotBeCapturedLeavesTheOthers) {
  const Inference no_gradients;
  const AwkwardWithThree model;
  Steps steps(4, 64);
  const KvCache cache(model.kv_shape(), steps.blocks(), kBlock, model.dtype(), model.device());
  Runner runner(model, cache, {.sizes = {1, 3, 4}});
  std::mt19937 random(1);
  for (int i = 0; i < 5; ++i)
    for (const std::vector<size_t>& some : {std::vector<size_t>{0}, {0, 1, 2}, {0, 1, 2, 3}}) {
      const Batch b = steps.step(some, 1, random);
      runner.run(b, last_rows(b));
    }
  EXPECT_EQ(runner.replays(), 2 * 4) << runner.refused();  // all but the first of one row and of four
  EXPECT_EQ(runner.refused(), "");
}

TEST(Runner, AModelThatCannotBeCapturedIsRunAsItIs) {
  if (!device_under_test().is_cpu()) GTEST_SKIP() << "of operations that a processor does not capture";
  const auto mixtral = or_throw(models::load_language_model(
      std::string(CAIRN_SOURCE_DIR) + "/tests/golden/lm-arch/mixtral", kF32, device_under_test()));
  compare(*mixtral, {}, 0);
  const Inference no_gradients;
  Steps steps(1, 16);
  const KvCache cache(mixtral->kv_shape(), steps.blocks(), kBlock, mixtral->dtype());
  Runner runner(*mixtral, cache, {});
  std::mt19937 random(1);
  for (int i = 0; i < 3; ++i) {
    const Batch b = steps.step({0}, 1, random);
    runner.run(b, last_rows(b));
  }
  EXPECT_THAT(runner.refused(), testing::HasSubstr("aten::softmax"));
  EXPECT_EQ(runner.replays(), 0);
}

// Routers and experts included, in the dtype that their kernels take.
TEST(Runner, StepsOfMixturesOfExpertsAreCapturedOnAnNpu) {
  if (!device_under_test().is_privateuseone()) GTEST_SKIP() << "CAIRN_TEST_DEVICE names no NPU";
  for (const char* name : {"mixtral", "qwen3-moe-unnormed"}) {
    const auto model = or_throw(models::load_language_model(
        std::string(CAIRN_SOURCE_DIR) + "/tests/golden/lm-arch/" + name, kBF16, device_under_test()));
    compare(*model, {}, 60);
  }
}

// Latents and rope parts of the one size that an NPU's latent attention takes.
TEST(Runner, StepsOfLatentAttentionAreCapturedOnAnNpu) {
  if (!device_under_test().is_privateuseone()) GTEST_SKIP() << "CAIRN_TEST_DEVICE names no NPU";
  const Json config = or_throw(Json::read(std::string(CAIRN_SOURCE_DIR) + "/tests/models/deepseek-v3-latents.json"));
  const auto model =
      or_throw(models::make_language_model(config, nn::Weights(nn::synthetic(3), kBF16, device_under_test())));
  compare(*model, {}, 60, 128);
}

TEST(Runner, RefusesTokensThatItsModelDoesNotHave) {
  const Inference no_gradients;
  Steps steps(1, 64);
  const KvCache cache(captured()->kv_shape(), steps.blocks(), kBlock, captured()->dtype(), captured()->device());
  Runner runner(*captured(), cache, {});
  std::mt19937 random(1);
  for (int i = 0; i < 5; ++i) {
    const Batch b = steps.step({0}, 1, random);
    runner.run(b, last_rows(b));
  }
  EXPECT_GT(runner.replays(), 0);
  const Batch b = steps.step({0}, 1, random);
  b.tokens.fill_(1 << 20);
  EXPECT_THROW(runner.run(b, last_rows(b)), Bug);
}

}  // namespace
}  // namespace cairn::llm
