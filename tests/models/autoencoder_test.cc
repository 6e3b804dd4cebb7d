#include "models/autoencoder_kl.h"

#include <gmock/gmock.h>

#include "device/under_test.h"
#include "diffusion/autoencoder.h"
#include "ops/install.h"
#include "tensor/safetensors.h"

namespace cairn::models {
namespace {

using diffusion::Autoencoder;
using testing::HasSubstr;
using Tensors = std::map<std::string, Tensor>;

const std::string kRoot = CAIRN_SOURCE_DIR;
const std::string kEmoji = kRoot + "/weights/cairn-emoji/vae";
const std::string kVariants = kRoot + "/tests/golden/flux-variants/";

const Tensors& emoji() {
  static const Tensors t = or_throw(read_tensors(kRoot + "/tests/golden/emoji/plain.safetensors"));
  return t;
}

std::unique_ptr<Autoencoder> load(const std::string& folder, Dtype dtype) {
  ops::install_kernels(device_under_test());
  const nn::Weights weights(or_throw(nn::open_checkpoint(folder, {"diffusion_pytorch_model"})), dtype,
                            device_under_test());
  auto vae = make_autoencoder_kl(weights, or_throw(Json::read(folder + "/config.json")));
  EXPECT_THAT(weights.unread(), testing::IsEmpty());
  return vae;
}

double distance(const Tensor& a, const Tensor& b) {
  const auto wide = [](const Tensor& t) { return on_host(t).to(c10::ScalarType::Double); };
  return (wide(a) - wide(b)).norm().item<double>() / wide(b).norm().item<double>();
}

double mean_square(const Tensor& a, const Tensor& b) {
  const Tensor d = on_host(a).to(kF32) - on_host(b).to(kF32);
  return (d * d).mean().item<double>();
}

// Packed latents (N, tokens, 4 C) of FLUX to (N, C, h, w): each token is a square of two by two.
Tensor unpack(const Tensor& packed, int64_t height, int64_t width) {
  const int64_t n = packed.size(0), c = packed.size(2) / 4;
  return packed.view({n, height / 2, width / 2, c, 2, 2}).permute({0, 3, 1, 4, 2, 5}).reshape({n, c, height, width});
}

Tensor to_decoder(const Autoencoder& vae, const Tensor& packed, int64_t height, int64_t width) {
  return unpack(packed, height / 8, width / 8).to(kF32).div(vae.space().scaling_factor) + vae.space().shift_factor;
}

Tensor there(const Tensor& t) { return t.to(device_under_test()); }

Tensor to_bytes(const Tensor& picture) { return ((picture * 0.5 + 0.5).clamp(0, 1) * 255).round(); }

struct Precision {
  Dtype dtype;
  std::string name;
  double tolerance;
};

class EmojiAutoencoder : public testing::TestWithParam<Precision> {
 protected:
  Tensor golden(const std::string& name) const { return there(emoji().at(GetParam().name + "." + name)); }
  std::unique_ptr<Autoencoder> vae_ = load(kEmoji, GetParam().dtype);
};
INSTANTIATE_TEST_SUITE_P(Dtypes, EmojiAutoencoder,
                         testing::Values(Precision{kF32, "fp32", 1e-4}, Precision{kBF16, "bf16", 1.5e-2}),
                         [](const auto& i) { return i.param.name; });

TEST_P(EmojiAutoencoder, DecodesAndEncodesLikeTheReference) {
  EXPECT_LT(distance(vae_->decode(golden("vae.z")), golden("vae.decoded")), GetParam().tolerance);
  const Tensor picture = golden("base.picture").to(GetParam().dtype).to(kF32).div(127.5) + -1.0;
  EXPECT_LT(distance(vae_->encode(picture), golden("vae.moments")), GetParam().tolerance);
}

TEST_P(EmojiAutoencoder, TilesAndBlendsLikeTheReference) {
  const Tensor tiled = diffusion::tiled_decode(*vae_, golden("vae.z"));
  EXPECT_LT(distance(tiled, golden("vae.tiled")), GetParam().tolerance);
  EXPECT_GT(distance(tiled, golden("vae.decoded")), 2 * GetParam().tolerance) << "tiles differ from the whole";
}

TEST_P(EmojiAutoencoder, MakesTheRecordedPicturesFromTheRecordedLatents) {
  for (const auto& [name, height, width] :
       {std::tuple{"base", 128, 128}, {"batch", 128, 128}, {"wide", 128, 192}, {"big", 256, 256}}) {
    const std::string key = name;
    const Tensor picture = to_bytes(vae_->decode(to_decoder(*vae_, golden(key + ".latents"), height, width)));
    const Tensor recorded = golden(key + ".picture");
    const double db = 10 * std::log10(255.0 * 255.0 / std::max(1e-9, mean_square(picture, recorded)));
    EXPECT_GT(db, GetParam().dtype == kF32 ? 70 : 42) << name;
    EXPECT_LE((picture - recorded.to(kF32)).abs().max().item<double>(), GetParam().dtype == kF32 ? 1 : 16) << name;
  }
}

TEST(Autoencoder, DecodesAnOlderShapeWithQuantConvolutions) {
  const Tensors golden = or_throw(read_tensors(kVariants + "golden.safetensors"));
  for (const std::string folder : {"dev", "schnell"}) {
    const auto vae = load(kVariants + folder + "/vae", kF32);
    const Tensor z = to_decoder(*vae, there(golden.at(folder + ".latents")), 64, 96);
    EXPECT_LT(distance(vae->decode(z), golden.at(folder + ".decoded")), 1e-4) << folder;
  }
}

TEST(Autoencoder, SlicesGiveTheBatch) {
  const auto vae = load(kEmoji, kF32);
  const Tensor z = there(Noise(1).normal({3, 16, 5, 4}, kF32));
  EXPECT_LT(distance(diffusion::decode(*vae, z, {.slicing = true}), vae->decode(z)), 1e-6);
  const Tensor pictures = vae->decode(z);
  EXPECT_LT(distance(diffusion::encode(*vae, pictures, {.slicing = true}), vae->encode(pictures)), 1e-6);
}

TEST(Autoencoder, TilesOfASmoothPictureMeetAndKeepItsSize) {
  const auto vae = load(kEmoji, kF32);
  const Tensor z = there(Noise(2).normal({1, 16, 17, 40}, kF32));
  const Tensor picture = diffusion::tiled_decode(*vae, z);
  EXPECT_EQ(picture.sizes(), (std::vector<int64_t>{1, 3, 136, 320}));
  const Tensor moments = diffusion::encode(*vae, picture, {.tiling = true});
  EXPECT_EQ(moments.sizes(), (std::vector<int64_t>{1, 32, 17, 40}));
  EXPECT_LT(distance(moments, vae->encode(picture)), 0.2);
  const Tensor small = z.narrow(3, 0, 16).narrow(2, 0, 16);
  EXPECT_TRUE(diffusion::tiled_decode(*vae, small).equal(vae->decode(small)));
}

TEST(Autoencoder, SamplesWithBoundedVariance) {
  Tensor moments = zeros({1, 2, 1, 3}, kF32);
  moments.narrow(1, 0, 1).fill_(2);
  float* logvar = moments.data_ptr<float>() + 3;
  logvar[0] = 0, logvar[1] = -1000, logvar[2] = 1000;
  const Tensor x = diffusion::sample_latents(moments, zeros({1, 1, 1, 3}, kF32) + 1.0);
  EXPECT_FLOAT_EQ(x.data_ptr<float>()[0], 3);
  EXPECT_FLOAT_EQ(x.data_ptr<float>()[1], 2 + std::exp(-15.f));
  EXPECT_FLOAT_EQ(x.data_ptr<float>()[2], 2 + std::exp(10.f));
  EXPECT_TRUE(diffusion::sample_latents(moments, {}).equal(moments.narrow(1, 0, 1)));
}

// A checkpoint in memory, for files that nobody publishes any more.
class Renamed final : public nn::WeightSource {
 public:
  explicit Renamed(Tensors tensors) : tensors_(std::move(tensors)) {}
  bool has(const std::string& name) const override { return tensors_.contains(name); }
  Result<Tensor> read(const std::string& name, at::IntArrayRef) const override {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) return failure(Code::kNotFound, "no tensor " + name);
    return it->second;
  }
  std::vector<std::string> names() const override { return {}; }
  std::string describe() const override { return "renamed"; }

 private:
  Tensors tensors_;
};

TEST(Autoencoder, ReadsAttentionUnderItsOldNames) {
  const std::string file = kEmoji + "/diffusion_pytorch_model.safetensors";
  const std::map<std::string, std::string> old = {
      {"to_q", "query"}, {"to_k", "key"}, {"to_v", "value"}, {"to_out.0", "proj_attn"}};
  Tensors tensors;
  for (const auto& [name, tensor] : or_throw(read_tensors(file))) {
    std::string renamed = name;
    for (const auto& [now, before] : old)
      if (const auto at = name.find("." + now + "."); at != std::string::npos)
        renamed.replace(at + 1, now.size(), before);
    const bool matrix = renamed != name && tensor.dim() == 2 && name.starts_with("decoder");
    tensors[renamed] = matrix ? tensor.unsqueeze(2).unsqueeze(3) : tensor;
  }
  const auto vae = load(kEmoji, kF32);
  const auto same = make_autoencoder_kl(nn::Weights(std::make_shared<Renamed>(tensors), kF32, device_under_test()),
                                        or_throw(Json::read(kEmoji + "/config.json")));
  const Tensor z = there(Noise(3).normal({1, 16, 4, 6}, kF32));
  EXPECT_TRUE(same->decode(z).equal(vae->decode(z)));
  EXPECT_TRUE(same->encode(vae->decode(z)).equal(vae->encode(vae->decode(z))));
}

TEST(Autoencoder, RefusesConfigsThatMakeNoSense) {
  const auto refusal = [](const std::string& change) {
    Json config = or_throw(Json::read(kEmoji + "/config.json"));
    const Json changes = or_throw(Json::parse(change));
    for (const auto& [key, value] : *changes.as_object()) config.set(key, value);
    const nn::Weights weights(nn::synthetic(1), kF32);
    const auto made = caught([&] { return make_autoencoder_kl(weights, config) != nullptr; });
    return made ? "accepted" : made.error().what;
  };
  EXPECT_EQ(refusal("{}"), "accepted");
  EXPECT_THAT(refusal(R"({"block_out_channels": []})"), HasSubstr("block_out_channels"));
  EXPECT_THAT(refusal(R"({"block_out_channels": [32, -64, 96, 128]})"), HasSubstr("block_out_channels[1]"));
  EXPECT_THAT(refusal(R"({"block_out_channels": [32, 64, 96]})"), HasSubstr("same length"));
  EXPECT_THAT(refusal(R"({"norm_num_groups": 7})"), HasSubstr("does not divide"));
  EXPECT_THAT(refusal(R"({"norm_num_groups": 0})"), HasSubstr("norm_num_groups"));
  EXPECT_THAT(refusal(R"({"layers_per_block": 1000000})"), HasSubstr("layers_per_block"));
  EXPECT_THAT(refusal(R"({"scaling_factor": 0})"), HasSubstr("scaling_factor"));
  EXPECT_THAT(refusal(R"({"act_fn": "relu"})"), HasSubstr("act_fn"));
  EXPECT_THAT(refusal(R"({"up_block_types": ["AttnUpDecoderBlock2D"]})"), HasSubstr("up_block_types[0]"));
}

TEST(Autoencoder, NamesAWeightThatHasAnotherShape) {
  Json config = or_throw(Json::read(kEmoji + "/config.json"));
  config.set("latent_channels", 4);
  const nn::Weights weights(or_throw(nn::open_checkpoint(kEmoji, {"diffusion_pytorch_model"})), kF32);
  const auto made = caught([&] { return make_autoencoder_kl(weights, config) != nullptr; });
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().what, HasSubstr("coder.conv_"));
}

}  // namespace
}  // namespace cairn::models
