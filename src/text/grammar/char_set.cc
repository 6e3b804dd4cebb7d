#include "text/grammar/char_set.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/unicode.h"

namespace cairn::text::grammar {
namespace {

constexpr char32_t kLast = 0x10ffff, kFirstSurrogate = 0xd800, kLastSurrogate = 0xdfff;

template <class Member>
CharSet where(Member&& member) {
  CharSet out;
  for (char32_t c = 0; c <= kLast; ++c) {
    if (c == kFirstSurrogate) c = kLastSurrogate + 1;
    if (!member(c)) continue;
    const char32_t first = c;
    while (c < kLast && c + 1 != kFirstSurrogate && member(c + 1)) ++c;
    out.add(first, c);
  }
  return out;
}

ByteSequence encoded(char32_t first, char32_t last) {
  std::string a, b;
  append_utf8(a, first);
  append_utf8(b, last);
  ByteSequence s{};
  s.size = static_cast<uint32_t>(a.size());
  for (size_t i = 0; i < a.size(); ++i) s.at[i] = {static_cast<uint8_t>(a[i]), static_cast<uint8_t>(b[i])};
  return s;
}

}  // namespace

CharSet CharSet::of(std::string_view ascii) {
  CharSet s;
  for (const char c : ascii) s.add(static_cast<uint8_t>(c), static_cast<uint8_t>(c));
  return s;
}

CharSet CharSet::any() { return {0, kLast}; }

void CharSet::add(char32_t first, char32_t last) {
  last = std::min(last, kLast);
  if (first > last) return;
  if (first <= kLastSurrogate && last >= kFirstSurrogate) {
    if (first < kFirstSurrogate) add(first, kFirstSurrogate - 1);
    if (last > kLastSurrogate) add(kLastSurrogate + 1, last);
    return;
  }
  const auto begin = std::lower_bound(ranges_.begin(), ranges_.end(), first,
                                      [](const Range& r, char32_t c) { return r.last + 1 < c; });
  auto end = begin;
  for (; end != ranges_.end() && end->first <= last + 1; ++end) {
    first = std::min(first, end->first);
    last = std::max(last, end->last);
  }
  ranges_.insert(ranges_.erase(begin, end), {first, last});
}

void CharSet::add(const CharSet& other) {
  for (const Range& r : other.ranges_) add(r.first, r.last);
}

CharSet CharSet::negated() const {
  CharSet out;
  char32_t from = 0;
  for (const Range& r : ranges_) {
    if (r.first > from) out.add(from, r.first - 1);
    from = r.last + 1;
  }
  out.add(from, kLast);
  return out;
}

CharSet CharSet::minus(const CharSet& other) const { return common(other.negated()); }

CharSet CharSet::common(const CharSet& other) const {
  CharSet out;
  for (size_t i = 0, j = 0; i < ranges_.size() && j < other.ranges_.size();) {
    const Range &a = ranges_[i], &b = other.ranges_[j];
    out.add(std::max(a.first, b.first), std::min(a.last, b.last));
    a.last < b.last ? ++i : ++j;
  }
  return out;
}

bool CharSet::has(char32_t c) const {
  const auto r =
      std::lower_bound(ranges_.begin(), ranges_.end(), c, [](const Range& x, char32_t at) { return x.last < at; });
  return r != ranges_.end() && r->first <= c;
}

const CharSet& digits(bool wide) {
  static const CharSet narrow{'0', '9'}, all = category("Nd");
  return wide ? all : narrow;
}

const CharSet& words(bool wide) {
  static const CharSet narrow = [] {
    CharSet s = CharSet::of("_");
    s.add('0', '9'), s.add('A', 'Z'), s.add('a', 'z');
    return s;
  }();
  static const CharSet all = where([](char32_t c) { return is_word(c) || is_numeric(c); });
  return wide ? all : narrow;
}

const CharSet& spaces(bool wide) {
  static const CharSet narrow = CharSet::of(" \t\n\r\f\v");
  static const CharSet all = [] {
    CharSet s = where(is_space);
    s.add(0x1c, 0x1f);      // Python's str.isspace
    s.add(0xfeff, 0xfeff);  // ECMAScript's
    return s;
  }();
  return wide ? all : narrow;
}

CharSet category(std::string_view name) {
  if (name.empty() || name.size() > 2) return {};
  return where([&](char32_t c) {
    return std::string_view(utf8proc_category_string(static_cast<utf8proc_int32_t>(c))).starts_with(name);
  });
}

void append_utf8_sequences(CharSet::Range range, std::vector<ByteSequence>& out) {
  char32_t first = range.first;
  while (first <= range.last) {
    char32_t last = range.last;
    for (const char32_t most : {0x7fu, 0x7ffu, 0xffffu})  // one length at a time
      if (first <= most) last = std::min(last, most);
    // The last bytes must run over all of 80..BF before the byte above them may change.
    for (uint32_t shift = 6; shift <= 18 && first > 0x7f; shift += 6) {
      const char32_t low = (char32_t{1} << shift) - 1;
      if ((first & ~low) == (last & ~low)) break;
      if (first & low) {
        last = std::min<char32_t>(last, first | low);
        break;
      }
      if ((last & low) != low) last = (last & ~low) - 1;
    }
    out.push_back(encoded(first, last));
    first = last + 1;
  }
}

}  // namespace cairn::text::grammar
