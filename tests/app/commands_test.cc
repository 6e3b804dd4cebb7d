// What commands print and write, seen from outside: one process each.
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "device/under_test.h"
#include "image/image.h"
#include "tensor/safetensors.h"

namespace cairn::app {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

struct Outcome {
  int status = 0;
  std::string output;  // both streams
};

class Commands : public testing::Test {
 protected:
  Commands() : folder_(fs::temp_directory_path() / ("cairn-commands-" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~Commands() override { fs::remove_all(folder_); }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  static Outcome run(const std::string& args) {
    Outcome out;
    std::FILE* pipe = ::popen(
        (CAIRN_PROGRAM " " + args + (args.find('<') == std::string::npos ? " 2>&1 </dev/null" : " 2>&1")).c_str(), "r");
    char buffer[4096];
    for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.output.append(buffer, n);
    const int status = ::pclose(pipe);
    out.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return out;
  }
  // A picture of one colour, so that the differences of two are known.
  std::string put_picture(const std::string& name, uint8_t value, int64_t width = 16) const {
    image::Image picture(width, 12);
    std::ranges::fill(picture.rgb, value);
    fs::create_directories((folder_ / name).parent_path());
    or_throw(image::save(at(name), picture));
    return at(name);
  }
  Json json_of(const std::string& name) const { return or_throw(Json::read(at(name))); }

  fs::path folder_;
};

std::string on_device() {
  return " --device " + std::string(device_under_test().is_cpu() ? "cpu" : std::getenv("CAIRN_TEST_DEVICE"));
}

double psnr_of(double difference) { return 20 * std::log10(255 / difference); }

TEST_F(Commands, AFullDiskUnderTheOutputIsAFailure) {
  const auto a = put_picture("a.png", 100);
  for (const std::string& command : {"metrics " + a + " " + a, "inspect " + a, std::string("generate --help")}) {
    EXPECT_EQ(run(command).status, 0) << command;
    EXPECT_EQ(run(command + " >/dev/full").status, 1) << command;
  }
}

TEST_F(Commands, MetricsOfTwoPictures) {
  const auto a = put_picture("a.png", 100), b = put_picture("b.png", 110);
  const auto r = run("metrics " + a + " " + b + " --json " + at("m.json"));
  ASSERT_EQ(r.status, 0) << r.output;
  EXPECT_THAT(r.output, HasSubstr("PSNR dB"));
  EXPECT_THAT(r.output, HasSubstr("28.131"));
  const Json m = json_of("m.json");
  ASSERT_EQ(m.find("pictures")->as_array()->size(), 1u);
  EXPECT_EQ(m.find("mean")->find("mse")->number(), 100);
  EXPECT_NEAR(m.find("mean")->find("psnr")->number(), psnr_of(10), 1e-9);
  const auto same = run("metrics " + a + " " + a + " --json " + at("same.json"));
  EXPECT_EQ(same.status, 0) << same.output;
  EXPECT_EQ(json_of("same.json").find("mean")->text("psnr"), "inf");
  EXPECT_EQ(json_of("same.json").find("mean")->find("ssim")->number(), 1);
}

TEST_F(Commands, MetricsOfTwoFoldersPairByName) {
  for (const auto& [name, left, right] : {std::tuple{"x.png", 50, 60}, {"deep/y.png", 50, 70}}) {
    put_picture(std::string("left/") + name, static_cast<uint8_t>(left));
    put_picture(std::string("right/") + name, static_cast<uint8_t>(right));
  }
  const auto r = run("metrics " + at("left") + " " + at("right") + " --json " + at("m.json"));
  ASSERT_EQ(r.status, 0) << r.output;
  std::vector<std::string> names;
  const Json m = json_of("m.json");
  for (const Json& row : *m.find("pictures")->as_array()) names.push_back(row.text("name"));
  EXPECT_THAT(names, ElementsAre("deep/y.png", "x.png"));
  EXPECT_NEAR(m.find("mean")->find("psnr")->number(), (psnr_of(10) + psnr_of(20)) / 2, 1e-9);
  EXPECT_THAT(r.output, HasSubstr("mean"));

  put_picture("left/alone.png", 1);
  const auto alone = run("metrics " + at("left") + " " + at("right"));
  EXPECT_EQ(alone.status, 1);
  EXPECT_THAT(alone.output, HasSubstr("alone.png is in " + at("left") + " but not in " + at("right")));
}

TEST_F(Commands, MetricsOfPicturesThatDoNotCompareSayWhy) {
  const auto a = put_picture("a.png", 100), wide = put_picture("wide.png", 100, 32);
  const auto sizes = run("metrics " + a + " " + wide);
  EXPECT_EQ(sizes.status, 1);
  EXPECT_THAT(sizes.output, HasSubstr("16 x 12 and 32 x 12 pixels cannot be compared"));
  EXPECT_THAT(sizes.output, HasSubstr("wide.png"));
  const auto folder = run("metrics " + a + " " + folder_.string());
  EXPECT_EQ(folder.status, 1);
  EXPECT_THAT(folder.output, HasSubstr("cannot compare a folder with a file"));
  EXPECT_THAT(run("metrics " + a).output, HasSubstr("compares two pictures"));
}

TEST_F(Commands, BenchDitWritesATableAndItsNumbers) {
  const bool processor = device_under_test().is_cpu();
  const auto r = run("bench dit --steps 4 --repeat 1 --json " + at("bench.json") + on_device());
  ASSERT_EQ(r.status, 0) << r.output;
  for (const char* word : {"64 image and 32 text tokens", "ceiling:", "step, computed", "of ceiling", "qkv"})
    EXPECT_THAT(r.output, HasSubstr(word));
  const Json b = json_of("bench.json");
  EXPECT_EQ(b.text("model"), "cairn-emoji");
  EXPECT_EQ(b.text("dtype"), "bf16");
  EXPECT_EQ(b.text("device"), device_under_test().str());
  EXPECT_GT(b.find("ceiling_gflops_per_s")->number(), 0);
  EXPECT_EQ(b.find("graph_replays")->number() > 0, !processor);
  EXPECT_EQ(b.text("graphs_refused"), "");
  std::map<std::string, const Json*> parts;
  for (const Json& p : *b.find("parts")->as_array()) parts[p.text("part")] = &p;
  for (const auto& [name, samples] : {std::pair{"text encoding", 3},
                                      {"step, computed", processor ? 3 : 2},
                                      {"step, cached", 2},
                                      {"step, cached, TaylorSeer", 2},
                                      {"decoding", 3}}) {
    ASSERT_TRUE(parts.contains(name)) << name;
    EXPECT_GT(parts[name]->find("ms")->number(), 0) << name;
    EXPECT_EQ(parts[name]->find("samples")->number(), samples) << name;
  }
  EXPECT_GT(parts["step, computed"]->find("share_of_ceiling")->number(), 0);
  EXPECT_LT(parts["step, cached"]->find("flops")->number(), parts["step, computed"]->find("flops")->number());
  double known = 0;
  for (const Json& o : *b.find("operations")->as_array()) known += o.find("ms")->number();
  EXPECT_GT(known, 0);
  EXPECT_LE(known, b.find("profiled_step_ms")->number());
}

TEST_F(Commands, GenerateInFp16SaysThatItRunsInFp32AndSavesFp16) {
  const auto make = "generate rocket --steps 2 --seed 1 --dtype fp16 --save-path " + at("x.png");
  const auto r = run(make + " --save-latents " + at("x.safetensors"));
  ASSERT_EQ(r.status, 0) << r.output;
  const auto at_note = r.output.find("note: fp16 runs in fp32 on the CPU");
  ASSERT_NE(at_note, std::string::npos) << r.output;
  EXPECT_EQ(r.output.find("note:", at_note + 1), std::string::npos) << "once";
  EXPECT_EQ(or_throw(read_tensors(at("x.safetensors"))).at("latents").scalar_type(), kF16);
  EXPECT_THAT(run(make + " --quiet").output, Not(HasSubstr("fp32")));
}

TEST_F(Commands, AttentionIsWhoeverIsAskedFor) {
  or_throw(write_file(at("a.yaml"), "attention_backend: _native_flash\n"));
  std::vector<image::Image> pictures;
  for (const std::string& by :
       {std::string(), std::string(" --attn _native_math"), " --attention-backend native --config " + at("a.yaml")}) {
    const auto r = run("generate rocket --steps 2 --seed 1 --cache-summary --save-path " + at("x.png") + by);
    ASSERT_EQ(r.status, 0) << r.output;
    EXPECT_THAT(r.output, Not(HasSubstr("Cache Steps:"))) << "a file that names no cache asks for none";
    pictures.push_back(or_throw(image::load(at("x.png"))));
  }
  for (size_t i : {1, 2}) EXPECT_NE(pictures[i].rgb, pictures[0].rgb) << i;
  for (const char* command : {"generate rocket", "serve --port 0", "bench dit", "tune"}) {
    const auto r = run(std::string(command) + " --attn sage");
    EXPECT_EQ(r.status, 1) << command;
    EXPECT_THAT(r.output, HasSubstr("attention backend sage is not available on cpu in bf16: use one of native, "
                                    "_native_flash, _native_math"))
        << command;
  }
}

TEST_F(Commands, TokenizeAndBackIsTheText) {
  or_throw(write_file(at("in.txt"), "Hello\n\"two\\nlines\"\n\n"));
  const auto ids = run("tokenize < " + at("in.txt") + " | tee " + at("ids.txt"));
  EXPECT_EQ(ids.status, 0);
  EXPECT_THAT(ids.output, HasSubstr("[1692]\n"));
  EXPECT_EQ(run("tokenize --decode < " + at("ids.txt")).output, "\"Hello\"\n\"two\\nlines\"\n\"\"\n");
  or_throw(write_file(at("bad.txt"), "fine\n\xff\n"));
  const auto bad = run("tokenize < " + at("bad.txt"));
  EXPECT_EQ(bad.status, 1);
  EXPECT_THAT(bad.output, HasSubstr("line 2"));
}

TEST_F(Commands, CompleteContinuesGreedilyAsRecorded) {
  const std::string prompt = "'<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n'";
  const auto r = run("complete " + prompt + " --temperature 0 --dtype fp32 --logprobs --json " + at("c.json"));
  ASSERT_EQ(r.status, 0) << r.output;
  EXPECT_THAT(r.output, HasSubstr("Hello! How can I help you today?"));
  const Json j = json_of("c.json");
  EXPECT_EQ(j.text("finish_reason"), "stop");
  EXPECT_EQ(j.find("ids")->as_array()->size(), 10u);
  EXPECT_NEAR(j.find("logprobs")->as_array()->front().find("logprob")->number(), -3e-5, 2e-4);
  const auto stopped = run("complete " + prompt + " --temperature 0 --quiet --stop 'help you'");
  EXPECT_THAT(stopped.output, HasSubstr("How can I \n"));
  const auto none = run("complete");
  EXPECT_EQ(none.status, 1);
  EXPECT_THAT(none.output, HasSubstr("needs a text"));
}

TEST_F(Commands, BenchesOfLanguageModelsCountWhatTheyAskedFor) {
  const auto r =
      run("bench offline --dataset-name shared-prefix --prefix-len 64 --num-prompts 6 --max-concurrency 2 "
          "--random-input-len 80 --random-output-len 5 --json " +
          at("o.json"));
  ASSERT_EQ(r.status, 0) << r.output;
  const Json j = json_of("o.json");
  EXPECT_EQ(j.find("completed")->number(), 6);
  EXPECT_EQ(j.find("total_output_tokens")->number(), 30);
  EXPECT_GE(j.find("cached_tokens")->number(), 4 * 64);  // all but the two that come first
  EXPECT_GT(j.find("median_itl_ms")->number(), 0);
  const auto one = run("bench one-batch --batch-size 2 --input-len 20 --output-len 3 --repeat 1 --limits --json " +
                       at("b.json") + on_device());
  ASSERT_EQ(one.status, 0) << one.output;
  for (const char* key : {"prefill_throughput", "decode_throughput", "total_s", "matmul_gflops_per_s",
                          "prefill_share_of_matmul", "memory_gb_per_s", "decode_share_of_memory", "graph_replays"})
    EXPECT_GT(json_of("b.json").find(key)->number(), 0) << key;
  EXPECT_THAT(run("bench one-batch --input-len 5000").output, HasSubstr("4096 positions"));
  EXPECT_THAT(run("bench ofline").output, HasSubstr("offline"));
}

TEST_F(Commands, ChatGoesOnWithTheConversation) {
  or_throw(write_file(at("in.txt"),
                      "Hello\n\nWhat is 12 + 30?\n/save " + at("c.json") + "\n/nonsense\n/reset\n/exit\nnever\n"));
  const auto r = run("chat --temperature 0 < " + at("in.txt"));
  ASSERT_EQ(r.status, 0) << r.output;
  EXPECT_THAT(r.output, HasSubstr("Hello! How can I help you today?\n"));
  EXPECT_THAT(r.output, HasSubstr("12 + 30 = 42."));
  EXPECT_THAT(r.output, HasSubstr("/system TEXT"));
  EXPECT_EQ(json_of("c.json").as_array()->size(), 4u);
}

TEST_F(Commands, RenderShowsWhatAModelReads) {
  or_throw(write_file(
      at("r.json"), R"({"messages": [{"role": "user", "content": "Hi"}], "kwargs": {"add_generation_prompt": true}})"));
  EXPECT_EQ(run("render < " + at("r.json")).output, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  or_throw(write_file(at("t.jinja"), "{{ messages[0].content | fly }}"));
  const auto bad = run("render " + at("t.jinja") + " < " + at("r.json"));
  EXPECT_EQ(bad.status, 1);
  EXPECT_THAT(bad.output, HasSubstr("fly"));
}

}  // namespace
}  // namespace cairn::app
