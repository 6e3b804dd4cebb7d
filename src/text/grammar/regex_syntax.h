// Regular expressions -> expressions of a grammar.
#pragma once
#include <string_view>

#include "base/result.h"
#include "text/grammar/ir.h"

namespace cairn::text::grammar {

// How the characters that an expression matches are written into the text.
enum class Spelling {
  kPlain,
  kJsonString,  // escaped where a JSON string needs it, and only there
};

enum class Anchors {
  kImplied,  // the whole text must match: ^ and $ at the ends say nothing new
  kRefused,  // the text around a match is not known
};

// The language common to ECMAScript, Python and PCRE: alternatives, groups, classes, counted repetition, escapes,
// \p{…}. Laziness changes no language and is accepted. ^ and $ may stand at the ends only.
// Refused by name: look-around, back references, \b, possessive quantifiers, flags. Errors give the place.
Result<NodeId> read_regex(std::string_view expression, Ir& ir, Anchors anchors = Anchors::kImplied);
// Texts that contain a match, as the JSON schema keyword `pattern` means it, without the quotes around them.
Result<NodeId> read_pattern(std::string_view expression, Spelling spelling, Ir& ir);

// Any character of the set, written as in `spelling`.
NodeId spelled(const CharSet& set, Spelling spelling, Ir& ir);

}  // namespace cairn::text::grammar
