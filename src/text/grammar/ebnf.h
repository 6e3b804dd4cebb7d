// Grammars in EBNF -> expressions of a grammar.
#pragma once
#include <string_view>

#include "base/result.h"
#include "text/grammar/ir.h"

namespace cairn::text::grammar {

// The notation of GBNF and XGrammar: `name ::= expression`, with "literals", [classes], ( ), |, * + ? {m,n}, `.` for
// any character and # comments. The rule `root` is where a text begins. Errors give line and column.
Result<RuleId> read_ebnf(std::string_view text, Ir& ir);

}  // namespace cairn::text::grammar
