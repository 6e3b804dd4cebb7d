#include "nn/weights.h"

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>

#include "nn/layers.h"
#include "tensor/safetensors.h"

namespace cairn::nn {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class WeightsTest : public testing::Test {
 protected:
  WeightsTest() : folder_(fs::temp_directory_path() / ("cairn-weights-" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~WeightsTest() override { fs::remove_all(folder_); }
  Weights open(Dtype dtype = kF32) {
    auto c = open_checkpoint(folder_, {"model"});
    if (!c) throw Failure(c.error());
    return Weights(*c, dtype);
  }
  void write(const std::string& file, const std::vector<std::pair<std::string, Tensor>>& tensors) {
    ASSERT_TRUE(write_tensors(folder_ / file, tensors));
  }
  template <class F>
  std::string error_of(F&& f) {
    try {
      f();
    } catch (const Failure& e) { return e.what(); }
    return "";
  }
  const fs::path folder_;
};

TEST_F(WeightsTest, PrefixesNarrowAndUnreadNamesAreKnown) {
  write("model.safetensors",
        {{"a.b.0.weight", Noise(1).normal({4, 3}, kF32)}, {"a.b.0.bias", zeros({4}, kF32)}, {"c", zeros({1}, kF32)}});
  const Weights w = open();
  const auto m = (w / "a" / "b" / 0).matrix(4, 3);
  EXPECT_EQ(m.out(), 4);
  EXPECT_TRUE(m.bias().defined());
  EXPECT_THAT(w.unread(), ElementsAre("c"));
}

TEST_F(WeightsTest, ShardsOfAnIndexAreOneCheckpoint) {
  write("x-1.safetensors", {{"a", zeros({1}, kF32)}});
  write("x-2.safetensors", {{"b", zeros({2}, kBF16)}});
  ASSERT_TRUE(write_file(folder_ / "model.safetensors.index.json",
                         R"({"weight_map":{"a":"x-1.safetensors","b":"x-2.safetensors"}})"));
  EXPECT_EQ(open()("b", {2}).scalar_type(), kF32);
  ASSERT_TRUE(write_file(folder_ / "model.safetensors.index.json", R"({"weight_map":{"a":"../x-1.safetensors"}})"));
  EXPECT_THAT(error_of([&] { open(); }), HasSubstr("no plain file name"));
}

TEST_F(WeightsTest, ErrorsNameTheFullKey) {
  write("model.safetensors", {{"a.weight", zeros({4, 3}, kF32)},
                              {"ids", zeros({3}, Dtype::Long)},
                              {"bad", zeros({3}, kF32).fill_(std::nan(""))}});
  const Weights w = open();
  EXPECT_THAT(error_of([&] { (w / "a")("wieght"); }), HasSubstr("has no tensor a.wieght, did you mean a.weight?"));
  EXPECT_THAT(error_of([&] { (w / "a").matrix(3, 4); }), HasSubstr("a.weight has shape (4, 3), expected (3, 4)"));
  EXPECT_THAT(error_of([&] { w("ids"); }), HasSubstr("ids has dtype Long"));
  EXPECT_THAT(error_of([&] { w("bad"); }), HasSubstr("bad holds NaN"));
}

TEST_F(WeightsTest, AFolderWithoutWeightsSaysWhatItLooksFor) {
  EXPECT_THAT(error_of([&] { open(); }), HasSubstr("holds none of model.safetensors"));
}

TEST(Synthetic, IsAFunctionOfNameAndSeed) {
  const Weights a(synthetic(1), kBF16), b(synthetic(1), kBF16), c(synthetic(2), kBF16);
  EXPECT_TRUE((a / "x").matrix(8, 4).weight().equal((b / "x").matrix(8, 4).weight()));
  EXPECT_FALSE((a / "x").matrix(8, 4).weight().equal((c / "x").matrix(8, 4).weight()));
  EXPECT_FALSE((a / "x").matrix(8, 4).weight().equal((a / "y").matrix(8, 4).weight()));
}

TEST(Embedding, RefusesIdsOutsideItsRows) {
  const Embedding e(Weights(synthetic(1), kF32), 10, 4);
  Tensor ids = zeros({1, 2}, Dtype::Long);
  EXPECT_EQ(e(ids).sizes(), (std::vector<int64_t>{1, 2, 4}));
  ids[0][1].fill_(10);
  EXPECT_THROW(e(ids), Failure);
}

TEST(RotaryTable, TurnsPairsByTheAngleOfTheirPosition) {
  const Tensor t = rotary_table({{0, 0}, {3, 5}}, {2, 4}, 10000);
  EXPECT_EQ(t.sizes(), (std::vector<int64_t>{2, 2, 6}));
  EXPECT_FLOAT_EQ(t[0][0][0].item<float>(), 1);
  EXPECT_FLOAT_EQ(t[0][1][1].item<float>(), std::cos(3.0f));
  EXPECT_FLOAT_EQ(t[1][1][0].item<float>(), -std::sin(3.0f));
  EXPECT_FLOAT_EQ(t[1][1][5].item<float>(), std::sin(5.0f / 100));
}

}  // namespace
}  // namespace cairn::nn
