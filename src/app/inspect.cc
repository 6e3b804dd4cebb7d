// cairn inspect: what a picture or a model holds.
#include <fmt/core.h>

#include <algorithm>

#include "app/commands.h"
#include "app/flags.h"
#include "app/inspection.h"
#include "base/file.h"
#include "base/strings.h"

namespace cairn::app {
namespace {

struct InspectOptions {
  bool tensors = false;
  std::string json;

  void fields(auto& f) {
    f("tensors", tensors, "list every tensor: name, dtype, shape, bytes");
    f("json", json, "all of it as JSON");
  }
};

int64_t number(const Json& of, const char* key) { return *of.find(key)->as_int(); }

std::string count(int64_t n) {
  const auto v = static_cast<double>(n);
  if (v >= 1e9) return fmt::format("{:.2f} B", v / 1e9);
  return v >= 1e6 ? fmt::format("{:.1f} M", v / 1e6) : fmt::format("{}", n);
}

// Text from a file must not reach the terminal with control characters in it.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text)
    out += static_cast<unsigned char>(c) < 0x20 && c != '\n' ? std::string("\\x") + fmt::format("{:02x}", c)
                                                             : std::string(1, c);
  return out;
}

// "210 tensors, 15.5 M parameters, BF16, 29.6 MiB"
std::string totals(const Json& t) {
  std::string mix;
  const auto& dtypes = *t.find("dtypes")->as_object();
  for (const auto& [dtype, n] : dtypes) {
    if (!mix.empty()) mix += " + ";
    mix += dtypes.size() == 1 ? dtype : fmt::format("{} {}", dtype, count(*n.as_int()));
  }
  return fmt::format("{} tensors, {} parameters, {}{}{}", number(t, "tensors"), count(number(t, "parameters")), mix,
                     mix.empty() ? "" : ", ", human_bytes(static_cast<double>(number(t, "bytes"))));
}

void print_tensors(const Json& of) {
  size_t width = 0;
  const auto& list = *of.find("tensors")->as_array();
  for (const auto& t : list) width = std::max(width, t.text("name").size());
  for (const auto& t : list) {
    std::vector<std::string> sides;
    for (const auto& d : *t.find("shape")->as_array()) sides.push_back(d.dump());
    fmt::print("  {:<{}}  {:<7}  {:>18}  {:>12}\n", printable(t.text("name")), width, t.text("dtype"),
               join(sides, " x "), number(t, "bytes"));
  }
}

void print_texts(const Json& texts) {
  for (const auto& [key, text] : *texts.as_object())
    fmt::print("  {}: {}\n", printable(key), text.as_string() ? printable(*text.as_string()) : text.dump());
}

void print_component(const std::string& name, const Json& c, bool tensors) {
  const bool weights = number(*c.find("totals"), "tensors") > 0;
  fmt::print("{}{}{}\n", name, name.empty() ? "" : ": ", printable(c.text("class", "unknown class")));
  if (weights) fmt::print("  {}\n", totals(*c.find("totals")));
  std::string line;
  for (const auto& [key, value] : *c.find("config")->as_object())
    line += fmt::format("{}{}={}", line.empty() ? "" : ", ", key, value.dump());
  if (!line.empty()) fmt::print("  {}\n", printable(line));
  for (const auto& f : *c.find("files")->as_array())
    fmt::print("  {}  {}\n", printable(f.text("name")), human_bytes(static_cast<double>(number(f, "bytes"))));
  if (tensors) print_tensors(c);
}

void print(const std::string& path, const Json& what, bool tensors) {
  const std::string kind = what.text("kind");
  if (kind == "picture") {
    fmt::print("{}: {} x {} pixels\n", path, number(what, "width"), number(what, "height"));
    print_texts(*what.find("texts"));
  } else if (kind == "pipeline") {
    fmt::print("{}: {}{}, {}\n", path, printable(what.text("class")),
               *what.find("supported")->as_bool() ? "" : " (not supported yet)",
               human_bytes(static_cast<double>(number(what, "bytes"))));
    for (const auto& c : *what.find("components")->as_array()) print_component(printable(c.text("name")), c, tensors);
  } else if (kind == "component") {
    fmt::print("{}\n", path);
    print_component("", what, tensors);
  } else {
    fmt::print("{}: {}\n", path, totals(*what.find("totals")));
    if (kind == "lora") {
      const auto list = [&](const char* key) {
        std::vector<std::string> words;
        for (const auto& v : *what.find(key)->as_array())
          words.push_back(v.as_string() ? printable(*v.as_string()) : v.dump());
        return join(words, ", ");
      };
      fmt::print("  LoRA in {} names: {} modules of {}, rank {}\n", what.text("naming"), number(what, "modules"),
                 list("targets"), list("ranks"));
    }
    print_texts(*what.find("metadata"));
    print_tensors(what);
  }
}

}  // namespace

Result<int> inspect(const Arguments& args) {
  Flags flags("cairn inspect FILE|MODEL [--tensors] [--json FILE]",
              "Shows how a picture was made (PNG), or what a model holds: a pipeline folder, a component folder, a "
              ".safetensors file, a LoRA.");
  std::vector<std::string> paths;
  InspectOptions o;
  flags.positionals("file or folder", 1, paths);
  flags.add("Output", o);
  if (!TRY(flags.parse(args))) return 0;
  if (paths.empty())
    return invalid("inspect needs a picture, a .safetensors file or a model folder: cairn inspect weights/cairn-emoji");
  const Json what = TRY(inspect_path(paths[0]));
  print(paths[0], what, o.tensors);
  if (!o.json.empty()) TRY_VOID(write_file(o.json, what.dump(2) + "\n"));
  return 0;
}

}  // namespace cairn::app
