#include "text/grammar/json_parts.h"

#include <algorithm>

#include "text/grammar/regex_syntax.h"
#include "text/unicode.h"

namespace cairn::text::grammar {
namespace {

constexpr uint32_t kDeepestIndent = 40;

// Any character of a JSON string, in any spelling that is one whole character.
NodeId string_char(Ir& ir) {
  CharSet special(0, 0x1f);
  special.add(CharSet::of("\"\\"));
  CharSet hex('0', '9');
  hex.add('a', 'f'), hex.add('A', 'F');
  const NodeId digit = ir.chars(hex);
  return ir.choice({ir.chars(special.negated()), ir.sequence({ir.literal("\\"), ir.chars(CharSet::of("\"\\/bfnrt"))}),
                    ir.sequence({ir.literal("\\u"), ir.chars(hex.minus(CharSet::of("dD"))), digit, digit, digit}),
                    ir.sequence({ir.literal("\\u"), ir.chars(CharSet::of("dD")), ir.chars({'0', '7'}), digit, digit})});
}

CharSet plain_set() {
  CharSet special(0, 0x1f);
  special.add(CharSet::of("\"\\"));
  return special.negated();
}

// The texts of plain characters, up to the end of the string, that are none of names[first, last), which share `depth`
// bytes and are sorted.
NodeId unlike(std::span<const std::string> names, size_t depth, NodeId anything, Ir& ir) {
  CharSet others = plain_set();
  std::vector<NodeId> options;
  size_t at = 0;
  if (names[0].size() == depth) {
    for (; at < names.size() && names[at].size() == depth;) ++at;
  } else {
    options.push_back(ir.empty());
  }
  while (at < names.size()) {
    const CodePoint c = code_point_at(names[at], depth);
    size_t end = at;
    while (end < names.size() && names[end].compare(depth, c.size, names[at], depth, c.size) == 0) ++end;
    others = others.minus({c.value, c.value});
    options.push_back(ir.sequence({ir.literal(names[at].substr(depth, c.size)),
                                   unlike(names.subspan(at, end - at), depth + c.size, anything, ir)}));
    at = end;
  }
  options.push_back(ir.sequence({ir.chars(others), anything}));
  return ir.choice(options);
}

}  // namespace

RuleId JsonParts::rule(const char* name, std::optional<RuleId>& slot, bool& is_new) {
  is_new = !slot;
  if (is_new) slot = ir_.declare(name);
  return *slot;
}

NodeId JsonParts::blanks() {
  bool is_new = false;
  const RuleId r = rule("blanks", blanks_, is_new);
  if (is_new)
    ir_.define(
        r,
        ir_.choice({ir_.empty(), ir_.literal(" "),
                    ir_.sequence({ir_.literal("\n"), ir_.repeat(ir_.chars(CharSet::of(" \t")), 0, kDeepestIndent)})}));
  return ir_.call(r);
}

NodeId JsonParts::any_string() {
  bool is_new = false;
  const RuleId r = rule("string", any_string_, is_new);
  if (is_new) ir_.define(r, string(0, kNoLimit));
  return ir_.call(r);
}

NodeId JsonParts::string(uint32_t min, uint32_t max) {
  return ir_.sequence({ir_.literal("\""), ir_.repeat(string_char(ir_), min, max), ir_.literal("\"")});
}

Result<NodeId> JsonParts::string(std::span<const std::string> patterns, uint32_t min, uint32_t max) {
  std::optional<NodeId> all;
  for (const std::string& p : patterns) {
    const NodeId one = TRY(read_pattern(p, Spelling::kJsonString, ir_));
    all = all ? ir_.both(*all, one) : one;
  }
  if (min > 0 || max != kNoLimit) {
    const NodeId sized = ir_.repeat(spelled(CharSet::any(), Spelling::kJsonString, ir_), min, max);
    all = all ? ir_.both(*all, sized) : sized;
  }
  check(all.has_value(), "a string with a constraint");
  return ir_.sequence({ir_.literal("\""), *all, ir_.literal("\"")});
}

NodeId JsonParts::other_key(const std::vector<std::string>& names) {
  const NodeId anything = ir_.repeat(ir_.chars(plain_set()), 0, kNoLimit);
  std::vector<std::string> sorted;
  for (const std::string& name : names)  // others need an escape, and so are none of these keys
    if (std::ranges::all_of(name, [](char c) { return static_cast<uint8_t>(c) >= 0x20 && c != '"' && c != '\\'; }))
      sorted.push_back(name);
  std::ranges::sort(sorted);
  const NodeId body = sorted.empty() ? anything : unlike(sorted, 0, anything, ir_);
  return ir_.sequence({ir_.literal("\""), body, ir_.literal("\"")});
}

Result<NodeId> JsonParts::matching_key(std::string_view pattern, const std::vector<std::string>& names) {
  const std::string patterns[] = {std::string(pattern)};
  return ir_.both(TRY(string(patterns, 0, kNoLimit)), other_key(names));
}

NodeId JsonParts::list(char open, NodeId item, char close, uint32_t min, uint32_t max) {
  const NodeId begin = ir_.sequence({ir_.literal(std::string(1, open)), blanks()});
  const NodeId end = ir_.literal(std::string(1, close));
  if (max == 0) return ir_.sequence({begin, end});
  const uint32_t more = max == kNoLimit ? kNoLimit : max - 1;
  const NodeId items = ir_.sequence(
      {item, ir_.repeat(ir_.sequence({ir_.literal(","), blanks(), item}), min == 0 ? 0 : min - 1, more), blanks()});
  return ir_.sequence({begin, min == 0 ? ir_.optional(items) : items, end});
}

NodeId JsonParts::any_value() {
  bool is_new = false;
  const RuleId r = rule("value", any_value_, is_new);
  if (is_new) {
    const NodeId value = ir_.call(r);
    const NodeId pair = ir_.sequence({any_string(), ir_.literal(":"), blanks(), value});
    ir_.define(r, ir_.choice({ir_.literal("null"), ir_.literal("true"), ir_.literal("false"), number({}), any_string(),
                              list('[', value, ']', 0, kNoLimit), list('{', pair, '}', 0, kNoLimit)}));
  }
  return ir_.call(r);
}

}  // namespace cairn::text::grammar
