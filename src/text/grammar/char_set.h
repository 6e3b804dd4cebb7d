// A set of code points: what one place of a grammar may hold.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace cairn::text::grammar {

// Sorted ranges that neither touch nor overlap. Surrogates are never members: no text holds them.
class CharSet {
 public:
  struct Range {
    char32_t first, last;
    bool operator==(const Range&) const = default;
  };

  CharSet() = default;
  CharSet(char32_t first, char32_t last) { add(first, last); }
  static CharSet of(std::string_view ascii);  // its characters
  static CharSet any();

  void add(char32_t first, char32_t last);
  void add(const CharSet& other);
  CharSet negated() const;
  CharSet minus(const CharSet& other) const;
  CharSet common(const CharSet& other) const;

  bool empty() const { return ranges_.empty(); }
  bool has(char32_t c) const;
  const std::vector<Range>& ranges() const { return ranges_; }
  bool operator==(const CharSet&) const = default;

 private:
  std::vector<Range> ranges_;
};

// \d, \w and \s. The narrow sets are ASCII's; the wide ones are Unicode's, for what a negation must leave out: text
// that matches then matches in every dialect, whether its classes know Unicode or not.
const CharSet& digits(bool wide);
const CharSet& words(bool wide);
const CharSet& spaces(bool wide);
// Code points whose general category starts with `name` ("L", "Lu", "N"); empty when there is no such category.
CharSet category(std::string_view name);

// A byte of each of up to four places: one stretch of a code point range in UTF-8.
struct ByteSequence {
  struct Bytes {
    uint8_t first, last;
  };
  Bytes at[4];
  uint32_t size;
};
// Appends the sequences that together spell exactly the code points of `range`.
void append_utf8_sequences(CharSet::Range range, std::vector<ByteSequence>& out);

}  // namespace cairn::text::grammar
