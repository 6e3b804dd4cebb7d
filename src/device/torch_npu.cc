// Ascend NPUs: torch_npu, a PyTorch backend, is opened when a device is asked for, and never linked or included, so
// that one program runs with and without it. It is made for Python, so what it expects of one is set up first:
// libpython of the version that it was built for, an interpreter whose lock is free, and a module with the function
// that the first tensor calls.
#include <dlfcn.h>
#include <fmt/core.h>
#include <torch/headeronly/version.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <string_view>

#include "base/file.h"
#include "base/strings.h"
#include "device/accelerator.h"

namespace cairn::device {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStandIns =
    "import sys, types\n"
    "npu = types.ModuleType('torch_npu.npu')\n"
    "npu._lazy_init = lambda: None\n"
    "sys.modules['torch_npu'] = types.ModuleType('torch_npu')\n"
    "sys.modules['torch_npu.npu'] = npu\n";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// The folder of the package that Python would import.
std::string importable() {
  constexpr const char* kAsk =
      "cd / && python3 -c 'import importlib.util as u; s = u.find_spec(\"torch_npu\"); "
      "print(list(s.submodule_search_locations)[0] if s else \"\")' 2>/dev/null";
  std::FILE* answer = ::popen(kAsk, "r");
  if (!answer) return {};
  std::array<char, 4096> line{};
  const bool got = std::fgets(line.data(), line.size(), answer) != nullptr;
  ::pclose(answer);
  return got ? std::string(trim(line.data())) : std::string();
}

Result<std::string> package() {
  std::string folder = variable("CAIRN_TORCH_NPU");
  const bool named = !folder.empty();
  if (!named) folder = importable();
  if (folder.empty())
    return failure(Code::kUnavailable,
                   "Ascend NPUs need torch_npu, and Python finds none: install it (pip install torch_npu), or set "
                   "CAIRN_TORCH_NPU to its package folder");
  std::error_code ignored;
  if (fs::exists(folder + "/lib/libtorch_npu.so", ignored)) return folder;
  return failure(Code::kNotFound, fmt::format("{} is no torch_npu package: it has no lib/libtorch_npu.so{}", folder,
                                              named ? "; CAIRN_TORCH_NPU names it" : ""));
}

// "2.13" of both must agree: the interfaces between them change with every version.
Result<void> pairs(const std::string& folder) {
  const std::string text = read_file(folder + "/version.py").value_or("");
  const size_t at = text.find("__version__ = '");
  if (at == std::string::npos) return {};
  const std::string version = text.substr(at + 15, text.find('\'', at + 15) - at - 15);
  const std::string wanted = fmt::format("{}.{}.", TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR);
  if (version.starts_with(wanted)) return {};
  return failure(Code::kUnsupported, fmt::format("torch_npu {} does not go with libtorch {}: install torch_npu {}*, or "
                                                 "set CAIRN_TORCH to a torch of its version",
                                                 version, TORCH_VERSION, wanted));
}

// "3.11": the version of Python in the name of its module.
std::string python_version(const std::string& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    const size_t at = name.find(".cpython-3");
    if (!name.starts_with("_C") || at == std::string::npos) continue;
    return "3." + name.substr(at + 10, name.find('-', at + 10) - at - 10);
  }
  return {};
}

Result<void*> open_global(const std::string& library) {
  if (void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL)) return handle;
  return failure(Code::kUnavailable, ::dlerror());
}

Result<void> start_python(const std::string& version) {
  if (::dlsym(RTLD_DEFAULT, "Py_IsInitialized")) return {};  // the program is an extension of one
  std::vector<std::string> names{"libpython" + version + ".so.1.0", "libpython" + version + ".so"};
  if (const std::string named = variable("CAIRN_LIBPYTHON"); !named.empty()) names = {named};
  std::string why;
  for (const auto& name : names) {
    const auto opened = open_global(name);
    if (!opened) {
      why = opened.error().what;
      continue;
    }
    const auto start = reinterpret_cast<void (*)(int)>(::dlsym(*opened, "Py_InitializeEx"));
    const auto run = reinterpret_cast<int (*)(const char*)>(::dlsym(*opened, "PyRun_SimpleString"));
    const auto let_go = reinterpret_cast<void* (*)()>(::dlsym(*opened, "PyEval_SaveThread"));
    if (!start || !run || !let_go) return failure(Code::kUnavailable, name + " is no Python");
    start(0);  // no signal handlers
    const bool ok = run(kStandIns) == 0;
    let_go();
    if (!ok) return failure(Code::kInternal, "the interpreter that torch_npu needs does not run");
    return {};
  }
  return failure(Code::kUnavailable, fmt::format("torch_npu needs libpython{}, which cannot be opened ({}): install it "
                                                 "(apt-get install libpython{}), or set CAIRN_LIBPYTHON to the file",
                                                 version, why, version));
}

// On Ascend 310P torch_npu has graph operators compiled for every shape that they meet, so anew for every length of a
// sequence; PyTorch's softmax of attention fails among their layouts. The operators that are ready are what
// torch.npu.set_compile_mode(jit_compile=False) chooses. That is Python's; from C++, torch_npu asks CANN's compiler for
// its default when it starts, and (ACL_OP_INIT_MODE=0) applies the answer to all threads.
void choose_ready_operators() {
  using Init = int (*)(const char*);
  using Option = int (*)(int, const char*);
  constexpr int kCompileForShapes = 10;  // ACL_OP_JIT_COMPILE
  if (!npu_is_310p()) return;
  const auto init = reinterpret_cast<Init>(::dlsym(RTLD_DEFAULT, "aclInit"));
  void* compiler = ::dlopen("libacl_op_compiler.so", RTLD_NOW | RTLD_GLOBAL);
  const auto set = compiler ? reinterpret_cast<Option>(::dlsym(compiler, "aclSetCompileopt")) : nullptr;
  const std::string config = variable("TORCH_ACL_INIT_CONFIG_PATH");
  // torch_npu accepts that it was started already.
  if (!init || !set || init(config.empty() ? nullptr : config.c_str()) != 0 || set(kCompileForShapes, "disable") != 0) {
    fmt::print(stderr, "note: operators of this Ascend 310P are compiled for each shape, which is slow\n");
    return;
  }
  ::setenv("ACL_OP_INIT_MODE", "0", /*overwrite=*/0);
}

Result<void> load() {
  const std::string folder = TRY(package());
  TRY_VOID(pairs(folder));
  const std::string version = python_version(folder);
  if (version.empty()) return failure(Code::kNotFound, folder + " has no _C.cpython-*.so: the package is not whole");
  TRY_VOID(start_python(version));
  // Python's package would find this file for the library.
  if (const std::string config = folder + "/acl_default.json"; fs::exists(config))
    ::setenv("TORCH_ACL_INIT_CONFIG_PATH", config.c_str(), /*overwrite=*/0);
  const auto opened = [&]() -> Result<void> {
    TRY(open_global(libtorch_folder() + "/lib/libtorch_python.so"));
    TRY(open_global(folder + "/lib/libtorch_npu.so"));
    return {};
  }();
  if (!opened)
    return failure(Code::kUnavailable, fmt::format("torch_npu cannot be opened: {}. CANN's libraries must be on "
                                                   "LD_LIBRARY_PATH: source its set_env.sh first",
                                                   opened.error().what));
  choose_ready_operators();
  return {};
}

}  // namespace

bool npu_is_310p() {
  const auto name = reinterpret_cast<const char* (*)()>(::dlsym(RTLD_DEFAULT, "aclrtGetSocName"));
  const char* soc = name ? name() : nullptr;
  return soc && std::string_view(soc).starts_with("Ascend310P");
}

Result<void> load_torch_npu() {
  static std::mutex mutex;
  static bool loaded = false;
  const std::lock_guard lock(mutex);
  if (loaded) return {};
  TRY_VOID(load());
  loaded = true;
  return {};
}

}  // namespace cairn::device
