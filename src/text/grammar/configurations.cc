#include "text/grammar/configurations.h"

#include <algorithm>

namespace cairn::text::grammar {
namespace {

constexpr size_t kMostStacks = 1 << 14;  // looked at for one byte
constexpr size_t kMostBytes = size_t{192} << 20;

size_t mix(size_t seed, size_t v) {
  seed ^= v + 0x9e3779b97f4a7c15 + (seed << 6) + (seed >> 2);
  return seed * 0xff51afd7ed558ccd;
}

}  // namespace

size_t Configurations::Hash::operator()(const Node& n) const { return mix(mix(n.state, n.count), n.parent) >> 7; }

size_t Configurations::Hash::operator()(const std::vector<uint32_t>& v) const {
  size_t h = v.size();
  for (const uint32_t x : v) h = mix(h, x);
  return h >> 7;
}

Configurations::Configurations(const Automaton& automaton) : automaton_(automaton), classes_(automaton.classes) {
  nodes_.push_back({0, 0, 0});
  depth_.push_back(0);
  seen_.push_back(0);
  number({}, false);  // kDead
  std::fill(next_.begin(), next_.end(), kDead);
  begin();
  push(node({automaton_.start, 0, 0}));
  start_ = close();
}

uint32_t Configurations::node(Node n) {
  const auto [it, is_new] = node_numbers_.try_emplace(n, static_cast<uint32_t>(nodes_.size()));
  if (is_new) {
    nodes_.push_back(n);
    depth_.push_back(static_cast<uint16_t>(depth_[n.parent] + 1));
    seen_.push_back(0);
    bytes_ += 64;
  }
  return it->second;
}

void Configurations::begin() {
  ++round_;
  todo_.clear();
  found_.clear();
  found_end_ = false;
}

void Configurations::push(uint32_t n) {
  if (seen_[n] == round_ || depth_[n] > kMostDepth) return;
  seen_[n] = round_;
  todo_.push_back(n);
  if (todo_.size() > kMostStacks || found_.size() > kMostStacks)
    throw Failure({Code::kExhausted, "the grammar is too ambiguous: more than " + std::to_string(kMostStacks) +
                                         " ways to read the text so far"});
}

// Follows what reads no byte.
void Configurations::expand(uint32_t id) {
  const Node n = nodes_[id];
  const Automaton::State& s = automaton_.states[n.state];
  if (s.repeat != kNoLimit) {
    const Repeat& r = automaton_.repeats[s.repeat];
    if (n.count >= r.min) push(node({r.next, 0, n.parent}));
    if (r.max == kNoLimit) {
      push(node({r.body, 0, node({n.state, std::min(n.count + 1, r.min), n.parent})}));
    } else if (n.count < r.max) {
      push(node({r.body, 0, node({n.state, n.count + 1, n.parent})}));
    }
    return;
  }
  if (s.edge_count) found_.push_back(id);
  for (const StateId to : automaton_.epsilons_of(s)) push(node({to, 0, n.parent}));
  for (const Call& c : automaton_.calls_of(s)) push(node({c.start, 0, node({c.back, 0, n.parent})}));
  if (s.final) n.parent ? push(n.parent) : void(found_end_ = true);
}

ConfigId Configurations::close() {
  while (!todo_.empty()) {
    const uint32_t n = todo_.back();
    todo_.pop_back();
    expand(n);
  }
  if (found_.empty() && !found_end_) return kDead;
  std::sort(found_.begin(), found_.end());
  return number(found_, found_end_);
}

ConfigId Configurations::number(std::vector<uint32_t> stacks, bool may_end) {
  stacks.push_back(may_end);
  const auto [it, is_new] = numbers_.try_emplace(std::move(stacks), static_cast<ConfigId>(configs_.size()));
  if (!is_new) return it->second;
  if (bytes_ > kMostBytes)
    throw Failure({Code::kExhausted, "the grammar needs too much memory to follow: it is too ambiguous"});
  configs_.push_back({&it->first, may_end});
  next_.resize(next_.size() + classes_, kUnknown);
  bytes_ += 96 + 4 * (it->first.size() + classes_);
  return it->second;
}

ConfigId Configurations::find(ConfigId c, uint8_t byte) {
  begin();
  const std::vector<uint32_t>& stacks = *configs_[c].stacks;
  for (size_t i = 0; i + 1 < stacks.size(); ++i) {
    const Node n = nodes_[stacks[i]];
    for (const Edge& e : automaton_.edges_of(automaton_.states[n.state]))
      if (e.first <= byte && byte <= e.last) push(node({e.to, 0, n.parent}));
  }
  const ConfigId to = close();
  return next_[size_t{c} * classes_ + automaton_.class_of[byte]] = to;
}

uint32_t Configurations::clamped(uint32_t id, uint32_t bytes) {
  // Parents first, without recursion: a chain is at most kMostDepth long.
  std::vector<uint32_t> chain;
  while (id != 0 && !clamped_.contains(id)) {
    chain.push_back(id);
    id = nodes_[id].parent;
  }
  uint32_t parent = id == 0 ? 0 : clamped_.at(id);
  for (size_t i = chain.size(); i-- > 0;) {
    Node n = nodes_[chain[i]];
    n.parent = parent;
    const uint32_t repeat = automaton_.states[n.state].repeat;
    if (repeat != kNoLimit) {
      const Repeat& r = automaton_.repeats[repeat];
      // Every round reads a byte at least.
      if (n.count < r.min) {
        if (r.min - n.count > bytes) n.count = r.min - bytes - 1;
      } else if (r.max != kNoLimit && r.max - n.count > bytes) {
        n.count = r.max - bytes - 1;
      }
    }
    parent = node(n);
    clamped_.emplace(chain[i], parent);
  }
  return parent;
}

ConfigId Configurations::alike(ConfigId c, uint32_t bytes) {
  if (automaton_.repeats.empty()) return c;
  const auto known = alike_.find(c);
  if (known != alike_.end()) return known->second;
  std::vector<uint32_t> stacks(configs_[c].stacks->begin(), configs_[c].stacks->end() - 1);
  for (uint32_t& s : stacks) s = clamped(s, bytes);
  std::sort(stacks.begin(), stacks.end());
  stacks.erase(std::unique(stacks.begin(), stacks.end()), stacks.end());
  const ConfigId to = number(std::move(stacks), configs_[c].may_end);
  alike_.emplace(c, to);
  return to;
}

ConfigId Configurations::adopt(const Configurations& other, ConfigId c) {
  const std::vector<uint32_t>& theirs = *other.configs_[c].stacks;
  if (c == kDead) return kDead;
  std::vector<uint32_t> stacks, chain;
  for (size_t i = 0; i + 1 < theirs.size(); ++i) {
    chain.clear();
    for (uint32_t n = theirs[i]; n != 0; n = other.nodes_[n].parent) chain.push_back(n);
    uint32_t parent = 0;
    for (size_t k = chain.size(); k-- > 0;) {
      Node n = other.nodes_[chain[k]];
      n.parent = parent;
      parent = node(n);
    }
    stacks.push_back(parent);
  }
  std::sort(stacks.begin(), stacks.end());
  return number(std::move(stacks), other.configs_[c].may_end);
}

}  // namespace cairn::text::grammar
