// Reading a machine's files, whatever they hold.
#include <fcntl.h>
#include <fmt/core.h>
#include <link.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>

#include "app/doctor_checks.h"
#include "app/inspection.h"
#include "app/options.h"
#include "base/strings.h"
#include "ops/cpu/isa.h"

extern "C" char** environ;

namespace cairn::app {
namespace fs = std::filesystem;
namespace {

std::string torch_in_use() {
  std::string folder;
  const auto look = [](dl_phdr_info* info, size_t, void* into) {
    const fs::path path(info->dlpi_name ? info->dlpi_name : "");
    if (path.filename() != "libtorch_cpu.so") return 0;
    *static_cast<std::string*>(into) = path.parent_path().parent_path().string();
    return 1;
  };
  ::dl_iterate_phdr(look, &folder);
  std::error_code error;
  const auto real = fs::canonical(folder, error);
  return error ? folder : real.string();
}

// What `python3` would import, without importing it: a module may take seconds to start, or hang.
std::string module_folder(const std::string& module) {
  const std::string command =
      "cd / && timeout 10 python3 -c 'import importlib.util as u\ns = u.find_spec(\"" + module +
      "\")\nprint(list(s.submodule_search_locations or [\"\"])[0] if s else \"\")' 2>/dev/null </dev/null";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (!pipe) return "";
  char buffer[4096] = {};
  const size_t n = std::fread(buffer, 1, sizeof buffer - 1, pipe);
  ::pclose(pipe);
  return std::string(trim(split(std::string_view(buffer, n), '\n')[0]));
}

std::optional<Space> space_of(const std::string& path) {
  struct statvfs s {};
  if (::statvfs(path.c_str(), &s) != 0) return std::nullopt;
  const auto unit = static_cast<double>(s.f_frsize);
  return Space{unit * static_cast<double>(s.f_blocks), unit * static_cast<double>(s.f_bavail)};
}

Result<void> readable(const std::string& name) {
  TRY(inspect_path(TRY(embedded_model(name))));
  return {};
}

}  // namespace

Machine Machine::here() {
  Machine m;
  for (char** e = environ; e && *e; ++e) {
    const std::string entry = *e;
    if (const auto equals = entry.find('='); equals != std::string::npos)
      m.environment[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  struct utsname name {};
  if (::uname(&name) == 0) m.architecture = name.machine;
  std::error_code ignored;
  m.program = fs::read_symlink("/proc/self/exe", ignored).parent_path().string();
  m.torch = torch_in_use();
  m.torch_built_with = CAIRN_TORCH_VERSION;
  m.cuda_kernels = CAIRN_CUDA_KERNELS != 0;
  for (const auto isa : ops::cpu::usable_isas()) m.instruction_sets.emplace_back(isa);
  m.python_module = [known = std::map<std::string, std::string>()](const std::string& module) mutable {
    const auto [it, fresh] = known.try_emplace(module);
    if (fresh) it->second = module_folder(module);
    return it->second;
  };
  m.space = space_of;
  m.weights = readable;
  m.devices = [ascend = has_ascend(m), cuda = has_cuda(m)] { return devices_seen(ascend, cuda); };
  return m;
}

bool Machine::exists(const std::string& path) const {
  std::error_code ignored;
  return fs::exists(root + path, ignored);
}

std::optional<std::string> Machine::read(const std::string& path) const {
  constexpr size_t kMost = 64 << 10;
  // A pipe in the place of a file must not keep us waiting.
  const int fd = ::open((root + path).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return std::nullopt;
  struct stat info {};
  std::string text(kMost, '\0');
  size_t size = 0;
  bool good = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  while (good && size < kMost) {
    const ssize_t n = ::read(fd, text.data() + size, kMost - size);
    if (n == 0) break;
    good = n > 0 || errno == EINTR;
    size += n > 0 ? static_cast<size_t>(n) : 0;
  }
  ::close(fd);
  if (!good) return std::nullopt;
  text.resize(size);
  return text;
}

std::string Machine::line(const std::string& path) const {
  const auto text = read(path);
  return text ? std::string(trim(split(*text, '\n')[0])) : "";
}

std::string Machine::value(const std::string& path, std::string_view key) const {
  const auto text = read(path);
  if (!text) return "";
  for (const auto& line : split(*text, '\n')) {
    std::string_view rest = trim(line);
    if (!rest.starts_with(key)) continue;
    rest.remove_prefix(key.size());
    const auto from = std::min(rest.find_first_not_of(" \t=:"), rest.size());
    if (from > 0) return std::string(trim(rest.substr(from)));
  }
  return "";
}

std::vector<std::string> Machine::entries(const std::string& folder) const {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(root + folder, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  std::ranges::sort(names);
  return names;
}

std::vector<int64_t> Machine::numbered(const std::string& folder, const std::string& prefix) const {
  std::vector<int64_t> numbers;
  for (const auto& name : entries(folder))
    if (name.starts_with(prefix))
      if (const auto n = whole_number(std::string_view(name).substr(prefix.size())); n && *n >= 0)
        numbers.push_back(*n);
  std::ranges::sort(numbers);
  return numbers;
}

std::string Machine::variable(const std::string& name) const {
  const auto it = environment.find(name);
  return it == environment.end() ? "" : it->second;
}

std::string Machine::first_of(const std::vector<std::string>& paths) const {
  for (const auto& path : paths)
    if (exists(path)) return path;
  return "";
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t n = 0;
  const auto r = std::from_chars(text.data(), text.data() + text.size(), n);
  if (text.empty() || r.ec != std::errc() || r.ptr != text.data() + text.size()) return std::nullopt;
  return n;
}

std::vector<int64_t> version_numbers(std::string_view text) {
  std::vector<int64_t> numbers;
  for (const auto& part : split(text, '.')) {
    const auto n = whole_number(part);
    if (!n) break;
    numbers.push_back(*n);
  }
  return numbers;
}

std::string wheel_version(const Machine& m, const std::string& folder) {
  std::string text = m.value(folder + "/version.py", "__version__");
  std::erase_if(text, [](char c) { return c == '\'' || c == '"'; });
  return text.substr(0, text.find('+'));
}

std::vector<Check> examine(const Machine& machine) {
  std::vector<Check> checks;
  for (const auto questions :
       {host_questions(), program_questions(), ascend_questions(), cuda_questions(), settings_questions()})
    for (const Question& q : questions) {
      Check c{q.topic, q.name, {Verdict::kWarn, "", ""}};
      try {
        c.answer = q.ask(machine);
      } catch (const std::exception& e) { c.answer.found = std::string("cannot be looked at: ") + e.what(); }
      checks.push_back(std::move(c));
    }
  return checks;
}

}  // namespace cairn::app
