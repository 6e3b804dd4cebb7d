// A fixed set of byte strings, each with a number, that finds all of them which start at a place of a text.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::text {

class Trie {
 public:
  Trie() { root_.fill(-1); }
  // Values are 0 or more; of equal keys the last one counts; empty keys are ignored.
  explicit Trie(std::vector<std::pair<std::string_view, int32_t>> entries);

  bool empty() const { return nodes_.empty(); }

  // visit(length, value) for each key that is a prefix of text[at, …), shortest first.
  template <class Visit>
  void prefixes(std::string_view text, size_t at, Visit&& visit) const {
    if (at >= text.size()) return;
    int32_t node = root_[static_cast<uint8_t>(text[at])];
    for (size_t i = at + 1; node >= 0; ++i) {
      const Node& n = nodes_[static_cast<size_t>(node)];
      if (n.value >= 0) visit(i - at, n.value);
      if (i == text.size()) return;
      node = child(n, static_cast<uint8_t>(text[i]));
    }
  }

 private:
  struct Node {
    int32_t value = -1;
    uint32_t first = 0;  // children are neighbours, sorted by label
    uint16_t count = 0;
    uint8_t label = 0;
  };
  int32_t child(const Node& n, uint8_t label) const {
    uint32_t low = n.first, high = n.first + n.count;
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      if (nodes_[middle].label < label) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low < n.first + n.count && nodes_[low].label == label ? static_cast<int32_t>(low) : -1;
  }

  std::vector<Node> nodes_;
  std::array<int32_t, 256> root_{};
};

}  // namespace cairn::text
