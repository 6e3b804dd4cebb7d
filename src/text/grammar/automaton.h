// A grammar as a pushdown automaton over the bytes of UTF-8 text.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "text/grammar/ir.h"

namespace cairn::text::grammar {

using StateId = uint32_t;
constexpr size_t kMostStates = 1 << 18;

struct Edge {
  uint8_t first, last;  // the bytes that it reads
  StateId to;
};
// Runs a rule from `start` until one of its final states, then goes on at `back`.
struct Call {
  StateId start, back;
};
// A counted repetition: runs from `body` to a final state, min to max times, then goes on at `next`.
struct Repeat {
  uint32_t min, max;
  StateId body, next;
};

// Immutable. Every state can reach the end of its rule, so that no prefix of an accepted text is a dead end, short of
// the bounds on depth. Whatever runs without reading a byte ends: no rule calls itself first (left recursion is an
// error of compile()) and no counted body accepts the empty text.
struct Automaton {
  struct State {
    uint32_t edges = 0, edge_count = 0;
    uint32_t epsilons = 0, epsilon_count = 0;
    uint32_t calls = 0, call_count = 0;
    uint32_t repeat = kNoLimit;  // index of a Repeat: the state is its head, and has nothing else
    bool final = false;
  };
  std::vector<State> states;
  std::vector<Edge> edges;
  std::vector<StateId> epsilons;
  std::vector<Call> calls;
  std::vector<Repeat> repeats;
  StateId start = 0;
  std::array<uint8_t, 256> class_of{};  // bytes of one class are read alike everywhere
  uint32_t classes = 0;

  std::span<const Edge> edges_of(const State& s) const { return std::span(edges).subspan(s.edges, s.edge_count); }
  std::span<const StateId> epsilons_of(const State& s) const {
    return std::span(epsilons).subspan(s.epsilons, s.epsilon_count);
  }
  std::span<const Call> calls_of(const State& s) const { return std::span(calls).subspan(s.calls, s.call_count); }

  // Errors: left recursion, nothing to accept, more states than kMostStates, a repetition that cannot be counted.
  static Result<Automaton> compile(const Ir& ir, RuleId root);
};

}  // namespace cairn::text::grammar
