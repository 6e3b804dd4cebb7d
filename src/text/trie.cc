#include "text/trie.h"

#include <algorithm>

namespace cairn::text {

Trie::Trie(std::vector<std::pair<std::string_view, int32_t>> entries) {
  root_.fill(-1);
  std::erase_if(entries, [](const auto& e) { return e.first.empty(); });
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });

  // Breadth first, so that the children of a node are made together and lie side by side.
  struct Work {
    size_t begin, end, depth;  // entries that share their first `depth` bytes
  };
  std::vector<Work> work;
  const auto grow = [&](size_t begin, size_t end, size_t depth) {
    uint16_t made = 0;
    for (size_t i = begin; i < end;) {
      const auto label = static_cast<uint8_t>(entries[i].first[depth]);
      size_t stop = i;
      while (stop < end && static_cast<uint8_t>(entries[stop].first[depth]) == label) ++stop;
      Node n;
      n.label = label;
      for (; i < stop && entries[i].first.size() == depth + 1; ++i) n.value = entries[i].second;
      nodes_.push_back(n);
      work.push_back({i, stop, depth + 1});
      i = stop;
      ++made;
    }
    return made;
  };
  grow(0, entries.size(), 0);
  for (size_t k = 0; k < nodes_.size(); ++k) {
    if (k < 256 && work[k].depth == 1) root_[nodes_[k].label] = static_cast<int32_t>(k);
    const auto first = static_cast<uint32_t>(nodes_.size());
    const Work w = work[k];
    const uint16_t made = grow(w.begin, w.end, w.depth);
    nodes_[k].first = first;
    nodes_[k].count = made;
  }
}

}  // namespace cairn::text
