// Grammars between their syntax (JSON schema, regular expression, EBNF) and the automaton: expressions and rules.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/grammar/char_set.h"

namespace cairn::text::grammar {

using NodeId = uint32_t;
using RuleId = uint32_t;
constexpr uint32_t kNoLimit = UINT32_MAX;
constexpr uint32_t kMostRepeats = 1 << 20;
constexpr size_t kMostNodes = 1 << 18;

// Expressions live in one arena and may be shared. Building past kMostNodes is remembered, and compile() refuses it.
class Ir {
 public:
  enum class Kind : uint8_t { kNever, kLiteral, kChars, kSequence, kChoice, kRepeat, kCall, kBoth };
  struct Node {
    Kind kind = Kind::kNever;
    uint32_t a = 0, b = 0;  // literal and set: index; sequence, choice: range of children; repeat: min, max; call: rule
    NodeId child = 0;       // of a repeat; both: first operand (the second is a)
  };
  struct Rule {
    std::string name;
    NodeId body = 0;
  };

  NodeId never();
  NodeId empty() { return literal(""); }
  NodeId literal(std::string_view bytes);
  NodeId chars(CharSet set);
  NodeId sequence(std::span<const NodeId> parts);
  NodeId sequence(std::initializer_list<NodeId> parts) { return sequence(std::span(parts.begin(), parts.size())); }
  NodeId choice(std::span<const NodeId> options);
  NodeId choice(std::initializer_list<NodeId> options) { return choice(std::span(options.begin(), options.size())); }
  NodeId repeat(NodeId body, uint32_t min, uint32_t max);  // max kNoLimit: any number of times
  NodeId optional(NodeId body) { return repeat(body, 0, 1); }
  NodeId call(RuleId rule);
  // Texts that both accept. Neither may be recursive, except at the end of a rule.
  NodeId both(NodeId x, NodeId y);

  RuleId declare(std::string name);
  void define(RuleId rule, NodeId body) { rules_[rule].body = body; }

  size_t size() const { return nodes_.size(); }
  const Node& node(NodeId id) const { return nodes_[id]; }
  std::span<const NodeId> children(const Node& n) const { return std::span(lists_).subspan(n.a, n.b); }
  std::string_view literal_of(const Node& n) const { return std::string_view(bytes_).substr(n.a, n.b); }
  const CharSet& set_of(const Node& n) const { return sets_[n.a]; }
  const std::vector<Rule>& rules() const { return rules_; }
  bool overfull() const { return overfull_; }

 private:
  NodeId add(Node n);
  std::vector<Node> nodes_;
  std::vector<NodeId> lists_;
  std::string bytes_;
  std::vector<CharSet> sets_;
  std::vector<Rule> rules_;
  bool overfull_ = false;
};

}  // namespace cairn::text::grammar
