// FLUX pipelines built as published checkpoints differ: guidance embedding, static shift, shards, quant convolutions,
// other head and rotary sizes, older tokenizer files, LoRA in both key formats (tests/golden/flux-variants/README.md).
#include <gmock/gmock.h>

#include "models/golden.h"
#include "models/registry.h"

namespace cairn {
namespace {

using testing::golden;
using ::testing::HasSubstr;
using testing::relative_error;
using testing::source_path;

constexpr const char* kFile = "flux-variants/golden.safetensors";
const std::string kFolder = "tests/golden/flux-variants/";

diffusion::Pipeline load(const std::string& name, const std::vector<models::Lora>& loras = {}) {
  auto p = models::load_pipeline(source_path(kFolder + name),
                                 {.dtype = kF32, .device = device_under_test(), .loras = loras});
  if (!p) throw Failure(p.error());
  return *std::move(p);
}

void expect_recorded(const diffusion::Pipeline& pipe, const std::string& key, const std::string& prompt, int64_t length,
                     int64_t steps, double guidance) {
  const Inference no_gradients;
  SCOPED_TRACE(key);
  diffusion::Request r;
  r.prompts = {prompt};
  r.height = 64;
  r.width = 96;
  r.seeds = {4};
  r.text_length = length;
  r.steps = steps;
  r.guidance_scale = guidance;
  auto run = pipe.begin(r);
  ASSERT_TRUE(run) << run.error().what;
  EXPECT_LT(relative_error(run->latents(), golden(kFile, key + ".initial")), 1e-7);
  while (!run->done()) run->advance();
  EXPECT_LT(relative_error(run->latents(), golden(kFile, key + ".latents")), 5e-4);
}

TEST(FluxVariants, DevWithGuidanceShardsAndQuantConvolutions) {
  const auto pipe = load("dev");
  expect_recorded(pipe, "dev", "a red apple beside two green pears", 40, 4, 3.5);
  expect_recorded(pipe, "dev.guidance7", "a red apple beside two green pears", 40, 2, 7.0);
}

TEST(FluxVariants, SchnellWithStaticShiftAndOlderTokenizerFiles) {
  expect_recorded(load("schnell"), "schnell", "tiny blue boat", 24, 4, 0.0);
}

TEST(FluxVariants, LorasOfBothFormatsAreFused) {
  const auto file = [](const char* kind) { return source_path(kFolder + "lora." + kind + ".safetensors"); };
  const std::string prompt = "a red apple beside two green pears";
  expect_recorded(load("dev", {{file("peft"), 0.7}}), "dev.lora.all", prompt, 40, 2, 3.5);
  expect_recorded(load("dev", {{file("kohya"), 0.7}}), "dev.lora.all", prompt, 40, 2, 3.5);
  expect_recorded(load("dev", {{file("peft"), 0.3}, {file("kohya"), 0.4}}), "dev.lora.all", prompt, 40, 2, 3.5);
}

TEST(FluxVariants, ALoraForAnotherModelIsRefused) {
  const auto p =
      models::load_pipeline(source_path("weights/cairn-emoji"),
                            {.dtype = kF32, .loras = {{source_path(kFolder + "lora.peft.safetensors"), 1.0}}});
  ASSERT_FALSE(p);
  EXPECT_THAT(p.error().what, HasSubstr("lora.peft.safetensors: adapter "));
}

TEST(FluxVariants, DecodedPicturesAreTheRecordedOnes) {
  const Inference no_gradients;
  for (const char* name : {"dev", "schnell"}) {
    const auto pipe = load(name);
    const auto& parts = pipe.parts();
    const auto& space = parts.autoencoder->space();
    const Tensor latents = parts.denoiser->unpack(golden(kFile, std::string(name) + ".latents").to(device_under_test()),
                                                  {64 / space.scale, 96 / space.scale});
    const Tensor got = parts.autoencoder->decode(latents * (1 / space.scaling_factor) + space.shift_factor);
    EXPECT_LT(relative_error(got, golden(kFile, std::string(name) + ".decoded")), 5e-4) << name;
  }
}

}  // namespace
}  // namespace cairn
