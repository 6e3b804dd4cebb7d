// Command lines from fields(): a struct names its options once, and gets flags, checks and --help from that.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fields.h"

namespace cairn::app {

// A command's flags. `--Fn-compute-blocks 4`, `--Fn_compute_blocks=4` and aliases all mean the field Fn_compute_blocks.
// Booleans take no value; lists are separated by commas; everything else that starts with -- is an unknown flag.
class Flags {
 public:
  Flags(std::string usage, std::string about);
  ~Flags();

  // A heading of --help, with the fields of `options` under it. `options` must outlive parse().
  template <detail::Struct T>
  void add(const std::string& heading, T& options) {
    FieldLister lister;
    options.fields(lister);
    for (auto& field : lister.out) declare(heading, std::move(field));
    stores_.push_back([this, &options](const Json& given) { return store(options, given); });
  }
  // What stands without a flag: its name for messages, and how many there may be.
  void positionals(std::string name, size_t most, std::vector<std::string>& into);

  // Fills the structs. False: --help was asked for and printed. Errors name the flag and offer the nearest known one.
  Result<bool> parse(const std::vector<std::string>& args);
  bool given(const std::string& field) const;

 private:
  struct Parser;
  void declare(const std::string& heading, FieldInfo field);
  template <class T>
  Result<void> store(T& options, const Json& given) {
    FieldReader reader(given, "", Unknown::kIgnore);
    options.fields(reader);
    return reader.finish();
  }

  std::unique_ptr<Parser> parser_;
  std::vector<std::function<Result<void>(const Json&)>> stores_;
};

}  // namespace cairn::app
