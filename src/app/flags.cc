#include "app/flags.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "base/strings.h"
#include "base/yaml.h"

namespace cairn::app {
namespace {

std::string dashed(std::string name) {
  std::ranges::replace(name, '_', '-');
  return name;
}

// `--a_b=c_d` -> `--a-b=c_d`: only the flag's own name.
std::string normal(std::string arg) {
  if (!arg.starts_with("--")) return arg;
  const auto end = std::min(arg.find('='), arg.size());
  std::replace(arg.begin(), arg.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
  return arg;
}

// The text of a flag as the kind of value its field wants. What does not look like a number stays text, and the field
// says what it expected.
Json value_of(const FieldInfo& field, const std::string& text) {
  if (field.type == "string") return Json(text);
  if (field.type.starts_with("list of ")) {
    Json::Array items;
    FieldInfo item = field;
    item.type = field.type.substr(8);
    for (const auto& part : split(text, ',')) items.push_back(value_of(item, std::string(trim(part))));
    return Json(std::move(items));
  }
  const std::string low = lower_ascii(text);
  for (const char* word : {"nan", "inf", "infinity"})
    if (low == word || low == std::string("-") + word || low == std::string("+") + word)
      return Json(low.ends_with("nan") ? std::nan("") : HUGE_VAL);
  const auto number = parse_yaml(text);
  return number && number->is_number() ? *number : Json(text);
}

// "num_images: must be …" -> "--num-images: must be …".
Error of_flag(Error e) {
  const auto end = std::min(e.what.find_first_of(":["), e.what.size());
  e.what = "--" + dashed(e.what.substr(0, end)) + e.what.substr(end);
  return e;
}

}  // namespace

struct Flags::Parser {
  CLI::App app;
  std::map<std::string, FieldInfo> fields;
  std::map<std::string, std::string> texts;
  std::map<std::string, bool> switches;
  std::vector<std::string> known;
  std::string positional_name = "argument";
  size_t positional_most = 0;
  std::vector<std::string>* positional = nullptr;
  Json given{Json::Object{}};
};

Flags::Flags(std::string usage, std::string about) : parser_(std::make_unique<Parser>()) {
  parser_->app.description(about + "\n\nUsage: " + usage);
  parser_->app.name("");
  parser_->app.allow_extras();
  parser_->app.set_help_flag("-h,--help", "this text");
  parser_->known.push_back("--help");
}

Flags::~Flags() = default;

void Flags::declare(const std::string& heading, FieldInfo field) {
  std::vector<std::string> names{"--" + dashed(field.name)};
  for (const auto& alias : field.rule.names) names.push_back((alias.size() == 1 ? "-" : "--") + dashed(alias));
  for (const auto& n : names) parser_->known.push_back(n);
  std::string help = field.help;
  if (!field.rule.choices.empty()) help += " {" + join(field.rule.choices, ", ") + "}";
  const bool is_switch = field.type == "bool";
  if (!is_switch && field.fallback != "null" && field.fallback != "\"\"" && field.fallback != "[]")
    help += fmt::format(" (default {})", field.fallback);
  CLI::Option* option = is_switch ? parser_->app.add_flag(join(names, ","), parser_->switches[field.name], help)
                                  : parser_->app.add_option(join(names, ","), parser_->texts[field.name], help);
  option->group(heading);
  const bool is_list = field.type.starts_with("list of ");
  if (is_list)
    option->join(',');  // a list given twice is one list
  else
    option->take_last();  // of a flag given twice the later one counts
  if (!is_switch) option->type_name(is_list ? "A,B,…" : field.type);
  const std::string name = field.name;
  parser_->fields.emplace(name, std::move(field));
}

void Flags::positionals(std::string name, size_t most, std::vector<std::string>& into) {
  parser_->positional_name = std::move(name);
  parser_->positional_most = most;
  parser_->positional = &into;
}

bool Flags::given(const std::string& field) const { return parser_->given.find(field) != nullptr; }

Result<bool> Flags::parse(const std::vector<std::string>& args) {
  Parser& p = *parser_;
  std::vector<std::string> reversed;  // as CLI11 wants them
  for (const auto& a : args) reversed.insert(reversed.begin(), normal(a));
  try {
    p.app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", p.app.help());
    return false;
  } catch (const CLI::ParseError& e) { return invalid(e.what()); }
  bool only_words = false;
  for (const auto& word : p.app.remaining()) {
    if (word == "--" && !only_words) {
      only_words = true;
      continue;
    }
    if (!only_words && word.size() > 1 && word[0] == '-')
      return invalid(fmt::format("unknown flag {}{}", word.substr(0, word.find('=')),
                                 did_you_mean(word.substr(0, word.find('=')), p.known)));
    if (!p.positional || p.positional->size() == p.positional_most)
      return invalid(fmt::format("unexpected {} \"{}\"{}", p.positional_name, word,
                                 p.positional_most == 1 ? ": a text of several words needs quotes" : ""));
    p.positional->push_back(word);
  }
  for (const auto& [name, field] : p.fields) {
    const CLI::Option* option = p.app.get_option("--" + dashed(name));
    if (option->count() == 0) continue;
    p.given.set(name, field.type == "bool" ? Json(p.switches[name]) : value_of(field, p.texts[name]));
  }
  for (const auto& store : stores_)
    if (auto ok = store(p.given); !ok) return tl::unexpected(of_flag(std::move(ok).error()));
  return true;
}

}  // namespace cairn::app
