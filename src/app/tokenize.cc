// cairn tokenize: lines of text to lines of token ids, and back.
#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "app/commands.h"
#include "app/flags.h"
#include "app/options.h"
#include "base/file.h"
#include "text/tokenizer.h"

namespace cairn::app {
namespace {

struct TokenizeOptions {
  std::string model;
  bool decode = false, special = false;

  void fields(auto& f) {
    f("model", model, "model folder or tokenizer.json; the embedded cairn-tiny-lm without", alias({"model_path"}));
    f("decode", decode, "ids to text");
    f("special", special, "add the tokens that begin and end a text; with --decode, show special tokens");
  }
};

// Lines of standard input, without their ends.
class Lines {
 public:
  Lines() = default;
  ~Lines() { std::free(buffer_); }
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;

  bool next(std::string_view& line) {
    const auto n = ::getline(&buffer_, &size_, stdin);
    if (n < 0) return false;
    line = {buffer_, static_cast<size_t>(n)};
    if (line.ends_with('\n')) line.remove_suffix(1);
    return true;
  }

 private:
  char* buffer_ = nullptr;
  size_t size_ = 0;
};

// A JSON string, so that a text may hold line breaks; anything else is the text itself.
Result<std::string> text_of(std::string_view line) {
  if (line.size() >= 2 && line.starts_with('"') && line.ends_with('"'))
    if (const auto j = Json::parse(line); j && j->as_string()) return *j->as_string();
  return std::string(line);
}

Result<std::vector<int64_t>> ids_of(std::string_view line) {
  const Json j = TRY(Json::parse(line));
  if (!j.as_array()) return invalid(std::string("expected a JSON list of token ids, got ") + j.kind());
  std::vector<int64_t> ids;
  for (const Json& v : *j.as_array()) {
    if (!v.as_int()) return invalid(std::string("a token id is an integer, not ") + v.kind());
    ids.push_back(*v.as_int());
  }
  return ids;
}

Result<std::string> converted(const text::Tokenizer& t, const TokenizeOptions& o, std::string_view line) {
  if (o.decode) return Json(TRY(t.decode(TRY(ids_of(line)), !o.special))).dump();
  const auto encoding = TRY(t.encode(TRY(text_of(line)), {.add_special = o.special}));
  Json::Array ids;
  for (const int64_t id : encoding.ids) ids.emplace_back(id);
  return Json(std::move(ids)).dump();
}

Result<text::Tokenizer> load(const std::string& model) {
  if (model.ends_with(".json")) return text::Tokenizer::from_json(TRY(read_file(model)));
  return text::Tokenizer::load(model.empty() ? TRY(embedded_model("cairn-tiny-lm")) : model);
}

}  // namespace

Result<int> tokenize(const Arguments& args) {
  Flags flags("cairn tokenize [FLAGS] < LINES",
              "Reads lines of text, or JSON strings, and writes a JSON list of token ids for each; with --decode the "
              "other way.");
  TokenizeOptions o;
  flags.add("Tokens", o);
  if (!TRY(flags.parse(args))) return 0;
  const auto tokenizer = TRY(load(o.model));
  Lines lines;
  std::string_view line;
  for (int64_t number = 1; lines.next(line); ++number) {
    auto out = converted(tokenizer, o, line);
    if (!out) return failure(out.error().code, fmt::format("line {}: {}", number, out.error().what));
    fmt::print("{}\n", *out);
  }
  return 0;
}

}  // namespace cairn::app
