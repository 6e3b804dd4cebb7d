// JSON schemas -> expressions of a grammar.
#pragma once
#include <string_view>

#include "base/result.h"
#include "text/grammar/ir.h"

namespace cairn::text::grammar {

// Every text of the grammar is valid under the schema; not every valid text is in the grammar, see json_schema.cc.
// Errors name the keyword and its path.
Result<RuleId> read_json_schema(std::string_view schema, Ir& ir);

}  // namespace cairn::text::grammar
