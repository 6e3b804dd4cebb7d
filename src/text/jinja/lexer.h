// Cuts a template into text and the tokens inside its tags, with the whitespace rules of trim_blocks and lstrip_blocks.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/run.h"

namespace cairn::text::jinja {

struct Token {
  enum class Kind {
    kData,
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd
  };
  Kind kind;
  std::string text;  // of a string, what it stands for
  Where where;

  bool is(Kind k, std::string_view t) const { return kind == k && text == t; }
  bool name(std::string_view t) const { return is(Kind::kName, t); }
  bool op(std::string_view t) const { return is(Kind::kOperator, t); }
  std::string described() const;
};

// The source is valid UTF-8. Throws Failure, with line and column, on what is no token.
std::vector<Token> tokenize(std::string_view source, std::string_view name);

}  // namespace cairn::text::jinja
