// A text on its way through the normalizers. On demand it remembers, byte by byte, where in the user's text it came
// from.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::text {

struct Buffer {
  std::string text;  // valid UTF-8
  std::vector<uint32_t>
      source;  // per byte of text and one for its end: offsets into the user's text; empty: not tracked

  // The part of the user's text that starts at `begin`, not changed yet.
  static Buffer of(std::string_view part, size_t begin, bool tracked);

  // A tokenizer.json can ask for rewriting that doubles a text again and again. Growth ends at `most` bytes, and is
  // reported.
  size_t most = SIZE_MAX;
  bool too_long = false;

  Buffer slice(size_t begin, size_t end) const;
  bool tracked() const { return !source.empty(); }
};

// Writes the next version of a buffer, front to back.
class Rewriter {
 public:
  explicit Rewriter(const Buffer& from) : from_(from) { to_.text.reserve(from.text.size() + 16); }

  void keep(size_t begin, size_t end);         // the old bytes [begin, end)
  void put(std::string_view text, size_t at);  // new text that stands for what was at `at`
  size_t size() const { return to_.text.size(); }
  std::string& text() { return to_.text; }  // appended to directly, then claimed with stand_for
  void stand_for(size_t at) {
    if (from_.tracked()) to_.source.resize(to_.text.size(), from_.source[at]);
  }
  Buffer take();

 private:
  const Buffer& from_;
  Buffer to_;
};

}  // namespace cairn::text
