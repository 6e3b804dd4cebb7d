// The pieces that JSON texts are made of, as expressions of a grammar.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "text/grammar/ir.h"

namespace cairn::text::grammar {

struct Bound {
  Json value;  // a number
  bool exclusive = false;
};
struct NumberRange {
  std::optional<Bound> low, high;
  int64_t multiple_of = 1;
};

// Builds each piece that many places share once, as a rule.
class JsonParts {
 public:
  explicit JsonParts(Ir& ir) : ir_(ir) {}

  // Blanks between tokens: none, one space, or a line break and up to 40 blanks. Endless blanks are what a model that
  // is lost tends to write.
  NodeId blanks();
  NodeId any_value();
  NodeId any_string();
  // A string of min to max characters (code points).
  NodeId string(uint32_t min, uint32_t max);
  // Its content matches all patterns as well. max kNoLimit: of any length.
  Result<NodeId> string(std::span<const std::string> patterns, uint32_t min, uint32_t max);
  // Any key but those, written without escapes.
  NodeId other_key(const std::vector<std::string>& names);
  // A key that matches the pattern, and is none of those.
  Result<NodeId> matching_key(std::string_view pattern, const std::vector<std::string>& names);
  // "open a, b, c close", `item` min to max times.
  NodeId list(char open, NodeId item, char close, uint32_t min, uint32_t max);

  // Integers have up to 18 digits, so that 64 bits hold them.
  NodeId integer(const NumberRange& range);
  // With a bound: decimals of up to 15 digits, so that doubles keep their order.
  NodeId number(const NumberRange& range);

 private:
  RuleId rule(const char* name, std::optional<RuleId>& slot, bool& is_new);
  NodeId digits(uint32_t count);
  NodeId same_length(std::string_view low, std::string_view high, size_t decimals);
  NodeId fixed(int64_t low, int64_t high, size_t decimals);
  NodeId signed_fixed(int64_t low, int64_t high, size_t decimals);
  NodeId multiples(int64_t of);

  Ir& ir_;
  std::optional<RuleId> blanks_, any_value_, any_string_;
};

// The regular expression that stands for a `format`, or nothing when it is not known. It may be narrower than the
// format.
std::optional<std::string_view> format_pattern(std::string_view format);
const std::vector<std::string>& known_formats();

}  // namespace cairn::text::grammar
