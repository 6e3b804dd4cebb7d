#include "text/splitting.h"

#include <algorithm>

namespace cairn::text {

Result<Behavior> parse_behavior(std::string_view name) {
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  return corrupt("split behavior \"" + std::string(name) + "\" is not known");
}

void cover(std::string_view text, uint32_t base, const std::vector<Match>& matches, bool invert,
           std::vector<Part>& out) {
  out.clear();
  size_t at = 0;
  const auto add = [&](size_t begin, size_t end, bool matched) {
    out.push_back({{base + static_cast<uint32_t>(begin), base + static_cast<uint32_t>(end)}, matched != invert});
  };
  for (const Match& m : matches) {
    if (m.begin > at) add(at, m.begin, false);
    add(m.begin, m.end, true);
    at = m.end;
  }
  if (at < text.size()) add(at, text.size(), false);
}

void arrange(std::vector<Part>& parts, Behavior behavior, std::vector<Range>& out) {
  const auto put = [&](Range r) {
    if (r.begin < r.end) out.push_back(r);
  };
  switch (behavior) {
    case Behavior::kIsolated:
      for (const Part& p : parts) put(p.range);
      return;
    case Behavior::kRemoved:
      for (const Part& p : parts)
        if (!p.matched) put(p.range);
      return;
    case Behavior::kContiguous:
      for (size_t i = 0, j; i < parts.size(); i = j) {
        for (j = i + 1; j < parts.size() && parts[j].matched == parts[i].matched;) ++j;
        put({parts[i].range.begin, parts[j - 1].range.end});
      }
      return;
    case Behavior::kMergedWithPrevious:
      // Only the first of several neighbouring matches joins what stands before it.
      for (size_t i = 0; i < parts.size(); ++i) {
        const bool joined = i + 1 < parts.size() && !parts[i].matched && parts[i + 1].matched;
        put({parts[i].range.begin, parts[joined ? i + 1 : i].range.end});
        if (joined) ++i;
      }
      return;
    case Behavior::kMergedWithNext: {
      const size_t from = out.size();
      for (size_t i = parts.size(); i-- > 0;) {
        const bool joined = i > 0 && !parts[i].matched && parts[i - 1].matched;
        put({parts[joined ? i - 1 : i].range.begin, parts[i].range.end});
        if (joined) --i;
      }
      std::reverse(out.begin() + static_cast<std::ptrdiff_t>(from), out.end());
      return;
    }
  }
}

Result<void> split_at(Pieces& pieces, const Pattern& pattern, Behavior behavior, bool invert) {
  std::vector<Range> out;
  out.reserve(pieces.ranges.size());
  std::vector<Part> parts;
  std::vector<Match> matches;
  for (const Range r : pieces.ranges) {
    const auto text = std::string_view(pieces.buffer.text).substr(r.begin, r.end - r.begin);
    matches.clear();
    TRY_VOID(pattern.find_all(text, matches));
    cover(text, r.begin, matches, invert, parts);
    arrange(parts, behavior, out);
  }
  pieces.ranges = std::move(out);
  return {};
}

}  // namespace cairn::text
