// Where a grammar may stand after some bytes: sets of stacks of its automaton, found as they are needed.
#pragma once
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "text/grammar/automaton.h"

namespace cairn::text::grammar {

using ConfigId = uint32_t;

// A configuration is the set of stacks that the automaton may be on. Each is numbered once, and its moves by byte are
// remembered, so that over time the pushdown automaton becomes a deterministic one where it is used. Not thread-safe.
// Stacks deeper than kMostDepth are dropped: text that nests deeper is not accepted.
class Configurations {
 public:
  static constexpr ConfigId kDead = 0;
  static constexpr uint32_t kMostDepth = 250;

  explicit Configurations(const Automaton& automaton);

  ConfigId start() const { return start_; }
  bool may_end(ConfigId c) const { return configs_[c].may_end; }
  // After one more byte; kDead when it does not fit. Throws Failure when the sets grow beyond all use.
  ConfigId step(ConfigId c, uint8_t byte) {
    const uint32_t known = next_[size_t{c} * classes_ + automaton_.class_of[byte]];
    return known != kUnknown ? known : find(c, byte);
  }
  // A configuration that allows the same continuations of up to `bytes` bytes: counts far from their bounds become
  // equal.
  ConfigId alike(ConfigId c, uint32_t bytes);
  // The configuration of another store of the same automaton, in this one.
  ConfigId adopt(const Configurations& other, ConfigId c);

  size_t bytes() const { return bytes_; }  // of memory, about

 private:
  static constexpr uint32_t kUnknown = UINT32_MAX;
  // The top of a stack: a state, and what follows when its rule ends. Nodes are numbered once; 0 is the empty stack.
  struct Node {
    StateId state;
    uint32_t count;  // of a repetition's head: how often its body has ended when this becomes the top
    uint32_t parent;
    bool operator==(const Node&) const = default;
  };
  struct Hash {
    size_t operator()(const Node& n) const;
    size_t operator()(const std::vector<uint32_t>& v) const;
  };
  struct Config {
    const std::vector<uint32_t>* stacks;  // sorted; each top reads a byte. Owned by numbers_
    bool may_end;
  };

  ConfigId find(ConfigId c, uint8_t byte);
  uint32_t node(Node n);
  void begin();
  void push(uint32_t node);
  ConfigId close();
  void expand(uint32_t node);
  uint32_t clamped(uint32_t node, uint32_t bytes);
  ConfigId number(std::vector<uint32_t> stacks, bool may_end);

  const Automaton& automaton_;
  const size_t classes_;
  std::vector<Node> nodes_;
  std::vector<uint16_t> depth_;
  std::vector<uint32_t> seen_;  // by node: the closure that saw it last
  std::unordered_map<Node, uint32_t, Hash> node_numbers_;
  std::vector<Config> configs_;
  std::unordered_map<std::vector<uint32_t>, ConfigId, Hash> numbers_;  // the key ends with may_end
  std::vector<uint32_t> next_;
  std::unordered_map<uint32_t, uint32_t> clamped_;
  std::unordered_map<ConfigId, ConfigId> alike_;
  std::vector<uint32_t> todo_;
  std::vector<uint32_t> found_;
  bool found_end_ = false;
  uint32_t round_ = 0;
  size_t bytes_ = 0;
  ConfigId start_ = 0;
};

}  // namespace cairn::text::grammar
