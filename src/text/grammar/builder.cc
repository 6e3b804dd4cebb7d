#include "text/grammar/builder.h"

#include <algorithm>
#include <tuple>

namespace cairn::text::grammar {
namespace {

constexpr size_t kWrittenOut = 64;  // states up to which a counted repetition is written out
constexpr size_t kMostEmitted = 1 << 21;
constexpr int kDeepest = 2000;  // nesting of expressions, and of rules that are written out

}  // namespace

std::vector<bool> nullable_nodes(const Ir& ir) {
  const size_t count = ir.size();
  std::vector<std::vector<NodeId>> users(count), callers(ir.rules().size());
  std::vector<std::vector<RuleId>> bodies(count);
  std::vector<uint32_t> missing(count, 1);  // operands that must become nullable before the node does
  std::vector<NodeId> found;
  std::vector<bool> out(count);
  const auto settle = [&](NodeId id) {
    if (out[id] || --missing[id] > 0) return;
    out[id] = true;
    found.push_back(id);
  };
  for (size_t r = 0; r < ir.rules().size(); ++r) bodies[ir.rules()[r].body].push_back(static_cast<RuleId>(r));
  for (NodeId id = 0; id < count; ++id) {
    const Ir::Node& n = ir.node(id);
    const bool list = n.kind == Ir::Kind::kSequence || n.kind == Ir::Kind::kChoice;
    if (list)
      for (const NodeId c : ir.children(n)) users[c].push_back(id);
    if (n.kind == Ir::Kind::kSequence) missing[id] = n.b;
    if (n.kind == Ir::Kind::kRepeat || n.kind == Ir::Kind::kBoth) users[n.child].push_back(id);
    if (n.kind == Ir::Kind::kBoth) users[n.a].push_back(id), missing[id] = 2;
    if (n.kind == Ir::Kind::kCall) callers[n.a].push_back(id);
    const bool by_itself = (n.kind == Ir::Kind::kLiteral && n.b == 0) || (n.kind == Ir::Kind::kRepeat && n.a == 0) ||
                           (n.kind == Ir::Kind::kSequence && n.b == 0);
    if (by_itself) missing[id] = 1, settle(id);
  }
  while (!found.empty()) {
    const NodeId id = found.back();
    found.pop_back();
    for (const NodeId user : users[id]) settle(user);
    for (const RuleId r : bodies[id])
      for (const NodeId caller : callers[r]) settle(caller);
  }
  return out;
}

size_t Builder::weight(NodeId id) const {
  const Ir::Node& n = ir_.node(id);
  size_t sum = 1;
  switch (n.kind) {
    case Ir::Kind::kLiteral:
      return n.b;
    case Ir::Kind::kChars:
      return ir_.set_of(n).ranges().size();
    case Ir::Kind::kSequence:
    case Ir::Kind::kChoice:
      for (const NodeId c : ir_.children(n))
        if (sum <= kWrittenOut) sum += weight(c);
      return sum;
    case Ir::Kind::kRepeat:
      return sum + weight(n.child) * std::min<size_t>(n.b == kNoLimit ? n.a + 1 : n.b, 64);
    case Ir::Kind::kBoth:
      return kWrittenOut;
    default:
      return sum;
  }
}

StateId Builder::rule(RuleId r) {
  const auto [it, is_new] = start_of_.try_emplace(r, 0);
  if (is_new) {
    it->second = draft.add();
    starts_.emplace_back(r, it->second);
  }
  return it->second;
}

void Builder::finish() {
  for (; built_ < starts_.size(); ++built_) {
    const auto [r, start] = starts_[built_];
    const StateId end = draft.add();
    draft.states[end].final = true;
    emit(ir_.rules()[r].body, start, end);
  }
}

void Builder::chars(const CharSet& set, StateId from, StateId to) {
  std::vector<ByteSequence> sequences;
  for (const CharSet::Range& r : set.ranges()) append_utf8_sequences(r, sequences);
  emitted_ += sequences.size();
  std::map<std::tuple<StateId, uint8_t, uint8_t>, StateId> before;  // states that read a byte on their way to another
  for (const ByteSequence& s : sequences) {
    StateId next = to;
    for (uint32_t i = s.size; --i > 0;) {
      const auto [it, is_new] = before.try_emplace({next, s.at[i].first, s.at[i].last}, 0);
      if (is_new) {
        it->second = draft.add();
        draft.states[it->second].edges.push_back({s.at[i].first, s.at[i].last, next});
      }
      next = it->second;
    }
    draft.states[from].edges.push_back({s.at[0].first, s.at[0].last, next});
  }
}

void Builder::call(RuleId r, StateId from, StateId to) {
  if (flat_) {
    const auto [it, is_new] = flat_calls_.try_emplace({r, to}, 0);
    if (is_new) {
      const StateId start = it->second = draft.add();
      draft.states[from].epsilons.push_back(start);
      emit(ir_.rules()[r].body, start, to);
    } else {
      draft.states[from].epsilons.push_back(it->second);
    }
    return;
  }
  const StateId start = rule(r);
  // At the end of a rule its caller may go on where this one ends: lists written as `list ::= item list` stay flat.
  if (draft.states[to].final) {
    draft.states[from].epsilons.push_back(start);
  } else {
    draft.states[from].calls.push_back({start, to});
  }
}

void Builder::repeat(const Ir::Node& n, StateId from, StateId to) {
  const NodeId body = n.child;
  const bool unbounded = n.b == kNoLimit, may_be_empty = nullable_[body];
  const uint32_t min = may_be_empty ? 0 : n.a;
  const size_t copies = unbounded ? min : n.b;
  if (flat_ || copies <= 1 || copies * weight(body) <= kWrittenOut) {
    StateId at = from;
    for (size_t i = 0; i < copies; ++i) {
      if (i >= min) draft.states[at].epsilons.push_back(to);
      const StateId next = draft.add();
      emit(body, at, next);
      at = next;
    }
    if (unbounded) {
      const StateId loop = draft.add();
      draft.states[at].epsilons.push_back(loop);
      emit(body, loop, loop);
      at = loop;
    }
    draft.states[at].epsilons.push_back(to);
    return;
  }
  if (may_be_empty)
    throw Failure({Code::kUnsupported, "a repetition of up to " + std::to_string(copies) +
                                           " times holds something that may be empty; write it so that it never is"});
  const StateId head = draft.add(), start = draft.add(), end = draft.add();
  draft.states[end].final = true;
  draft.states[head].repeat = static_cast<uint32_t>(draft.repeats.size());
  draft.repeats.push_back({min, n.b, start, to});
  draft.states[from].epsilons.push_back(head);
  emit(body, start, end);
}

void Builder::emit(NodeId id, StateId from, StateId to) {
  const Ir::Node& n = ir_.node(id);
  if (++emitted_ > kMostEmitted)
    throw Failure({Code::kExhausted, "the grammar is too large: parts of it repeat too often"});
  if (++depth_ > kDeepest)
    throw Failure({Code::kUnsupported, flat_ ? "a recursive rule stands where two expressions must hold at once"
                                             : "the grammar is nested too deeply"});
  switch (n.kind) {
    case Ir::Kind::kNever:
      break;
    case Ir::Kind::kLiteral: {
      const std::string_view bytes = ir_.literal_of(n);
      StateId at = from;
      for (const char& c : bytes) {
        const StateId next = &c == &bytes.back() ? to : draft.add();
        draft.states[at].edges.push_back({static_cast<uint8_t>(c), static_cast<uint8_t>(c), next});
        at = next;
      }
      if (bytes.empty()) draft.states[from].epsilons.push_back(to);
      break;
    }
    case Ir::Kind::kChars:
      chars(ir_.set_of(n), from, to);
      break;
    case Ir::Kind::kSequence: {
      const auto parts = ir_.children(n);
      StateId at = from;
      for (size_t i = 0; i < parts.size(); ++i) {
        const StateId next = i + 1 == parts.size() ? to : draft.add();
        emit(parts[i], at, next);
        at = next;
      }
      if (parts.empty()) draft.states[from].epsilons.push_back(to);
      break;
    }
    case Ir::Kind::kChoice:
      for (const NodeId c : ir_.children(n)) emit(c, from, to);
      break;
    case Ir::Kind::kRepeat:
      repeat(n, from, to);
      break;
    case Ir::Kind::kCall:
      call(n.a, from, to);
      break;
    case Ir::Kind::kBoth: {
      const auto side = [&](NodeId operand) {
        Builder flat(ir_, nullable_, true);
        const StateId start = flat.draft.add(), end = flat.draft.add();
        flat.draft.states[end].final = true;
        flat.depth_ = depth_;
        flat.emit(operand, start, end);
        return std::move(flat.draft);
      };
      const Draft common = product(side(n.child), side(n.a));
      const auto base = static_cast<StateId>(draft.states.size());
      for (const Draft::State& s : common.states) {
        const StateId copy = draft.add();
        for (const Edge& e : s.edges) draft.states[copy].edges.push_back({e.first, e.last, base + e.to});
        if (s.final) draft.states[copy].epsilons.push_back(to);
      }
      draft.states[from].epsilons.push_back(base);
      break;
    }
  }
  --depth_;
}

}  // namespace cairn::text::grammar
