#include "text/buffer.h"

#include <algorithm>
#include <numeric>

namespace cairn::text {
namespace {

constexpr size_t kMostGrowth = 64;  // NFKC lengthens some code points 11 times
constexpr size_t kAlwaysAllowed = size_t{1} << 20;

}  // namespace

Buffer Buffer::of(std::string_view part, size_t begin, bool tracked) {
  Buffer b;
  b.text = part;
  b.most = part.size() * kMostGrowth + kAlwaysAllowed;
  if (tracked) {
    b.source.resize(part.size() + 1);
    std::iota(b.source.begin(), b.source.end(), static_cast<uint32_t>(begin));
  }
  return b;
}

Buffer Buffer::slice(size_t begin, size_t end) const {
  Buffer b;
  b.text = text.substr(begin, end - begin);
  b.most = most;
  if (tracked())
    b.source.assign(source.begin() + static_cast<std::ptrdiff_t>(begin),
                    source.begin() + static_cast<std::ptrdiff_t>(end) + 1);
  return b;
}

void Rewriter::keep(size_t begin, size_t end) {
  to_.text.append(from_.text, begin, end - begin);
  if (from_.tracked())
    to_.source.insert(to_.source.end(), from_.source.begin() + static_cast<std::ptrdiff_t>(begin),
                      from_.source.begin() + static_cast<std::ptrdiff_t>(end));
}

void Rewriter::put(std::string_view text, size_t at) {
  if (text.size() > from_.most - std::min(to_.text.size(), from_.most)) {
    to_.too_long = true;
    return;
  }
  to_.text += text;
  stand_for(at);
}

Buffer Rewriter::take() {
  if (from_.tracked()) to_.source.push_back(from_.source.back());
  to_.most = from_.most;
  return std::move(to_);
}

}  // namespace cairn::text
