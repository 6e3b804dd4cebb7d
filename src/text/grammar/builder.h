// The automaton while it is being built. Internal to the compiler of grammars.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "text/grammar/automaton.h"

namespace cairn::text::grammar {

struct Draft {
  struct State {
    std::vector<Edge> edges;
    std::vector<StateId> epsilons;
    std::vector<Call> calls;
    uint32_t repeat = kNoLimit;
    bool final = false;
  };
  std::vector<State> states;
  std::vector<Repeat> repeats;

  StateId add() {
    if (states.size() >= kMostStates)
      throw Failure({Code::kExhausted, "the grammar is too large: it needs more than " + std::to_string(kMostStates) +
                                           " states; lower its repeat counts or split it"});
    states.emplace_back();
    return static_cast<StateId>(states.size() - 1);
  }
};

// Turns expressions into states. Errors are thrown as Failure.
class Builder {
 public:
  // `flat`: rules and counts are written out, which leaves a finite automaton; recursion is then an error.
  Builder(const Ir& ir, const std::vector<bool>& nullable, bool flat) : ir_(ir), nullable_(nullable), flat_(flat) {}

  Draft draft;
  StateId rule(RuleId r);  // its start; the body is built by finish()
  void finish();
  void emit(NodeId id, StateId from, StateId to);
  const std::vector<std::pair<RuleId, StateId>>& rules() const { return starts_; }

 private:
  void chars(const CharSet& set, StateId from, StateId to);
  void repeat(const Ir::Node& n, StateId from, StateId to);
  void call(RuleId r, StateId from, StateId to);
  size_t weight(NodeId id) const;

  const Ir& ir_;
  const std::vector<bool>& nullable_;
  const bool flat_;
  int depth_ = 0;
  size_t emitted_ = 0;
  std::map<RuleId, StateId> start_of_;
  std::vector<std::pair<RuleId, StateId>> starts_;  // in the order of their discovery
  size_t built_ = 0;
  std::map<std::pair<RuleId, StateId>, StateId> flat_calls_;
};

// By node: whether it accepts the empty text.
std::vector<bool> nullable_nodes(const Ir& ir);
// The texts of both drafts, from their states 0 to their final states; both are flat.
Draft product(const Draft& a, const Draft& b);

}  // namespace cairn::text::grammar
