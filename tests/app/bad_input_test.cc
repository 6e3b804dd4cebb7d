// Whatever a user gives wrongly: one message that names it, an exit status, and no file left behind.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "app/commands.h"
#include "base/file.h"

namespace cairn::app {

namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string kSource = CAIRN_SOURCE_DIR;

class BadInput : public testing::Test {
 protected:
  BadInput() : folder_(fs::temp_directory_path() / ("cairn-bad-input-" + std::to_string(::getpid()))) {
    fs::create_directories(folder_ / "out");
  }
  ~BadInput() override { fs::remove_all(folder_); }

  // Runs generate; a success is a failure of the test. The message, after checking that it is short and nothing was
  // written.
  std::string refused(const Arguments& args, bool with_prompt = true) {
    Arguments all{"--quiet", "--steps", "2", "--save-path", folder_ / "out" / "x.png"};
    if (with_prompt) all.emplace_back("rocket");
    all.insert(all.end(), args.begin(), args.end());
    Result<int> r = failure(Code::kInternal, "");
    try {
      r = generate(all);
    } catch (const Failure& e) { r = tl::unexpected(e.error()); }
    EXPECT_FALSE(r) << "was accepted";
    EXPECT_TRUE(fs::is_empty(folder_ / "out")) << "left a file behind";
    if (r) return "";
    EXPECT_LT(r.error().what.size(), 700u);
    EXPECT_EQ(r.error().what.find("\n\n"), std::string::npos);
    return r.error().what;
  }

  // A copy of the model that a test may damage.
  fs::path model() {
    const fs::path to = folder_ / "model";
    if (!fs::exists(to)) fs::copy(kSource + "/weights/cairn-emoji", to, fs::copy_options::recursive);
    return to;
  }
  void replace_in(const fs::path& file, const std::string& from, const std::string& to) {
    std::string text = *read_file(file);
    const auto at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    ASSERT_TRUE(write_file(file, text.replace(at, from.size(), to)));
  }
  std::string refused_model() { return refused({"--model-path", model()}); }

  const fs::path folder_;
};

TEST_F(BadInput, FlagsAreNamedAndTheNearestOffered) {
  EXPECT_THAT(refused({"--sede", "3"}), HasSubstr("unknown flag --sede, did you mean --seed?"));
  EXPECT_THAT(refused({"--steps", "0"}), HasSubstr("--num-inference-steps: must lie in [1, 10000], got 0"));
  EXPECT_THAT(refused({"--steps", "four"}), HasSubstr("expected an integer"));
  EXPECT_THAT(refused({"--rdt", "nan"}), HasSubstr("--residual-diff-threshold: expected a finite number"));
  EXPECT_THAT(refused({"--dtype", "bf17"}), HasSubstr("did you mean bf16?"));
  EXPECT_THAT(refused({"--device", "tpu"}), HasSubstr("\"tpu\" is none of cpu, cuda, npu"));
  EXPECT_THAT(refused({"two", "words"}), HasSubstr("needs quotes"));
  EXPECT_THAT(refused({}, false), HasSubstr("no prompt given"));
}

TEST_F(BadInput, RequestsThatMakeNoSense) {
  EXPECT_THAT(refused({"--height", "100"}), HasSubstr("height must be a multiple of 16"));
  EXPECT_THAT(refused({"--width", "-16"}), HasSubstr("--width"));
  EXPECT_THAT(refused({"--seed", "1,2", "--num-images", "3"}), HasSubstr("2 seeds for 3 pictures"));
  EXPECT_THAT(refused({"--sigmas", "1.0,0.0"}), HasSubstr("sigmas must lie in (0, 1]"));
  EXPECT_THAT(refused({"--true-cfg-scale", "inf"}), HasSubstr("finite"));
  EXPECT_THAT(refused({"--strength", "0", "--image", kSource + "/docs/images/rocket.png"}), HasSubstr("strength"));
  EXPECT_THAT(refused({"\xff\xfe"}, false), HasSubstr("UTF-8"));
}

TEST_F(BadInput, AnEmptyPromptIsAPrompt) {
  const fs::path out = folder_ / "empty.png";
  const auto r = generate({"", "--steps", "1", "--quiet", "--seed", "1", "--save-path", out});
  ASSERT_TRUE(r) << r.error().what;
  EXPECT_TRUE(fs::exists(out));
}

TEST_F(BadInput, CachesThatMakeNoSense) {
  EXPECT_THAT(refused({"--Fn", "8", "--Bn", "8"}), HasSubstr("11"));
  EXPECT_THAT(refused({"--taylorseer", "--foca"}), HasSubstr("foca"));
  EXPECT_THAT(refused({"--scm", "quick"}), HasSubstr("none of slow"));
  const auto with_yaml = [&](const char* text) {
    EXPECT_TRUE(write_file(folder_ / "c.yaml", text));
    return refused({"--config", folder_ / "c.yaml"});
  };
  EXPECT_THAT(with_yaml("cache_config:\n  Fn_compute_block: 1\n"), HasSubstr("did you mean Fn_compute_blocks?"));
  EXPECT_THAT(with_yaml("cache_config:\n  residual_diff_threshold: .nan\n"), HasSubstr("residual_diff_threshold"));
  EXPECT_THAT(with_yaml("parallelism_config:\n  ulysses_size: 2\n"), HasSubstr("not yet"));
  EXPECT_THAT(with_yaml("quantize_config:\n  quant_type: float8\n"), HasSubstr("not yet"));
  EXPECT_THAT(with_yaml("cache_config: [\n"), HasSubstr("c.yaml: not valid YAML"));
  EXPECT_THAT(refused({"--config", folder_ / "none.yaml"}), HasSubstr("none.yaml"));
}

TEST_F(BadInput, AttentionThatTheDeviceDoesNotHave) {
  const auto message = HasSubstr("attention backend sage is not available on cpu in bf16: use one of native, _native_");
  EXPECT_THAT(refused({"--attn", "sage"}), message);
  const std::string file = folder_ / "c.yaml";
  EXPECT_TRUE(write_file(file, "attention_backend: sage\n"));
  EXPECT_THAT(refused({"--config", file}), message);
  EXPECT_TRUE(write_file(file, "attention_backend: [native]\n"));
  EXPECT_THAT(refused({"--config", file}), HasSubstr("expected a name"));
}

TEST_F(BadInput, ModelsThatAreNotThere) {
  EXPECT_THAT(refused({"--model-path", folder_ / "nothing"}), HasSubstr("no model_index.json"));
  fs::remove(model() / "transformer" / "diffusion_pytorch_model.safetensors");
  EXPECT_THAT(refused_model(), HasSubstr("transformer holds none of diffusion_pytorch_model.safetensors"));
}

TEST_F(BadInput, UnknownClassesListTheKnownOnes) {
  replace_in(model() / "model_index.json", "FluxTransformer2DModel", "FluxTransformer3DModel");
  EXPECT_THAT(refused_model(), HasSubstr("\"FluxTransformer3DModel\" is not supported; known: FluxTransformer2DModel"));
  replace_in(model() / "model_index.json", "FluxPipeline", "WanPipeline");
  EXPECT_THAT(refused_model(), HasSubstr("\"WanPipeline\" is not supported"));
}

TEST_F(BadInput, ConfigsWithAbsurdNumbers) {
  const fs::path config = model() / "transformer" / "config.json";
  replace_in(config, "\"num_layers\": 3", "\"num_layers\": -3");
  EXPECT_THAT(refused_model(), HasSubstr("num_layers: must lie in [0, 1000], got -3"));
  replace_in(config, "\"num_layers\": -3", "\"num_layers\": 1e300");
  EXPECT_THAT(refused_model(), HasSubstr("num_layers"));
  replace_in(config, "\"num_layers\": 1e300", "\"num_layers\": 4");
  EXPECT_THAT(refused_model(), HasSubstr("transformer_blocks.3."));
  replace_in(config, "\"num_layers\": 4", "\"num_layers\": 3,,");
  EXPECT_THAT(refused_model(), HasSubstr("config.json: not valid JSON"));
}

TEST_F(BadInput, DamagedWeights) {
  const fs::path file = model() / "transformer" / "diffusion_pytorch_model.safetensors";
  const std::string whole = *read_file(file);
  const auto with = [&](std::string bytes) {
    EXPECT_TRUE(write_file(file, bytes));
    return refused_model();
  };
  EXPECT_THAT(with(whole.substr(0, whole.size() - 1)), HasSubstr("damaged or incomplete"));
  EXPECT_THAT(with(whole.substr(0, 5)), HasSubstr("too short"));
  std::string huge = whole;
  const uint64_t length = uint64_t{1} << 60;
  std::memcpy(huge.data(), &length, 8);
  EXPECT_THAT(with(huge), HasSubstr("claims a header of 1152921504606846976 bytes"));
  std::string nan = whole;
  const uint16_t bits = 0x7fc0;
  std::memcpy(nan.data() + nan.size() - 2, &bits, 2);
  EXPECT_THAT(with(nan), HasSubstr("holds NaN or infinity"));
  std::string wrong = whole;
  const auto at = wrong.find("\"proj_out.weight\"");
  ASSERT_NE(at, std::string::npos);
  const auto dims = wrong.find("[64,256]", at);
  ASSERT_NE(dims, std::string::npos);
  EXPECT_THAT(with(wrong.replace(dims, 8, "[256,64]")), HasSubstr("proj_out.weight has shape (256, 64), expected"));
}

TEST_F(BadInput, OutputsThatCannotBeWritten) {
  const auto save_to = [&](const std::string& path) {
    const auto r = generate({"rocket", "--steps", "1", "--quiet", "--save-path", path});
    return r ? std::string("was accepted") : r.error().what;
  };
  EXPECT_THAT(save_to("/proc/x/y.png"), HasSubstr("/proc/x"));
  EXPECT_THAT(save_to(folder_ / "picture.tiff"), HasSubstr(".png"));
  fs::create_directories(folder_ / "folder.png");
  EXPECT_THAT(save_to(folder_ / "folder.png"), HasSubstr("Is a directory"));
  const auto full =
      generate({"rocket", "--steps", "1", "--quiet", "--save-path", folder_ / "y.png", "--json", "/dev/full"});
  ASSERT_FALSE(full);
  EXPECT_THAT(full.error().what, HasSubstr("No space left"));
}

TEST_F(BadInput, PicturesThatAreNone) {
  ASSERT_TRUE(write_file(folder_ / "text.png", "no picture"));
  EXPECT_THAT(refused({"--image", folder_ / "text.png"}), HasSubstr("text.png"));
  EXPECT_THAT(refused({"--lora", folder_ / "text.png"}), HasSubstr("text.png"));
}

// The program itself, for what only a process shows.
struct Process {
  int status = 0;
  std::string output;
};
Process run_program(const std::string& args, int interrupt_after_ms = 0) {
  int pipe_ends[2];
  if (::pipe(pipe_ends) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe_ends[1], 2);
    ::close(pipe_ends[0]);
    ::execl("/bin/sh", "sh", "-c", ("exec " CAIRN_PROGRAM " " + args).c_str(), nullptr);
    ::_exit(127);
  }
  ::close(pipe_ends[1]);
  if (interrupt_after_ms) {
    ::usleep(static_cast<useconds_t>(interrupt_after_ms) * 1000);
    ::kill(child, SIGINT);
  }
  Process p;
  char buffer[4096];
  for (ssize_t n; (n = ::read(pipe_ends[0], buffer, sizeof buffer)) > 0;)
    p.output.append(buffer, static_cast<size_t>(n));
  ::close(pipe_ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  p.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return p;
}

TEST_F(BadInput, TheProgramSaysItInOneLineAndExitsWithOne) {
  const Process p = run_program("generate rocket --sede 1 2>&1 >/dev/null");
  EXPECT_EQ(p.status, 1);
  EXPECT_THAT(run_program("generate rocket --sede 1").output, testing::StartsWith("cairn: unknown flag --sede"));
  EXPECT_EQ(run_program("generat").status, 2);
  EXPECT_THAT(run_program("generat").output, HasSubstr("did you mean generate?"));
}

TEST_F(BadInput, CtrlCStopsWithinAStepAndLeavesNothing) {
  const fs::path out = folder_ / "out" / "never.png";
  const Process p = run_program("generate rocket --steps 10000 --save-path " + out.string(), 1500);
  EXPECT_EQ(p.status, 130) << p.output;
  EXPECT_THAT(p.output, HasSubstr("stopped after step"));
  EXPECT_TRUE(fs::is_empty(folder_ / "out"));
}

}  // namespace
}  // namespace cairn::app
