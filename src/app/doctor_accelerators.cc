// Ascend and CUDA: devices, drivers, and the software that must fit together. The last question opens them, the others
// look at files.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "app/doctor_checks.h"
#include "base/strings.h"
#include "device/device.h"

namespace cairn::app {
namespace {

constexpr const char* kNoAscend = "no Ascend device here";
constexpr const char* kNoCuda = "no CUDA device here";
constexpr const char* kAscend = "/usr/local/Ascend";
constexpr const char* kRunAscend =
    "docker run --device /dev/davinci0 --device /dev/davinci_manager --device /dev/devmm_svm --device /dev/hisi_hdc …";

std::string cann_variable(const Machine& m) {
  const auto home = m.variable("ASCEND_HOME_PATH");
  return home.empty() ? m.variable("ASCEND_TOOLKIT_HOME") : home;
}
std::string cann_home(const Machine& m) {
  const auto home = cann_variable(m);
  const std::string usual = std::string(kAscend) + "/";
  return home.empty() ? m.first_of({usual + "ascend-toolkit/latest", usual + "cann", usual + "nnrt/latest"}) : home;
}

std::string join_numbers(const std::vector<int64_t>& numbers) {
  std::vector<std::string> words;
  for (const int64_t n : numbers) words.push_back(std::to_string(n));
  return join(words, ", ");
}

// "0,1" of a variable like ASCEND_RT_VISIBLE_DEVICES; `left` is what it leaves of `count` devices.
Answer visible(const Machine& m, const char* variable, const std::string& found, size_t count) {
  const auto list = m.variable(variable);
  if (list.empty()) return ok(found);
  const auto told = fmt::format("{}; {}={}", found, variable, list);
  for (const auto& part : split(list, ',')) {
    if (std::string_view(variable) == "CUDA_VISIBLE_DEVICES" && (part.starts_with("GPU-") || part.starts_with("MIG-")))
      continue;
    const auto n = whole_number(trim(part));
    if (!n || *n < 0) return fail(told + ": not a list of device numbers", fmt::format("export {}=0", variable));
    if (*n >= static_cast<int64_t>(count))
      return fail(fmt::format("{}: there is no device {}", told, *n),
                  fmt::format("export {}=0{}", variable, count > 1 ? fmt::format(",…,{}", count - 1) : ""));
  }
  return ok(told);
}

// The first of these nodes that is missing or closed to this process, as an answer; nothing when all are open.
std::optional<Answer> closed(const Machine& m, const std::vector<std::string>& nodes, const std::string& missing,
                             const std::string& denied) {
  for (const auto& node : nodes) {
    if (!m.exists(node)) return fail(node + " is missing", missing);
    if (::access((m.root + node).c_str(), R_OK | W_OK) != 0) return fail(node + " may not be opened", denied);
  }
  return std::nullopt;
}

Answer ascend_devices(const Machine& m) {
  const auto numbers = ascend_nodes(m);
  if (numbers.empty()) {
    if (has_ascend(m)) return warn("Ascend's software is here, and no /dev/davinci* is", kRunAscend);
    return skip(kNoAscend);
  }
  std::vector<std::string> nodes{"/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"};
  for (const int64_t n : numbers) nodes.push_back(fmt::format("/dev/davinci{}", n));
  if (const auto answer = closed(m, nodes, kRunAscend, "sudo usermod -aG HwHiAiUser $USER, and log in again"))
    return *answer;
  return visible(m, "ASCEND_RT_VISIBLE_DEVICES", "davinci " + join_numbers(numbers), numbers.size());
}

Answer ascend_driver(const Machine& m) {
  if (ascend_nodes(m).empty()) return skip(kNoAscend);
  const std::string driver = std::string(kAscend) + "/driver";
  const auto version = m.value(driver + "/version.info", "Version");
  if (version.empty())
    return fail("no version in " + driver + "/version.info",
                "install the driver; in a container: -v " + driver + "/version.info:" + driver + "/version.info");
  if (!m.exists(driver + "/lib64"))
    return fail(version + ", without its libraries", "-v " + driver + "/lib64/:" + driver + "/lib64/");
  return ok(version);
}

// The files that name CANN's version, over its releases: version=8.3.RC2, or [7.8.0.1:8.3.RC2].
std::string cann_version(const Machine& m, const std::string& home) {
  const std::string system = "/" + m.architecture + "-linux/";
  for (const auto& name : {system + "ascend_toolkit_install.info", std::string("/ascend_toolkit_install.info")})
    if (const auto v = m.value(home + name, "version"); !v.empty()) return v;
  for (const char* key : {"runtime_installed_version", "toolkit_installed_version", "runtime_running_version",
                          "toolkit_running_version", "version"})
    if (auto v = m.value(home + "/version.cfg", key); !v.empty()) {
      v = v.substr(v.rfind(':') + 1);  // all of it where there is no colon
      std::erase_if(v, [](char c) { return c == '[' || c == ']'; });
      if (v.starts_with("CANN-")) v.erase(0, 5);
      return v;
    }
  return "";
}

Answer cann(const Machine& m) {
  if (!has_ascend(m)) return skip(kNoAscend);
  const auto home = cann_home(m);
  const std::string usual = std::string("source ") + kAscend + "/ascend-toolkit/set_env.sh";
  if (home.empty()) return fail("not installed", std::string("install the CANN toolkit, then: ") + usual);
  if (!m.exists(home)) return fail(home + " does not exist", usual);
  const auto version = cann_version(m, home);
  const auto found = (version.empty() ? "no version" : version) + " in " + home;
  const auto source = m.exists(home + "/set_env.sh")      ? "source " + home + "/set_env.sh"
                      : m.exists(home + "/../set_env.sh") ? "source " + home + "/../set_env.sh"
                                                          : usual;
  if (cann_variable(m).empty()) return fail(found + ", but its environment is not set", source);
  if (version.empty()) return warn(found, "install the CANN toolkit again: its version file is missing");
  if (m.variable("LD_LIBRARY_PATH").find("/lib64") == std::string::npos)
    return warn(found + ", not on LD_LIBRARY_PATH", source);
  const auto n = version_numbers(version);
  if (n.empty() || n < std::vector<int64_t>{8, 1})
    if (n.size() < 2 || n[0] < 8)
      return warn(found + "; 8.1 is the oldest that is supported", "install CANN 8.3 or newer");
  return ok(found);
}

Answer hccl(const Machine& m) {
  if (!has_ascend(m)) return skip(kNoAscend);
  const auto home = cann_home(m);
  const auto at =
      home.empty() ? ""
                   : m.first_of({home + "/lib64/libhccl.so", home + "/" + m.architecture + "-linux/lib64/libhccl.so"});
  if (at.empty()) return warn("no libhccl.so in CANN's lib64", "install the CANN toolkit: several devices need it");
  return ok(at);
}

// The folder of the torch_npu that goes with the libtorch in use; empty for none.
std::string npu_wheel(const Machine& m) {
  if (const auto told = m.variable("CAIRN_TORCH_NPU"); !told.empty()) return told;
  if (!m.torch.empty())
    if (const auto beside = m.torch.substr(0, m.torch.rfind('/')) + "/torch_npu"; m.exists(beside)) return beside;
  return m.python_module("torch_npu");
}

Answer torch_npu(const Machine& m) {
  if (!has_ascend(m)) return skip(kNoAscend);
  const auto folder = npu_wheel(m);
  const auto torch = m.torch.empty() ? "" : wheel_version(m, m.torch);
  const std::string install = "pip install torch-npu==" + (torch.empty() ? "VERSION" : torch);
  if (folder.empty()) return fail("not found", install + " (or CAIRN_TORCH_NPU=FOLDER)");
  const auto version = wheel_version(m, folder);
  if (version.empty()) return fail("no version.py in " + folder, "CAIRN_TORCH_NPU=FOLDER, the torch_npu of a wheel");
  const auto found = version + " in " + folder;
  if (!m.exists(folder + "/lib/libtorch_npu.so")) return fail(found + ", without lib/libtorch_npu.so", install);
  auto npu = version_numbers(version), own = version_numbers(torch);
  npu.resize(2), own.resize(2);
  if (!torch.empty() && npu != own)
    return fail(fmt::format("{}, but libtorch is {}: they must have the same major and minor version", found, torch),
                fmt::format("pip install torch-npu=={}.{}.*", own[0], own[1]));
  return ok(found);
}

// "_C.cpython-311-aarch64-linux-gnu.so" -> "3.11".
std::string python_of(const Machine& m, const std::string& folder) {
  for (const auto& name : m.entries(folder)) {
    const auto at = name.find(".cpython-3");
    if (at == std::string::npos) continue;
    const auto digits = name.substr(at + 10, name.find('-', at + 10) - at - 10);
    if (const auto minor = whole_number(digits); minor && *minor >= 0) return "3." + digits;
  }
  return "";
}

Answer libpython(const Machine& m) {
  if (!has_ascend(m)) return skip(kNoAscend);
  const auto folder = npu_wheel(m);
  const auto version = folder.empty() ? "" : python_of(m, folder);
  if (version.empty()) return skip("no torch_npu that says for which Python it is");
  std::vector<std::string> folders{"/usr/lib/" + m.architecture + "-linux-gnu", "/usr/local/lib", "/usr/lib64",
                                   "/usr/lib"};
  for (const auto& path : split(m.variable("LD_LIBRARY_PATH"), ':'))
    if (!path.empty()) folders.push_back(path);
  // PREFIX/lib/python3.11/site-packages/torch_npu: the library is in PREFIX/lib.
  if (const auto at = folder.rfind("/python" + version + "/"); at != std::string::npos)
    folders.push_back(folder.substr(0, at));
  for (const auto& in : folders)
    for (const char* end : {".so.1.0", ".so"})
      if (const auto path = in + "/libpython" + version + end; m.exists(path)) return ok(path);
  return fail("no libpython" + version + ".so, which torch_npu needs", "apt-get install libpython" + version);
}

Answer cuda_devices(const Machine& m) {
  const auto numbers = cuda_nodes(m);
  if (numbers.empty()) {
    if (has_cuda(m))
      return warn("NVIDIA's driver is here, and no /dev/nvidia0 is", "docker run --gpus all … (else: nvidia-modprobe)");
    return skip(kNoCuda);
  }
  std::vector<std::string> nodes{"/dev/nvidiactl", "/dev/nvidia-uvm"};
  for (const int64_t n : numbers) nodes.push_back(fmt::format("/dev/nvidia{}", n));
  if (const auto answer = closed(m, nodes, "sudo nvidia-modprobe -u -c 0 (in a container: --gpus all)",
                                 "sudo usermod -aG video $USER, and log in again"))
    return *answer;
  return visible(m, "CUDA_VISIBLE_DEVICES", "nvidia " + join_numbers(numbers), numbers.size());
}

// CUDA's version of the libtorch in use, "13.0"; empty for one without CUDA.
std::string torch_cuda(const Machine& m) {
  if (m.torch.empty() || !m.exists(m.torch + "/lib/libtorch_cuda.so")) return "";
  for (const char* key : {"cuda: Optional[str]", "cuda: str | None", "cuda"}) {
    auto v = m.value(m.torch + "/version.py", key);
    std::erase_if(v, [](char c) { return c == '\'' || c == '"'; });
    if (!version_numbers(v).empty()) return v;
  }
  return "of unknown version";
}

Answer cuda_driver(const Machine& m) {
  if (!has_cuda(m)) return skip(kNoCuda);
  const std::string file = "/proc/driver/nvidia/version";
  // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue …": the first word of numbers with points.
  std::string version;
  for (const auto& word : split(m.line(file), ' '))
    if (version.empty() && version_numbers(word).size() >= 2) version = word;
  if (version.empty()) return fail("no version in " + file, "install NVIDIA's driver (in a container: --gpus all)");
  // The oldest drivers for a major version of CUDA, by NVIDIA's table of compatibility.
  const auto cuda = version_numbers(torch_cuda(m));
  const int64_t least = cuda.empty() ? 0 : cuda[0] >= 13 ? 580 : cuda[0] == 12 ? 525 : 450;
  if (version_numbers(version)[0] < least)
    return fail(fmt::format("{}; CUDA {} of libtorch needs {} or newer", version, torch_cuda(m), least),
                "install a newer driver, or a torch for an older CUDA");
  return ok(version);
}

Answer cuda_torch(const Machine& m) {
  if (!has_cuda(m)) return skip(kNoCuda);
  if (const auto cuda = torch_cuda(m); !cuda.empty()) return ok("CUDA " + cuda);
  return warn("the libtorch in use has no CUDA", "pip install torch, then: CAIRN_TORCH=FOLDER ./cairn doctor");
}

Answer cuda_kernels(const Machine& m) {
  if (!has_cuda(m)) return skip(kNoCuda);
  if (m.cuda_kernels) return ok("in this build");
  return warn("not in this build", "build where nvcc is on PATH: ./cairn");
}

Answer nccl(const Machine& m) {
  if (!has_cuda(m)) return skip(kNoCuda);
  std::vector<std::string> paths{"/usr/lib/" + m.architecture + "-linux-gnu/libnccl.so.2",
                                 "/usr/local/cuda/lib64/libnccl.so.2", "/usr/lib64/libnccl.so.2"};
  if (!m.torch.empty()) {
    paths.push_back(m.torch.substr(0, m.torch.rfind('/')) + "/nvidia/nccl/lib/libnccl.so.2");
    paths.push_back(m.torch + "/lib/libnccl.so.2");
  }
  if (const auto at = m.first_of(paths); !at.empty()) return ok(at);
  return warn("no libnccl.so.2", "pip install nvidia-nccl-cu13 (or -cu12): several devices need it");
}

// What libtorch opens against what the system has.
Answer seen(const Machine& m, const char* kind, const std::vector<int64_t>& nodes, const char* none) {
  std::vector<std::string> names;
  std::string why = "none of them can be opened";
  for (const auto& device : m.devices()) {
    if (device.kind != kind) continue;
    if (device.error.empty()) names.push_back(device.name);
    if (!device.error.empty()) why = device.error;
  }
  if (names.empty() && nodes.empty()) return skip(none);
  if (names.empty()) return fail(why, "mend what is above");
  return ok(join(names, ", "));
}
Answer ascend_seen(const Machine& m) { return seen(m, "npu", ascend_nodes(m), kNoAscend); }
Answer cuda_seen(const Machine& m) { return seen(m, "cuda", cuda_nodes(m), kNoCuda); }

constexpr Question kAscendQuestions[] = {{"Ascend", "device nodes", ascend_devices},
                                         {"Ascend", "driver", ascend_driver},
                                         {"Ascend", "CANN", cann},
                                         {"Ascend", "HCCL", hccl},
                                         {"Ascend", "torch_npu", torch_npu},
                                         {"Ascend", "libpython", libpython},
                                         {"Ascend", "devices", ascend_seen}};
constexpr Question kCudaQuestions[] = {
    {"CUDA", "device nodes", cuda_devices}, {"CUDA", "driver", cuda_driver}, {"CUDA", "libtorch", cuda_torch},
    {"CUDA", "kernels", cuda_kernels},      {"CUDA", "NCCL", nccl},          {"CUDA", "devices", cuda_seen}};

}  // namespace

std::vector<int64_t> ascend_nodes(const Machine& m) { return m.numbered("/dev", "davinci"); }
std::vector<int64_t> cuda_nodes(const Machine& m) { return m.numbered("/dev", "nvidia"); }

bool has_ascend(const Machine& m) {
  return !ascend_nodes(m).empty() || !cann_home(m).empty() || !m.variable("CAIRN_TORCH_NPU").empty();
}
bool has_cuda(const Machine& m) { return !cuda_nodes(m).empty() || m.exists("/proc/driver/nvidia/version"); }

std::vector<DeviceSeen> devices_seen(bool ascend, bool cuda) {
  constexpr int kMost = 64;
  std::vector<DeviceSeen> devices;
  for (const std::string kind : {"npu", "cuda"}) {
    if (!(kind == "npu" ? ascend : cuda)) continue;
    for (int i = 0; i < kMost; ++i) {
      std::string name = fmt::format("{}:{}", kind, i);
      const auto opened = device::open(name);
      if (!opened && i > 0) break;  // that was the last one
      devices.push_back({kind, std::move(name), opened ? "" : opened.error().what});
      if (!opened) break;
    }
  }
  return devices;
}

std::span<const Question> ascend_questions() { return kAscendQuestions; }
std::span<const Question> cuda_questions() { return kCudaQuestions; }

}  // namespace cairn::app
