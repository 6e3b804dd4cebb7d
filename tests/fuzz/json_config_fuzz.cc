// Any bytes as JSON and as YAML, and what parses as a configuration: an error with words, or a value that survives
// being written and read again.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fields.h"
#include "base/json.h"
#include "base/yaml.h"

namespace {

struct Stack {
  std::string name;
  std::vector<int64_t> steps;
  void fields(auto& f) {
    f("name", name, "which blocks", cairn::required())("steps", steps, "step numbers", cairn::at_least(0));
  }
};

// One member of every kind that a configuration has; the seeds are files that use some of its names.
struct Config {
  int64_t num_layers = 1;
  double threshold = 0.08;
  bool guidance_embeds = false;
  std::optional<double> scale;
  std::optional<std::vector<std::string>> names;
  std::vector<Stack> stacks;
  cairn::Json other;
  void fields(auto& f) {
    f("num_layers", num_layers, "blocks", cairn::between(1, 1000))("threshold", threshold, "", cairn::at_least(0));
    f("guidance_embeds", guidance_embeds, "", cairn::alias({"guidance"}))("scale", scale)("names", names);
    f("stacks", stacks)("other", other);
  }
};

void read_config(const cairn::Json& json) {
  auto config = cairn::read<Config>(json);
  if (!config) {
    cairn::check(!config.error().what.empty(), "an error without words");
    return;
  }
  cairn::check(config->num_layers >= 1 && config->num_layers <= 1000, "a bound that does not hold");
  const cairn::Json once = cairn::write(*config);
  const auto again = cairn::read<Config>(once);
  cairn::check(again && cairn::write(*again) == once, "a configuration that does not survive being written");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto json = cairn::Json::parse(text)) {
    const auto again = cairn::Json::parse(json->dump());
    cairn::check(again && *again == *json, "JSON that does not survive being written");
    read_config(*json);
  }
  if (const auto yaml = cairn::parse_yaml(text)) {
    yaml->dump(2);
    read_config(*yaml);
  }
  return 0;
}
