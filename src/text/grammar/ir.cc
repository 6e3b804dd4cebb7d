#include "text/grammar/ir.h"

namespace cairn::text::grammar {

NodeId Ir::add(Node n) {
  if (nodes_.size() >= kMostNodes || lists_.size() >= 4 * kMostNodes || bytes_.size() >= 64 * kMostNodes) {
    overfull_ = true;
    return 0;
  }
  nodes_.push_back(n);
  return static_cast<NodeId>(nodes_.size() - 1);
}

NodeId Ir::never() { return add({}); }

NodeId Ir::literal(std::string_view bytes) {
  const auto at = static_cast<uint32_t>(bytes_.size());
  bytes_ += bytes;
  return add({Kind::kLiteral, at, static_cast<uint32_t>(bytes.size())});
}

NodeId Ir::chars(CharSet set) {
  if (set.empty()) return never();
  sets_.push_back(std::move(set));
  return add({Kind::kChars, static_cast<uint32_t>(sets_.size() - 1)});
}

NodeId Ir::sequence(std::span<const NodeId> parts) {
  if (parts.size() == 1) return parts[0];
  const auto at = static_cast<uint32_t>(lists_.size());
  lists_.insert(lists_.end(), parts.begin(), parts.end());
  return add({Kind::kSequence, at, static_cast<uint32_t>(parts.size())});
}

NodeId Ir::choice(std::span<const NodeId> options) {
  if (options.empty()) return never();
  if (options.size() == 1) return options[0];
  const auto at = static_cast<uint32_t>(lists_.size());
  lists_.insert(lists_.end(), options.begin(), options.end());
  return add({Kind::kChoice, at, static_cast<uint32_t>(options.size())});
}

NodeId Ir::repeat(NodeId body, uint32_t min, uint32_t max) {
  if (min == 1 && max == 1) return body;
  if (max == 0) return empty();
  return add({Kind::kRepeat, min, max, body});
}

NodeId Ir::call(RuleId rule) { return add({Kind::kCall, rule}); }
NodeId Ir::both(NodeId x, NodeId y) { return add({Kind::kBoth, y, 0, x}); }

RuleId Ir::declare(std::string name) {
  if (rules_.size() >= kMostNodes) {
    overfull_ = true;
    return 0;
  }
  rules_.push_back({std::move(name), 0});
  return static_cast<RuleId>(rules_.size() - 1);
}

}  // namespace cairn::text::grammar
