// Machines that are folders of made-up files, and what doctor says of them.
#include "app/doctor_checks.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

namespace cairn::app {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string word(Verdict v) {
  return v == Verdict::kOk ? "ok" : v == Verdict::kWarn ? "warn" : v == Verdict::kFail ? "fail" : "skip";
}

class Doctor : public testing::Test {
 protected:
  Doctor() : folder_(fs::temp_directory_path() / ("cairn-doctor-" + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    machine_.root = folder_.string();
    machine_.architecture = "aarch64";
    machine_.program = "/opt/cairn/bin";
    machine_.torch = "/opt/lib/python3.11/site-packages/torch";
    machine_.torch_built_with = "2.13.0";
    machine_.instruction_sets = {"baseline"};
    machine_.space = [](const std::string&) { return Space{64e9, 32e9}; };
  }
  ~Doctor() override { fs::remove_all(folder_); }

  void put(const std::string& path, const std::string& text = "") {
    const fs::path at = folder_.string() + path;
    fs::create_directories(at.parent_path());
    std::ofstream(at, std::ios::binary) << text;
  }
  void put_torch(const std::string& version, const std::string& cuda) {
    put(machine_.torch + "/version.py",
        "__version__ = '" + version + "'\ndebug = False\ncuda: Optional[str] = " + cuda + "\n");
  }
  std::string site(const std::string& path) const { return "/opt/lib/python3.11/site-packages" + path; }

  // "verdict: found | mend" of a question.
  std::string ask(const std::string& topic, const std::string& name) const {
    for (const Check& c : examine(machine_))
      if (c.topic == topic && c.name == name)
        return word(c.answer.verdict) + ": " + c.answer.found + (c.answer.mend.empty() ? "" : " | " + c.answer.mend);
    return "no such question";
  }
  std::string system(const std::string& name) const { return ask("System", name); }

  // What is not well, by name.
  std::vector<std::string> ill(Verdict verdict) const {
    std::vector<std::string> names;
    for (const Check& c : examine(machine_))
      if (c.answer.verdict == verdict) names.push_back(c.name);
    return names;
  }

  // An Ascend server on which nothing is wrong.
  void make_ascend() {
    for (const char* node : {"davinci0", "davinci1", "davinci_manager", "devmm_svm", "hisi_hdc"})
      put(std::string("/dev/") + node);
    put("/dev/shm/x");
    put("/usr/local/Ascend/driver/version.info", "Version=25.2.0\nascendhal_version=7.35.23\n");
    put("/usr/local/Ascend/driver/lib64/driver/libascend_hal.so");
    const std::string cann = "/usr/local/Ascend/ascend-toolkit/latest";
    put(cann + "/aarch64-linux/ascend_toolkit_install.info", "package_name=Ascend-cann-toolkit\nversion=8.3.RC2\n");
    put(cann + "/lib64/libhccl.so");
    put(cann + "/set_env.sh");
    put_torch("2.13.0+cpu", "None");
    put(site("/torch_npu/version.py"), "__version__ = '2.13.0'\n");
    put(site("/torch_npu/lib/libtorch_npu.so"));
    put(site("/torch_npu/_C.cpython-311-aarch64-linux-gnu.so"));
    put("/usr/lib/aarch64-linux-gnu/libpython3.11.so.1.0");
    put("/proc/self/limits", "Max locked memory         unlimited            unlimited            bytes     \n");
    machine_.environment = {{"ASCEND_HOME_PATH", cann},
                            {"LD_LIBRARY_PATH", cann + "/lib64"},
                            {"PYTORCH_NPU_ALLOC_CONF", "expandable_segments:True"}};
    machine_.devices = [] { return std::vector<DeviceSeen>{{"npu", "npu:0"}, {"npu", "npu:1"}}; };
  }
  void make_cuda() {
    for (const char* node : {"nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1"})
      put(std::string("/dev/") + node);
    put("/dev/shm/x");
    put("/proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Tue Jul  1 00:00:00 UTC 2025\nGCC version: 12\n");
    put("/proc/self/status", "CapEff:\t0000000000004000\n");
    put_torch("2.13.0+cu130", "'13.0'");
    put(machine_.torch + "/lib/libtorch_cuda.so");
    put(site("/nvidia/nccl/lib/libnccl.so.2"));
    machine_.cuda_kernels = true;
    machine_.devices = [] { return std::vector<DeviceSeen>{{"cuda", "cuda:0"}}; };
  }

  fs::path folder_;
  Machine machine_;
};

TEST_F(Doctor, ReadsTheSettingsOfAHost) {
  const auto governor = [](int cpu) {
    return fmt::format("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", cpu);
  };
  EXPECT_EQ(system("CPU governor"), "skip: the system offers none, as in a virtual machine");
  put(governor(0), "performance\n");
  put(governor(10), "performance\n");
  EXPECT_EQ(system("CPU governor"), "ok: performance");
  put(governor(3), "powersave\n");
  EXPECT_THAT(system("CPU governor"), HasSubstr("warn: performance on 2 cores, powersave on 1 cores | echo perf"));

  put("/proc/sys/kernel/numa_balancing", "1\n");
  EXPECT_THAT(system("NUMA balancing"), HasSubstr("| sudo sysctl -w kernel.numa_balancing=0"));
  put("/proc/sys/kernel/numa_balancing", "0\n");
  EXPECT_EQ(system("NUMA balancing"), "ok: off");

  put("/proc/sys/vm/swappiness", "60\n");
  put("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n");
  EXPECT_THAT(system("swappiness"), HasSubstr("warn: 60; 10 is advised"));
  put("/proc/swaps", "Filename Type Size Used Priority\n");
  EXPECT_EQ(system("swappiness"), "ok: 60, and there is no swap");
  put("/proc/sys/vm/swappiness", "10\n");
  EXPECT_EQ(system("swappiness"), "ok: 10");

  put("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  EXPECT_THAT(system("large pages"), HasSubstr("warn: never"));
  put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  EXPECT_EQ(system("large pages"), "ok: madvise");
}

TEST_F(Doctor, ReadsTheLimitsOfAProcess) {
  const auto limits = [&](const std::string& files, const std::string& memory) {
    put("/proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            " +
            files +
            "       files     \n"
            "Max locked memory         " +
            memory + "       bytes     \n");
  };
  limits("1024                 4096", "65536                65536");
  EXPECT_THAT(system("open files"), HasSubstr("warn: 1024: a server holds one a connection | ulimit -n"));
  EXPECT_THAT(system("locked memory"), HasSubstr("skip: 64.0 KiB"));
  put("/dev/davinci0");
  EXPECT_THAT(system("locked memory"), HasSubstr("warn: 64.0 KiB"));
  put("/proc/self/status", "Name:\tcairn\nCapEff:\t0000000000004000\n");
  EXPECT_THAT(system("locked memory"), HasSubstr("ok: no limit"));
  put("/proc/self/status", "Name:\tcairn\nCapEff:\t0000000000003fff\n");
  limits("unlimited            unlimited", "unlimited            unlimited");
  EXPECT_EQ(system("locked memory"), "ok: unlimited");
  EXPECT_EQ(system("open files"), "ok: unlimited");
}

TEST_F(Doctor, ComparesCoresWithTheQuotaOfTheirGroup) {
  EXPECT_EQ(system("cores"), "skip: the system does not say");
  put("/proc/self/status", "Cpus_allowed_list:\t0-3,8,10-12\n");
  EXPECT_EQ(system("cores"), "ok: 8, no quota");
  put("/proc/self/cgroup", "0::/box/job\n");
  put("/sys/fs/cgroup/box/cpu.max", "250000 100000\n");
  put("/sys/fs/cgroup/box/job/cpu.max", "max 100000\n");
  EXPECT_THAT(system("cores"), HasSubstr("warn: 8, quota 2.5: more threads than the quota are halted in turns | "
                                         "--threads 2"));
  put("/proc/self/cgroup", "3:cpu,cpuacct:/docker/a1\n");
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "1600000\n");
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(system("cores"), "ok: 8, quota 16");
}

TEST_F(Doctor, KnowsWhatTheProgramStandsOn) {
  EXPECT_THAT(ask("Program", "libtorch"), HasSubstr("fail: no version.py"));
  put_torch("2.13.0+cpu", "None");
  EXPECT_EQ(ask("Program", "libtorch"), "ok: 2.13.0 in " + machine_.torch);
  put_torch("2.11.0", "None");
  EXPECT_THAT(ask("Program", "libtorch"), HasSubstr("but built with 2.13.0"));
  machine_.torch_built_with = "2.15.1";
  put_torch("2.15.1", "None");
  EXPECT_THAT(ask("Program", "libtorch"), HasSubstr("warn: 2.15.1"));

  machine_.instruction_sets = {"avx512", "avx2", "baseline"};
  EXPECT_EQ(ask("Program", "instruction set"), "ok: avx512");
  machine_.environment["CAIRN_ISA"] = "avx2";
  EXPECT_THAT(ask("Program", "instruction set"), HasSubstr("warn: avx2, by CAIRN_ISA; the best is avx512 | unset"));
  machine_.environment["CAIRN_ISA"] = "amx";
  EXPECT_THAT(ask("Program", "instruction set"), HasSubstr("fail: CAIRN_ISA=amx; this processor runs avx512, avx2"));
  machine_.environment.clear();
  machine_.instruction_sets = {"baseline"};
  machine_.architecture = "x86_64";
  EXPECT_THAT(ask("Program", "instruction set"), HasSubstr("no AVX2"));

  machine_.space = [](const std::string& path) {
    return path.ends_with("/opt/cairn/bin") ? Space{1e12, 1e9} : Space{64e6, 64e6};
  };
  EXPECT_THAT(ask("Program", "disk"), HasSubstr("warn: 953.7 MiB free at /opt/cairn/bin"));
  machine_.weights = [](const std::string& name) -> Result<void> { return corrupt(name + " is cut off"); };
  EXPECT_THAT(ask("Program", "embedded weights"), HasSubstr("fail: cairn-emoji is cut off | git checkout"));
}

TEST_F(Doctor, AnAscendServerThatIsWellHasNothingToMend) {
  make_ascend();
  EXPECT_THAT(ill(Verdict::kFail), testing::IsEmpty());
  EXPECT_THAT(ill(Verdict::kWarn), testing::IsEmpty());
  EXPECT_EQ(ask("Ascend", "device nodes"), "ok: davinci 0, 1");
  EXPECT_EQ(ask("Ascend", "driver"), "ok: 25.2.0");
  EXPECT_EQ(ask("Ascend", "CANN"), "ok: 8.3.RC2 in /usr/local/Ascend/ascend-toolkit/latest");
  EXPECT_EQ(ask("Ascend", "torch_npu"), "ok: 2.13.0 in " + site("/torch_npu"));
  EXPECT_EQ(ask("Ascend", "libpython"), "ok: /usr/lib/aarch64-linux-gnu/libpython3.11.so.1.0");
  EXPECT_EQ(ask("Ascend", "devices"), "ok: npu:0, npu:1");
  EXPECT_THAT(ask("CUDA", "driver"), HasSubstr("skip"));
}

TEST_F(Doctor, NamesWhatIsAmissOnAnAscendServer) {
  make_ascend();
  machine_.environment["ASCEND_RT_VISIBLE_DEVICES"] = "0,2";
  EXPECT_THAT(ask("Ascend", "device nodes"),
              HasSubstr("there is no device 2 | export ASCEND_RT_VISIBLE_DEVICES=0,…,1"));
  machine_.environment["ASCEND_RT_VISIBLE_DEVICES"] = "all";
  EXPECT_THAT(ask("Ascend", "device nodes"), HasSubstr("not a list of device numbers"));
  machine_.environment.erase("ASCEND_RT_VISIBLE_DEVICES");
  fs::remove(folder_ / "dev/hisi_hdc");
  EXPECT_THAT(ask("Ascend", "device nodes"), HasSubstr("fail: /dev/hisi_hdc is missing | docker run --device"));

  fs::remove_all(folder_ / "usr/local/Ascend/driver/lib64");
  EXPECT_THAT(ask("Ascend", "driver"), HasSubstr("fail: 25.2.0, without its libraries | -v"));
  fs::remove(folder_ / "usr/local/Ascend/driver/version.info");
  EXPECT_THAT(ask("Ascend", "driver"), HasSubstr("fail: no version"));

  put(site("/torch_npu/version.py"), "__version__ = '2.8.0.post2'\n");
  EXPECT_THAT(ask("Ascend", "torch_npu"), HasSubstr("but libtorch is 2.13.0: they must have the same"));
  EXPECT_THAT(ask("Ascend", "torch_npu"), HasSubstr("| pip install torch-npu==2.13.*"));
  fs::remove(folder_ / "usr/lib/aarch64-linux-gnu/libpython3.11.so.1.0");
  EXPECT_THAT(ask("Ascend", "libpython"), HasSubstr("| apt-get install libpython3.11"));
  put("/opt/lib/libpython3.11.so");
  EXPECT_EQ(ask("Ascend", "libpython"), "ok: /opt/lib/libpython3.11.so");
  fs::remove_all(folder_.string() + site("/torch_npu"));
  EXPECT_THAT(ask("Ascend", "torch_npu"), HasSubstr("fail: not found | pip install torch-npu==2.13.0"));
  machine_.python_module = [&](const std::string& module) { return "/other/" + module; };
  EXPECT_THAT(ask("Ascend", "torch_npu"), HasSubstr("no version.py in /other/torch_npu"));
  machine_.environment["CAIRN_TORCH_NPU"] = "/mine";
  EXPECT_THAT(ask("Ascend", "torch_npu"), HasSubstr("no version.py in /mine"));

  machine_.devices = [] { return std::vector<DeviceSeen>(); };
  EXPECT_THAT(ask("Ascend", "devices"), HasSubstr("fail: none of them can be opened"));
  machine_.space = [](const std::string&) { return Space{64e6, 64e6}; };
  EXPECT_THAT(system("/dev/shm"), HasSubstr("warn: 61.0 MiB, 61.0 MiB free | sudo mount"));
}

TEST_F(Doctor, FindsCannWhereItsReleasesPutIt) {
  make_ascend();
  const std::string home = "/usr/local/Ascend/ascend-toolkit/latest";
  machine_.environment.erase("ASCEND_HOME_PATH");
  EXPECT_THAT(ask("Ascend", "CANN"), HasSubstr("its environment is not set | source " + home + "/set_env.sh"));
  machine_.environment["ASCEND_TOOLKIT_HOME"] = home;
  EXPECT_THAT(ask("Ascend", "CANN"), HasSubstr("ok: 8.3.RC2"));
  fs::remove_all(folder_.string() + home + "/aarch64-linux");
  EXPECT_THAT(ask("Ascend", "CANN"), HasSubstr("warn: no version in"));
  put(home + "/version.cfg", "# version: 1.0\nruntime_running_version=[7.0.0.5.242:CANN-7.0.RC1]\n");
  EXPECT_THAT(ask("Ascend", "CANN"), HasSubstr("warn: 7.0.RC1 in " + home + "; 8.1 is the oldest"));
  machine_.environment["ASCEND_TOOLKIT_HOME"] = "/gone";
  EXPECT_THAT(ask("Ascend", "CANN"), HasSubstr("fail: /gone does not exist"));
  EXPECT_THAT(ask("Ascend", "HCCL"), HasSubstr("warn: no libhccl.so"));
  fs::remove_all(folder_ / "dev");
  EXPECT_THAT(ask("Ascend", "device nodes"), HasSubstr("warn: Ascend's software is here, and no /dev/davinci* is"));
}

TEST_F(Doctor, ACudaServerThatIsWellHasNothingToMend) {
  make_cuda();
  EXPECT_THAT(ill(Verdict::kFail), testing::IsEmpty());
  EXPECT_THAT(ill(Verdict::kWarn), testing::IsEmpty());
  EXPECT_EQ(ask("CUDA", "device nodes"), "ok: nvidia 0");
  EXPECT_EQ(ask("CUDA", "driver"), "ok: 580.65.06");
  EXPECT_EQ(ask("CUDA", "libtorch"), "ok: CUDA 13.0");
  EXPECT_THAT(ask("Ascend", "CANN"), HasSubstr("skip"));
}

TEST_F(Doctor, NamesWhatIsAmissOnACudaServer) {
  make_cuda();
  put("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release\n");
  EXPECT_THAT(ask("CUDA", "driver"), HasSubstr("fail: 550.54.15; CUDA 13.0 of libtorch needs 580 or newer"));
  put("/proc/driver/nvidia/version", "no number");
  EXPECT_THAT(ask("CUDA", "driver"), HasSubstr("fail: no version"));
  fs::remove(folder_.string() + machine_.torch + "/lib/libtorch_cuda.so");
  EXPECT_THAT(ask("CUDA", "libtorch"), HasSubstr("warn: the libtorch in use has no CUDA"));
  machine_.cuda_kernels = false;
  EXPECT_THAT(ask("CUDA", "kernels"), HasSubstr("warn: not in this build"));
  machine_.environment["CUDA_VISIBLE_DEVICES"] = "GPU-5d,MIG-1";
  EXPECT_THAT(ask("CUDA", "device nodes"), HasSubstr("ok"));
  machine_.environment["CUDA_VISIBLE_DEVICES"] = "1";
  EXPECT_THAT(ask("CUDA", "device nodes"), HasSubstr("there is no device 1"));
  fs::remove(folder_ / "dev/nvidia-uvm");
  EXPECT_THAT(ask("CUDA", "device nodes"), HasSubstr("/dev/nvidia-uvm is missing"));
  fs::remove_all(folder_ / "dev");
  EXPECT_THAT(ask("CUDA", "device nodes"), HasSubstr("| docker run --gpus all"));
}

TEST_F(Doctor, KnowsTheLegalValuesOfSettings) {
  const auto set = [&](const std::string& name, const std::string& value) {
    machine_.environment[name] = value;
    return ask("Settings", name);
  };
  for (const char* good : {"expandable_segments:True", "max_split_size_mb:64,garbage_collection_threshold:0.8"})
    EXPECT_EQ(set("PYTORCH_NPU_ALLOC_CONF", good), std::string("ok: ") + good);
  for (const char* bad :
       {"expandable_segments:yes", "max_split_size_mb:20", "garbage_collection_threshold:1", ":", ","})
    EXPECT_THAT(set("PYTORCH_NPU_ALLOC_CONF", bad), HasSubstr("fail: ")) << bad;
  EXPECT_THAT(set("PYTORCH_NPU_ALLOC_CONF", "expandable_segment:True"), HasSubstr("did you mean expandable_segments?"));
  EXPECT_EQ(set("TASK_QUEUE_ENABLE", "1"), "ok: 1");
  EXPECT_THAT(set("TASK_QUEUE_ENABLE", "2"), HasSubstr("warn: 2, which cannot capture graphs"));
  EXPECT_THAT(set("TASK_QUEUE_ENABLE", "on"), HasSubstr("fail: on is none of 0, 1, 2"));
  EXPECT_EQ(set("STREAMS_PER_DEVICE", "8"), "ok: 8");
  EXPECT_THAT(set("STREAMS_PER_DEVICE", "16"), HasSubstr("| export STREAMS_PER_DEVICE=32"));
  EXPECT_EQ(set("HCCL_BUFFSIZE", "500"), "ok: 500 MiB");
  EXPECT_THAT(set("HCCL_BUFFSIZE", "500M"), HasSubstr("fail"));
  EXPECT_THAT(set("HCCL_OP_EXPANSION_MODE", "aiv"), HasSubstr("fail"));
  put("/sys/class/net/eth0/x");
  put("/sys/class/net/lo/x");
  EXPECT_EQ(set("HCCL_SOCKET_IFNAME", "ens,eth"), "ok: ens,eth");
  EXPECT_THAT(set("HCCL_SOCKET_IFNAME", "=eth"), HasSubstr("| export HCCL_SOCKET_IFNAME=eth0"));
  EXPECT_THAT(set("GLOO_SOCKET_IFNAME", "eth"), HasSubstr("fail: eth is no network interface: there are eth0, lo"));
}

// Every file that a question reads in turn: missing, unreadable, a folder, a pipe that nobody writes, and noise.
TEST_F(Doctor, AnswersWhateverFilesHold) {
  make_ascend();
  make_cuda();
  put("/proc/self/status", "Cpus_allowed_list: 0-1\nCapEff: 0\n");
  put("/proc/self/cgroup", "0::/a\n");
  put("/sys/fs/cgroup/a/cpu.max", "100000 100000\n");
  put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
  put("/proc/sys/vm/swappiness", "60\n");
  put("/proc/swaps", "Filename\nx\n");
  put("/sys/kernel/mm/transparent_hugepage/enabled", "[always]\n");
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder_))
    if (entry.is_regular_file()) files.push_back(entry.path());
  const size_t questions = examine(machine_).size();
  std::mt19937 random(7);
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    const std::string before{std::istreambuf_iterator<char>(in), {}};
    for (int kind = 0; kind < 8; ++kind) {
      fs::remove_all(file);
      if (kind == 1) fs::create_directory(file);
      if (kind == 2) { ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0); }
      if (kind == 3) fs::create_symlink(file, file);
      if (kind >= 4) {
        std::string noise = before;
        for (int i = 0; i < kind * 40; ++i)
          noise.insert(random() % (noise.size() + 1), 1,
                       kind % 2 ? static_cast<char>(random()) : ":,-=[]/9 \n"[i % 11]);
        std::ofstream(file, std::ios::binary) << noise;
      }
      ASSERT_EQ(examine(machine_).size(), questions) << file << " " << kind;
    }
    fs::remove_all(file);
    std::ofstream(file, std::ios::binary) << before;
  }
}

TEST_F(Doctor, AQuestionThatThrowsIsAWarning) {
  machine_.weights = [](const std::string&) -> Result<void> { throw std::runtime_error("a bad day"); };
  EXPECT_EQ(ask("Program", "embedded weights"), "warn: cannot be looked at: a bad day");
}

}  // namespace
}  // namespace cairn::app
