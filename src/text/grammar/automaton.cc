#include "text/grammar/automaton.h"

#include <algorithm>
#include <unordered_map>

#include "text/grammar/builder.h"

namespace cairn::text::grammar {
namespace {

constexpr size_t kMostProductEdges = 1 << 22;

// The byte edges that a state of a flat draft has after moves that read nothing.
struct Flat {
  std::vector<Edge> edges;
  bool final = false;
};

class Closures {
 public:
  explicit Closures(const Draft& draft) : draft_(draft), seen_(draft.states.size(), 0) {}
  const Flat& of(StateId s) {
    const auto [it, is_new] = done_.try_emplace(s);
    if (!is_new) return it->second;
    ++round_;
    std::vector<StateId> todo{s};
    seen_[s] = round_;
    while (!todo.empty()) {
      const Draft::State& state = draft_.states[todo.back()];
      todo.pop_back();
      it->second.final |= state.final;
      it->second.edges.insert(it->second.edges.end(), state.edges.begin(), state.edges.end());
      for (const StateId next : state.epsilons)
        if (seen_[next] != round_) seen_[next] = round_, todo.push_back(next);
    }
    return it->second;
  }

 private:
  const Draft& draft_;
  std::vector<uint32_t> seen_;
  uint32_t round_ = 0;
  std::unordered_map<StateId, Flat> done_;  // references survive growth
};

// Moves that read nothing, and whether they put something on the stack.
struct Silent {
  StateId to;
  bool push;
};
template <class Visit>
void silent_moves(const Draft& draft, const std::vector<bool>& empty_start, StateId s, Visit&& visit) {
  const Draft::State& state = draft.states[s];
  for (const StateId to : state.epsilons) visit(Silent{to, false});
  for (const Call& c : state.calls) {
    visit(Silent{c.start, true});
    if (empty_start[c.start]) visit(Silent{c.back, false});
  }
  if (state.repeat == kNoLimit) return;
  const Repeat& r = draft.repeats[state.repeat];
  visit(Silent{r.body, true});
  if (r.min == 0) visit(Silent{r.next, false});
}

// The number of each state's strongly connected component under silent moves (Tarjan, without recursion).
std::vector<uint32_t> components(const Draft& draft, const std::vector<bool>& empty_start) {
  const size_t count = draft.states.size();
  std::vector<uint32_t> index(count, 0), low(count, 0), component(count, 0);
  std::vector<bool> open(count, false);
  struct Visit {
    StateId state;
    std::vector<StateId> next;
    size_t at = 0;
  };
  std::vector<Visit> path;
  std::vector<StateId> stack;
  uint32_t counter = 0, found = 0;
  const auto enter = [&](StateId s) {
    index[s] = low[s] = ++counter;
    open[s] = true;
    stack.push_back(s);
    path.push_back({s, {}, 0});
    silent_moves(draft, empty_start, s, [&](Silent m) { path.back().next.push_back(m.to); });
  };
  for (StateId root = 0; root < count; ++root) {
    if (index[root]) continue;
    enter(root);
    while (!path.empty()) {
      Visit& v = path.back();
      const StateId s = v.state;
      if (v.at < v.next.size()) {
        const StateId to = v.next[v.at++];
        if (!index[to]) {
          enter(to);
        } else if (open[to]) {
          low[s] = std::min(low[s], index[to]);
        }
        continue;
      }
      if (low[s] == index[s]) {
        ++found;
        for (StateId member = stack.back();; member = stack.back()) {
          stack.pop_back();
          open[member] = false;
          component[member] = found;
          if (member == s) break;
        }
      }
      path.pop_back();
      if (!path.empty()) low[path.back().state] = std::min(low[path.back().state], low[s]);
    }
  }
  return component;
}

void refuse_left_recursion(const Draft& draft, const std::vector<std::pair<RuleId, StateId>>& rules, const Ir& ir,
                           const std::vector<bool>& nullable) {
  std::vector<bool> empty_start(draft.states.size());
  std::unordered_map<StateId, RuleId> rule_at;
  for (const auto& [rule, start] : rules) {
    empty_start[start] = nullable[ir.rules()[rule].body];
    rule_at[start] = rule;
  }
  const auto component = components(draft, empty_start);
  for (StateId s = 0; s < draft.states.size(); ++s)
    silent_moves(draft, empty_start, s, [&](Silent m) {
      if (!m.push || component[s] != component[m.to]) return;
      const auto rule = rule_at.find(m.to);
      const std::string name = rule == rule_at.end() ? "?" : ir.rules()[rule->second].name;
      throw Failure({Code::kUnsupported, "rule \"" + name +
                                             "\" may begin with itself (left recursion); write the repetition with * "
                                             "or put the recursive call last"});
    });
}

// Which states can reach the end of their rule.
std::vector<bool> live_states(const Draft& draft) {
  const size_t count = draft.states.size();
  std::vector<std::vector<StateId>> users(count);
  std::vector<StateId> found;
  std::vector<bool> live(count);
  for (StateId s = 0; s < count; ++s) {
    const Draft::State& state = draft.states[s];
    for (const Edge& e : state.edges) users[e.to].push_back(s);
    for (const StateId to : state.epsilons) users[to].push_back(s);
    for (const Call& c : state.calls) users[c.start].push_back(s), users[c.back].push_back(s);
    if (state.repeat != kNoLimit) {
      users[draft.repeats[state.repeat].body].push_back(s);
      users[draft.repeats[state.repeat].next].push_back(s);
    }
    if (state.final) live[s] = true, found.push_back(s);
  }
  const auto is_live = [&](StateId s) {
    const Draft::State& state = draft.states[s];
    if (state.repeat != kNoLimit) {
      const Repeat& r = draft.repeats[state.repeat];
      return live[r.next] && (r.min == 0 || live[r.body]);
    }
    return std::ranges::any_of(state.edges, [&](const Edge& e) { return live[e.to]; }) ||
           std::ranges::any_of(state.epsilons, [&](StateId to) { return live[to]; }) ||
           std::ranges::any_of(state.calls, [&](const Call& c) { return live[c.start] && live[c.back]; });
  };
  while (!found.empty()) {
    const StateId s = found.back();
    found.pop_back();
    for (const StateId user : users[s])
      if (!live[user] && is_live(user)) live[user] = true, found.push_back(user);
  }
  return live;
}

// Removes what cannot end.
void trim(Draft& draft, const std::vector<bool>& live) {
  for (StateId s = 0; s < draft.states.size(); ++s) {
    Draft::State& state = draft.states[s];
    if (state.repeat != kNoLimit && !live[draft.repeats[state.repeat].body]) {
      if (live[s]) state.epsilons.push_back(draft.repeats[state.repeat].next);
      state.repeat = kNoLimit;
    }
    if (!live[s]) {
      state = {};
      continue;
    }
    std::erase_if(state.edges, [&](const Edge& e) { return !live[e.to]; });
    std::erase_if(state.epsilons, [&](StateId to) { return !live[to]; });
    std::erase_if(state.calls, [&](const Call& c) { return !live[c.start] || !live[c.back]; });
  }
}

void number_classes(Automaton& a) {
  std::array<bool, 257> border{};
  for (const Edge& e : a.edges) border[e.first] = border[e.last + 1] = true;
  uint32_t current = 0;
  for (uint32_t b = 0; b < 256; ++b) {
    if (b > 0 && border[b]) ++current;
    a.class_of[b] = static_cast<uint8_t>(current);
  }
  a.classes = current + 1;
}

Automaton packed(const Draft& draft, StateId start) {
  Automaton a;
  a.start = start;
  a.repeats = draft.repeats;
  a.states.reserve(draft.states.size());
  const auto at = [](const auto& list) { return static_cast<uint32_t>(list.size()); };
  for (const Draft::State& s : draft.states) {
    a.states.push_back(
        {at(a.edges), at(s.edges), at(a.epsilons), at(s.epsilons), at(a.calls), at(s.calls), s.repeat, s.final});
    a.edges.insert(a.edges.end(), s.edges.begin(), s.edges.end());
    a.epsilons.insert(a.epsilons.end(), s.epsilons.begin(), s.epsilons.end());
    a.calls.insert(a.calls.end(), s.calls.begin(), s.calls.end());
  }
  number_classes(a);
  return a;
}

}  // namespace

Draft product(const Draft& a, const Draft& b) {
  Closures left(a), right(b);
  Draft out;
  std::unordered_map<uint64_t, StateId> numbers;
  std::vector<std::pair<StateId, StateId>> pairs;
  size_t edges = 0;
  const auto number = [&](StateId x, StateId y) {
    const auto [it, is_new] = numbers.try_emplace(uint64_t{x} << 32 | y, 0);
    if (is_new) {
      it->second = out.add();
      pairs.emplace_back(x, y);
    }
    return it->second;
  };
  number(0, 0);
  for (size_t i = 0; i < pairs.size(); ++i) {
    const Flat &x = left.of(pairs[i].first), &y = right.of(pairs[i].second);
    out.states[i].final = x.final && y.final;
    for (const Edge& e : x.edges)
      for (const Edge& f : y.edges) {
        const uint8_t first = std::max(e.first, f.first), last = std::min(e.last, f.last);
        if (first > last) continue;
        if (++edges > kMostProductEdges)
          throw Failure({Code::kExhausted, "the grammar is too large: two expressions that must hold at once"});
        const StateId to = number(e.to, f.to);
        out.states[i].edges.push_back({first, last, to});
      }
  }
  return out;
}

Result<Automaton> Automaton::compile(const Ir& ir, RuleId root) {
  return caught([&]() -> Automaton {
    if (ir.overfull())
      throw Failure({Code::kExhausted, "the grammar is too large: more than " + std::to_string(kMostNodes) + " parts"});
    const auto nullable = nullable_nodes(ir);
    Builder builder(ir, nullable, false);
    const StateId entry = builder.rule(root);
    builder.finish();
    refuse_left_recursion(builder.draft, builder.rules(), ir, nullable);
    const auto live = live_states(builder.draft);
    if (!live[entry]) throw Failure({Code::kInvalidArgument, "no finite text can satisfy it"});
    trim(builder.draft, live);
    return packed(builder.draft, entry);
  });
}

}  // namespace cairn::text::grammar
