#include "tensor/tensor.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>

#include "tensor/finite.h"
#include "tensor/safetensors.h"

namespace cairn {
namespace {

using testing::HasSubstr;

TEST(Dtype, NamesReadBackAndOthersAreRefused) {
  for (const Dtype d : {kF32, kBF16, kF16}) EXPECT_EQ(*parse_dtype(dtype_name(d)), d);
  EXPECT_EQ(*parse_dtype("bfloat16"), kBF16);
  EXPECT_THAT(parse_dtype("int8").error().what, HasSubstr("use fp32, bf16 or fp16"));
}

// The first numbers of torch.randn(…, generator=torch.Generator().manual_seed(0)), recorded from torch 2.13.
TEST(Noise, IsTorchsOwn) {
  const Tensor x = Noise(0).normal({20}, kF32);
  const auto* p = static_cast<const float*>(x.data_ptr());
  EXPECT_NEAR(p[0], -1.1258, 1e-4);
  EXPECT_NEAR(p[1], -1.1524, 1e-4);
}

// Other versions of torch draw other numbers in bf16 and fp16; whatever they draw, Noise draws.
TEST(Noise, IsTorchsOwnInEveryDtype) {
  for (const Dtype d : {kF32, kBF16, kF16})
    for (const int64_t n : {5, 16, 4096}) {
      const auto generator = at::detail::createCPUGenerator(9);
      const Tensor want = at::randn({2, n}, generator, at::TensorOptions().dtype(d));
      EXPECT_TRUE(Noise(9).normal({2, n}, d).equal(want)) << dtype_name(d) << " " << n;
    }
}

TEST(Noise, LaterDrawsGoOn) {
  Noise a(7), b(7);
  const Tensor first = a.normal({4}, kF32), second = a.normal({4}, kF32);
  EXPECT_TRUE(first.equal(b.normal({4}, kF32)));
  EXPECT_FALSE(first.equal(second));
}

TEST(AllFinite, FindsOneBadValueAnywhere) {
  for (const Dtype d : {kF32, kBF16, kF16, Dtype::Double}) {
    Tensor t = zeros({1000, 300}, kF32).to(d);
    EXPECT_TRUE(all_finite(t));
    for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
      Tensor broken = t.clone();
      broken[999][299].fill_(bad);
      EXPECT_FALSE(all_finite(broken)) << dtype_name(d) << " " << bad;
    }
  }
}

TEST(HashedUniform, IsTheSameForAnySplitOfTheWorkAndDiffersBySeed) {
  const Tensor big = hashed_uniform({100'000}, 3, 0, 1), small = hashed_uniform({10}, 3, 0, 1);
  EXPECT_TRUE(big.narrow(0, 0, 10).equal(small));
  EXPECT_FALSE(small.equal(hashed_uniform({10}, 4, 0, 1)));
  EXPECT_NEAR(big.to(Dtype::Double).mean().item<double>(), 0, 0.01);
}

TEST(DrawnUniform, IsTheSameForASeedAndLiesWhereItShould) {
  const auto drawn = [](uint64_t seed) { return drawn_uniform({100'000}, seed, 1, 0.5, c10::DeviceType::CPU); };
  const Tensor a = drawn(3);
  EXPECT_TRUE(a.equal(drawn(3)));
  EXPECT_FALSE(a.equal(drawn(4)));
  EXPECT_NEAR(a.to(Dtype::Double).mean().item<double>(), 1, 0.01);
  EXPECT_GE(a.min().item<double>(), 0.5);
  EXPECT_LE(a.max().item<double>(), 1.5);
}

TEST(SafetensorsTensors, WriteAndMapBack) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("cairn-tensors-" + std::to_string(::getpid()) + ".safetensors");
  const Tensor a = Noise(1).normal({3, 5}, kBF16), b = Noise(2).normal({2}, kF32);
  ASSERT_TRUE(write_tensors(path, {{"a", a}, {"b", b}}));
  const auto read = read_tensors(path);
  ASSERT_TRUE(read) << read.error().what;
  std::filesystem::remove(path);
  EXPECT_TRUE(read->at("a").equal(a)) << "the map outlives the file's name";
  EXPECT_TRUE(read->at("b").equal(b));
}

TEST(SafetensorsTensors, UnalignedDataIsReadAllTheSame) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("cairn-odd-" + std::to_string(::getpid()) + ".safetensors");
  const float value = 2.5f;
  ASSERT_TRUE(
      write_safetensors(path, {{"a", "U8", {1}, "x"}, {"b", "F32", {1}, {reinterpret_cast<const char*>(&value), 4}}}));
  const auto read = read_tensors(path);
  std::filesystem::remove(path);
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(read->at("b").item<float>(), 2.5f);
}

}  // namespace
}  // namespace cairn
