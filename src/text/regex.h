// What a tokenizer.json searches for: a plain string, or a regular expression.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace cairn::text {

struct Match {
  size_t begin, end;
};

// Compiled once, shared by all threads. Regular expressions are written for Oniguruma (Ruby syntax) and run on PCRE2,
// so the constructs whose meaning differs are translated: \s, \w, \h, {,n}, \uXXXX. Nested classes are refused.
class Pattern {
 public:
  static Pattern literal(std::string text);
  static Result<Pattern> regex(std::string_view expression);
  // {"String": s} or {"Regex": s}; a bare string is a literal.
  static Result<Pattern> from_json(const Json& j);

  // Appends all matches of the valid UTF-8 text, in order, never overlapping. Patterns that backtrack without end are
  // an error.
  Result<void> find_all(std::string_view text, std::vector<Match>& out) const;

 private:
  struct Code;
  std::string literal_;
  std::shared_ptr<const Code> code_;
};

}  // namespace cairn::text
