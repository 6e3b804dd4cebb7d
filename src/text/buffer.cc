#include "text/buffer.h"

#include <numeric>

namespace cairn::text {

Buffer Buffer::of(std::string_view part, size_t begin, bool tracked) {
  Buffer b;
  b.text = part;
  if (tracked) {
    b.source.resize(part.size() + 1);
    std::iota(b.source.begin(), b.source.end(), static_cast<uint32_t>(begin));
  }
  return b;
}

Buffer Buffer::slice(size_t begin, size_t end) const {
  Buffer b;
  b.text = text.substr(begin, end - begin);
  if (tracked()) b.source.assign(source.begin() + static_cast<std::ptrdiff_t>(begin), source.begin() + static_cast<std::ptrdiff_t>(end) + 1);
  return b;
}

void Rewriter::keep(size_t begin, size_t end) {
  to_.text.append(from_.text, begin, end - begin);
  if (from_.tracked())
    to_.source.insert(to_.source.end(), from_.source.begin() + static_cast<std::ptrdiff_t>(begin),
                      from_.source.begin() + static_cast<std::ptrdiff_t>(end));
}

void Rewriter::put(std::string_view text, size_t at) {
  to_.text += text;
  stand_for(at);
}

Buffer Rewriter::take() {
  if (from_.tracked()) to_.source.push_back(from_.source.back());
  return std::move(to_);
}

}  // namespace cairn::text
