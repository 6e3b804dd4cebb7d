#include "llm/ngram.h"

#include <algorithm>

namespace cairn::llm {

std::span<const int32_t> proposed(std::span<const int32_t> tokens, const SpeculativeConfig& config, int64_t most) {
  if (tokens.size() < 2 || most < 1) return {};
  const size_t last = tokens.size() - 1, window = static_cast<size_t>(config.max_match);
  size_t longest = 0, behind = 0;
  for (size_t end = last; end-- > 0 && longest < window;) {
    if (tokens[end] != tokens[last]) continue;
    size_t length = 1;
    while (length < window && length <= end && tokens[end - length] == tokens[last - length]) ++length;
    if (length > longest) longest = length, behind = end + 1;
  }
  if (longest < static_cast<size_t>(config.min_match)) return {};
  return tokens.subspan(behind, std::min(static_cast<size_t>(most), tokens.size() - behind));
}

}  // namespace cairn::llm
