#include "app/inspection.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "base/safetensors.h"
#include "image/image.h"

namespace cairn::app {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Inspect : public testing::Test {
 protected:
  Inspect() : folder_(fs::temp_directory_path() / ("cairn-inspect-" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~Inspect() override { fs::remove_all(folder_); }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string put(const std::string& name, std::string_view bytes) const {
    fs::create_directories((folder_ / name).parent_path());
    or_throw(write_file(at(name), bytes));
    return at(name);
  }
  // A file with one fp32 tensor of zeros for each name.
  std::string put_tensors(const std::string& name, const std::vector<std::string>& tensors) const {
    const std::string zeros(4 * 2 * 3, '\0');
    std::vector<SafetensorsArray> arrays;
    for (const auto& t : tensors) arrays.push_back({t, "F32", {2, 3}, zeros});
    fs::create_directories((folder_ / name).parent_path());
    or_throw(write_safetensors(at(name), arrays, {{"format", "pt"}}));
    return at(name);
  }
  static std::string error_of(const std::string& path) {
    const auto r = inspect_path(path);
    return r ? "no error" : r.error().what;
  }

  fs::path folder_;
};

int64_t total(const Json& of, const char* what) { return *of.find("totals")->find(what)->as_int(); }

TEST_F(Inspect, ShowsThePartsOfAPipeline) {
  const auto model = inspect_path(CAIRN_SOURCE_DIR "/weights/cairn-emoji");
  ASSERT_TRUE(model) << model.error().what;
  EXPECT_EQ(model->text("kind"), "pipeline");
  EXPECT_EQ(model->text("class"), "FluxPipeline");
  const Json* transformer = nullptr;
  for (const auto& c : *model->find("components")->as_array())
    if (c.text("name") == "transformer") transformer = &c;
  ASSERT_NE(transformer, nullptr);
  EXPECT_EQ(transformer->text("class"), "FluxTransformer2DModel");
  EXPECT_TRUE(*transformer->find("supported")->as_bool());
  EXPECT_EQ(*transformer->find("config")->find("num_layers")->as_int(), 3);
  EXPECT_EQ(total(*transformer, "bytes"), 2 * total(*transformer, "parameters"));
  EXPECT_NE(transformer->find("totals")->find("dtypes")->find("BF16"), nullptr);
}

TEST_F(Inspect, CountsWhatASafetensorsFileHolds) {
  const auto file = inspect_path(put_tensors("a.safetensors", {"x.weight", "y.weight"}));
  ASSERT_TRUE(file) << file.error().what;
  EXPECT_EQ(file->text("kind"), "safetensors");
  EXPECT_EQ(total(*file, "tensors"), 2);
  EXPECT_EQ(total(*file, "parameters"), 12);
  EXPECT_EQ(file->find("metadata")->text("format"), "pt");
}

TEST_F(Inspect, RecognisesLoras) {
  const auto peft =
      inspect_path(put_tensors("a.safetensors", {"transformer.x.lora_A.weight", "transformer.x.lora_B.weight"}));
  ASSERT_TRUE(peft) << peft.error().what;
  EXPECT_EQ(peft->text("kind"), "lora");
  EXPECT_EQ(peft->text("naming"), "peft");
  EXPECT_EQ(*peft->find("modules")->as_int(), 1);
  EXPECT_EQ(*(*peft->find("ranks")->as_array())[0].as_int(), 2);
  const auto kohya =
      inspect_path(put_tensors("b.safetensors", {"lora_unet_x.lora_down.weight", "lora_te1_y.lora_down.weight"}));
  ASSERT_TRUE(kohya) << kohya.error().what;
  EXPECT_EQ(kohya->text("naming"), "kohya");
  EXPECT_EQ(kohya->find("targets")->dump(), R"(["lora_te1","lora_unet"])");
}

TEST_F(Inspect, ReadsShardsByTheirIndex) {
  put("m/config.json", R"({"architectures": ["Qwen3ForCausalLM"], "hidden_size": 384})");
  put_tensors("m/model-1.safetensors", {"a"});
  put_tensors("m/model-2.safetensors", {"b"});
  put_tensors("m/other.safetensors", {"c"});
  put("m/model.safetensors.index.json", R"({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})");
  const auto model = inspect_path(at("m"));
  ASSERT_TRUE(model) << model.error().what;
  EXPECT_EQ(model->text("class"), "Qwen3ForCausalLM");
  EXPECT_EQ(total(*model, "tensors"), 2);
  fs::remove(at("m/model-2.safetensors"));
  EXPECT_THAT(error_of(at("m")), HasSubstr("model-2.safetensors"));
}

TEST_F(Inspect, RefusesAnIndexThatLeavesItsFolder) {
  put("m/model.safetensors.index.json", R"({"weight_map": {"a": "../../secret.safetensors"}})");
  EXPECT_THAT(error_of(at("m")), HasSubstr("no file name"));
  put("m/model.safetensors.index.json", R"({"weight_map": {"a": 3}})");
  EXPECT_THAT(error_of(at("m")), HasSubstr("no file name"));
}

TEST_F(Inspect, ShowsTheTextsOfAPicture) {
  or_throw(image::save(at("a.png"), image::Image(9, 5), {{"prompt", "a cat"}}));
  const auto picture = inspect_path(at("a.png"));
  ASSERT_TRUE(picture) << picture.error().what;
  EXPECT_EQ(*picture->find("width")->as_int(), 9);
  EXPECT_EQ(picture->find("texts")->text("prompt"), "a cat");
}

TEST_F(Inspect, NamesWhatIsDamaged) {
  const std::string whole = *read_file(put_tensors("whole.safetensors", {"x"}));
  EXPECT_THAT(error_of(put("cut.safetensors", whole.substr(0, whole.size() - 1))), HasSubstr("cut.safetensors"));
  EXPECT_THAT(error_of(put("empty.safetensors", "")), HasSubstr("empty.safetensors"));
  std::string huge = whole;
  huge[7] = '\x10';  // the header's length becomes 2^60
  EXPECT_THAT(error_of(put("huge.safetensors", huge)), HasSubstr("huge.safetensors"));
  or_throw(image::save(at("a.png"), image::Image(9, 5)));
  const std::string png = *read_file(at("a.png"));
  EXPECT_THAT(error_of(put("cut.png", png.substr(0, png.size() / 2))), HasSubstr("cut.png"));
  EXPECT_THAT(
      error_of(put("p/model_index.json", R"({"_class_name": "FluxPipeline", "vae": ["diffusers", "AutoencoderKL"]})")
                   .substr(0, at("p").size())),
      HasSubstr("vae"));
  EXPECT_THAT(error_of(put("q/model_index.json", "{").substr(0, at("q").size())), HasSubstr("model_index.json"));
  EXPECT_THAT(error_of(put("text.bin", "hello")), HasSubstr("neither a picture"));
  EXPECT_THAT(error_of(at("nothing")), HasSubstr("does not exist"));
}

}  // namespace
}  // namespace cairn::app
