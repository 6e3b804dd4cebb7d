// Cutting pieces at matches, in the five ways that the tokenizers library knows.
#pragma once
#include <string_view>

#include "text/pretokenizer.h"
#include "text/unicode.h"

namespace cairn::text {

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
Result<Behavior> parse_behavior(std::string_view name);

struct Part {
  Range range;
  bool matched;
};

// Appends what is left of parts that cover a piece from end to end.
void arrange(std::vector<Part>& parts, Behavior behavior, std::vector<Range>& out);

// The parts of `text`, shifted by `base`: the matches and what lies between them; `invert` swaps the two.
void cover(std::string_view text, uint32_t base, const std::vector<Match>& matches, bool invert,
           std::vector<Part>& out);

// Cuts every piece at the matches of a pattern.
Result<void> split_at(Pieces& pieces, const Pattern& pattern, Behavior behavior, bool invert);

// Cuts every piece around each single code point that `is` accepts.
template <class Is>
void split_where(Pieces& pieces, Behavior behavior, Is is) {
  std::vector<Range> out;
  std::vector<Part> parts;
  std::vector<Match> matches;
  for (const Range r : pieces.ranges) {
    const auto text = std::string_view(pieces.buffer.text).substr(r.begin, r.end - r.begin);
    matches.clear();
    for (size_t at = 0; at < text.size();) {
      const CodePoint c = code_point_at(text, at);
      if (is(c.value)) matches.push_back({at, at + c.size});
      at += c.size;
    }
    cover(text, r.begin, matches, false, parts);
    arrange(parts, behavior, out);
  }
  pieces.ranges = std::move(out);
}

}  // namespace cairn::text
