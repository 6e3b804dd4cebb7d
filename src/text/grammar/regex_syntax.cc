#include "text/grammar/regex_syntax.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "text/unicode.h"

namespace cairn::text::grammar {
namespace {

constexpr size_t kLongest = 1 << 16, kMostWays = 256;
constexpr int kDeepest = 200;

struct Piece {
  enum class Kind { kChars, kSequence, kChoice, kRepeat, kBegin, kEnd };
  Kind kind = Kind::kSequence;
  CharSet set;
  std::vector<Piece> children;
  uint32_t min = 1, max = 1;
  bool has_anchor() const {
    return kind == Kind::kBegin || kind == Kind::kEnd || std::ranges::any_of(children, &Piece::has_anchor);
  }
};
Piece chars(CharSet set) { return {Piece::Kind::kChars, std::move(set), {}}; }

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Piece> whole() {
    if (text_.size() > kLongest) return invalid("the regular expression is longer than 64 KiB");
    if (invalid_utf8_at(text_) != std::string_view::npos) return invalid("the regular expression is not valid UTF-8");
    Piece p = TRY(choice(0));
    if (at_ < text_.size()) return wrong("a ) without its (");
    return p;
  }

 private:
  bool eat(std::string_view s) {
    if (!text_.substr(at_).starts_with(s)) return false;
    at_ += s.size();
    return true;
  }
  bool more() const { return at_ < text_.size(); }
  char peek() const { return text_[at_]; }
  tl::unexpected<Error> wrong(const std::string& what) const {
    return invalid(fmt::format("regular expression, character {}: {}", at_ + 1, what));
  }
  tl::unexpected<Error> unsupported(const std::string& what) const {
    return failure(Code::kUnsupported,
                   fmt::format("regular expression, character {}: {} is not supported", at_ + 1, what));
  }

  Result<Piece> choice(int depth) {
    if (depth > kDeepest) return wrong("groups are nested too deeply");
    Piece out{Piece::Kind::kChoice, {}, {}};
    do {
      Piece sequence;
      while (more() && peek() != '|' && peek() != ')') sequence.children.push_back(TRY(quantified(depth)));
      out.children.push_back(std::move(sequence));
    } while (eat("|"));
    return out.children.size() == 1 ? std::move(out.children[0]) : std::move(out);
  }

  Result<Piece> quantified(int depth) {
    Piece p = TRY(atom(depth));
    for (bool again = false; more(); again = true) {
      const size_t start = at_;
      uint32_t min = 0, max = kNoLimit;
      if (eat("*")) {
      } else if (eat("+")) {
        min = 1;
      } else if (eat("?")) {
        max = 1;
      } else if (peek() != '{' || !TRY(counts(min, max))) {
        break;
      }
      if (again) {
        at_ = start;
        return wrong("a quantifier after a quantifier");
      }
      if (p.kind == Piece::Kind::kBegin || p.kind == Piece::Kind::kEnd) return wrong("an anchor cannot be repeated");
      if (eat("+")) return unsupported("a possessive quantifier");
      eat("?");  // lazy: the same texts
      Piece repeat{Piece::Kind::kRepeat, {}, {}, min, max};
      repeat.children.push_back(std::move(p));
      p = std::move(repeat);
    }
    return p;
  }

  // {m}, {m,}, {m,n} or {,n}; false for a brace that stands for itself.
  Result<bool> counts(uint32_t& min, uint32_t& max) {
    const size_t start = at_++;
    const auto number = [&]() -> std::optional<uint32_t> {
      uint64_t v = 0;
      const size_t from = at_;
      for (; more() && peek() >= '0' && peek() <= '9'; ++at_)
        v = std::min<uint64_t>(v * 10 + static_cast<uint64_t>(peek() - '0'), kMostRepeats + 1);
      return at_ == from ? std::nullopt : std::optional(static_cast<uint32_t>(v));
    };
    const auto low = number();
    const bool comma = eat(",");
    const auto high = comma ? number() : low;
    if ((!low && !high) || !eat("}")) {
      at_ = start;
      return false;
    }
    min = low.value_or(0);
    max = high.value_or(kNoLimit);
    if (min > max) return wrong("a repetition whose most is below its least");
    if (min > kMostRepeats || (max > kMostRepeats && max != kNoLimit))
      return wrong(fmt::format("a repetition of more than {} times", kMostRepeats));
    return true;
  }

  Result<Piece> atom(int depth) {
    switch (peek()) {
      case '(':
        return group(depth);
      case '[':
        return chars(TRY(char_class()));
      case '\\':
        return escape();
      case '^':
        return ++at_, Piece{Piece::Kind::kBegin, {}, {}};
      case '$':
        return ++at_, Piece{Piece::Kind::kEnd, {}, {}};
      case '*':
      case '+':
      case '?':
        return wrong("a quantifier after nothing");
      case '.': {
        ++at_;
        CharSet ends = CharSet::of("\n\r");
        ends.add(0x2028, 0x2029);
        return chars(ends.negated());
      }
      default:
        return chars(one());
    }
  }

  CharSet one() {
    const CodePoint c = code_point_at(text_, at_);
    at_ += c.size;
    return {c.value, c.value};
  }

  Result<Piece> group(int depth) {
    ++at_;
    if (eat("?")) {
      if (!eat(":")) {
        const size_t name = text_[std::min(at_, text_.size() - 1)] == 'P' ? at_ + 1 : at_;
        if (text_.substr(name, 1) != "<" || text_.substr(name + 1, 1) == "=" || text_.substr(name + 1, 1) == "!")
          return unsupported("a group of the kind (?" + std::string(text_.substr(at_, 2)) + "…)");
        const size_t close = text_.find('>', name);
        if (close == std::string_view::npos) return wrong("a group's name without an end");
        at_ = close + 1;
      }
    }
    Piece p = TRY(choice(depth + 1));
    if (!eat(")")) return wrong("a ( without its )");
    return p;
  }

  // Hexadecimal digits, exactly `size` of them.
  Result<char32_t> hex(size_t size) {
    char32_t v = 0;
    for (size_t i = 0; i < size; ++i, ++at_) {
      const char c = more() ? lower_ascii(text_.substr(at_, 1))[0] : ' ';
      if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return wrong("a hexadecimal digit is missing");
      v = v * 16 + static_cast<char32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return v;
  }

  Result<char32_t> unicode() {
    if (eat("{")) {
      const size_t close = text_.find('}', at_);
      if (close == std::string_view::npos || close == at_ || close - at_ > 6) return wrong("\\u{…} without an end");
      const char32_t c = TRY(hex(close - at_));
      ++at_;
      return c;
    }
    char32_t c = TRY(hex(4));
    if (c >= 0xd800 && c < 0xdc00 && eat("\\u")) {
      const char32_t low = TRY(hex(4));
      if (low < 0xdc00 || low > 0xdfff) return wrong("half a surrogate pair");
      c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    return c;
  }

  // The set that an escape stands for; `excluding`: in a class that is negated.
  Result<CharSet> escaped_set(bool excluding) {
    ++at_;
    if (!more()) return wrong("a \\ at the end");
    const size_t start = at_;
    const char c = text_[at_++];
    const auto single = [](char32_t x) { return CharSet(x, x); };
    switch (c) {
      case 'd':
        return digits(excluding);
      case 'w':
        return words(excluding);
      case 's':
        return spaces(excluding);
      case 'D':
        return digits(!excluding).negated();
      case 'W':
        return words(!excluding).negated();
      case 'S':
        return spaces(!excluding).negated();
      case 't':
        return single('\t');
      case 'n':
        return single('\n');
      case 'r':
        return single('\r');
      case 'f':
        return single('\f');
      case 'v':
        return single('\v');
      case 'x':
        return single(TRY(hex(2)));
      case 'u': {
        const char32_t u = TRY(unicode());
        if (u > 0x10ffff || (u >= 0xd800 && u < 0xe000)) return wrong("a code point that does not exist");
        return single(u);
      }
      case 'p':
      case 'P': {
        const size_t close = eat("{") ? text_.find('}', at_) : std::string_view::npos;
        if (close == std::string_view::npos) return wrong("\\p without its {…}");
        CharSet set = category(text_.substr(at_, close - at_));
        if (set.empty()) return unsupported("the property " + std::string(text_.substr(at_, close - at_)));
        at_ = close + 1;
        return c == 'p' ? set : set.negated();
      }
      case '0':
        if (!more() || peek() < '0' || peek() > '9') return single(0);
        break;
      default:
        break;
    }
    at_ = start;
    if (c >= '0' && c <= '9') return unsupported("a back reference");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return unsupported(std::string("the escape \\") + c);
    return one();
  }

  Result<Piece> escape() {
    if (eat("\\A")) return Piece{Piece::Kind::kBegin, {}, {}};
    if (eat("\\Z") || eat("\\z")) return Piece{Piece::Kind::kEnd, {}, {}};
    return chars(TRY(escaped_set(false)));
  }

  Result<CharSet> char_class() {
    ++at_;
    const bool negated = eat("^");
    if (more() && peek() == ']') return wrong("an empty class; write \\] for the bracket itself");
    CharSet out;
    const auto item = [&]() -> Result<CharSet> { return peek() == '\\' ? class_escape(negated) : one(); };
    while (more() && peek() != ']') {
      const CharSet low = TRY(item());
      if (text_.substr(at_).starts_with("-") && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        const CharSet high = TRY(item());
        const auto is_one = [](const CharSet& s) {
          return s.ranges().size() == 1 && s.ranges()[0].first == s.ranges()[0].last;
        };
        if (!is_one(low) || !is_one(high) || low.ranges()[0].first > high.ranges()[0].first)
          return wrong("a range of a class that runs backwards or has no ends");
        out.add(low.ranges()[0].first, high.ranges()[0].first);
      } else {
        out.add(low);
      }
    }
    if (!eat("]")) return wrong("a [ without its ]");
    return negated ? out.negated() : out;
  }

  Result<CharSet> class_escape(bool negated) {
    if (eat("\\b")) return CharSet('\b', '\b');
    return escaped_set(negated);
  }

  std::string_view text_;
  size_t at_ = 0;
};

// One way through the expression, with its anchors taken off.
struct Way {
  bool begin = false, end = false;
  Piece piece;
};

// Takes anchors off the front (or the back) of a piece. A choice with anchors becomes several ways.
std::vector<Way> without_anchor(Piece piece, bool front) {
  const auto kind = front ? Piece::Kind::kBegin : Piece::Kind::kEnd;
  if (piece.kind == kind) return {{front, !front, {}}};
  std::vector<Way> out;
  if (piece.kind == Piece::Kind::kChoice && piece.has_anchor()) {
    for (Piece& option : piece.children) {
      for (Way& way : without_anchor(std::move(option), front)) out.push_back(std::move(way));
      if (out.size() > kMostWays) break;  // an error, see ways()
    }
    return out;
  }
  if (piece.kind == Piece::Kind::kSequence && !piece.children.empty()) {
    const size_t edge = front ? 0 : piece.children.size() - 1;
    if (piece.children[edge].has_anchor()) {
      for (Way& way : without_anchor(piece.children[edge], front)) {
        Piece rest = piece;
        rest.children[edge] = std::move(way.piece);
        out.push_back({way.begin, way.end, std::move(rest)});
      }
      return out;
    }
  }
  out.push_back({false, false, std::move(piece)});
  return out;
}

Result<std::vector<Way>> ways(std::string_view expression) {
  std::vector<Way> out;
  for (Way& front : without_anchor(TRY(Parser(expression).whole()), true))
    for (Way& back : without_anchor(std::move(front.piece), false)) {
      if (back.piece.has_anchor() || out.size() >= kMostWays)
        return failure(Code::kUnsupported,
                       "regular expression: ^ and $ are supported at its two ends only, and not within repetitions");
      back.begin = front.begin;
      out.push_back(std::move(back));
    }
  return out;
}

NodeId build(const Piece& p, Spelling spelling, Ir& ir) {
  std::vector<NodeId> parts;
  for (const Piece& c : p.children) parts.push_back(build(c, spelling, ir));
  switch (p.kind) {
    case Piece::Kind::kChars:
      return spelled(p.set, spelling, ir);
    case Piece::Kind::kChoice:
      return ir.choice(parts);
    case Piece::Kind::kRepeat:
      return ir.repeat(parts[0], p.min, p.max);
    default:
      return ir.sequence(parts);
  }
}

}  // namespace

NodeId spelled(const CharSet& set, Spelling spelling, Ir& ir) {
  if (spelling == Spelling::kPlain) return ir.chars(set);
  CharSet special(0, 0x1f);
  special.add(CharSet::of("\"\\"));
  std::vector<NodeId> options;
  if (const CharSet plain = set.minus(special); !plain.empty()) options.push_back(ir.chars(plain));
  constexpr std::string_view kShort = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt", kHex = "0123456789abcdef";
  CharSet letters, low, high;  // of \n, of \u000b and of \u001f
  const CharSet escaped = set.common(special);
  for (const CharSet::Range& r : escaped.ranges())
    for (char32_t c = r.first; c <= r.last; ++c) {
      const size_t at = kShort.find(static_cast<char>(c));
      CharSet& last = at != std::string_view::npos ? letters : c < 0x10 ? low : high;
      last.add(CharSet::of(at != std::string_view::npos ? kLetters.substr(at, 1) : kHex.substr(c % 16, 1)));
    }
  if (!letters.empty()) options.push_back(ir.sequence({ir.literal("\\"), ir.chars(letters)}));
  if (!low.empty()) options.push_back(ir.sequence({ir.literal("\\u000"), ir.chars(low)}));
  if (!high.empty()) options.push_back(ir.sequence({ir.literal("\\u001"), ir.chars(high)}));
  return ir.choice(options);
}

Result<NodeId> read_regex(std::string_view expression, Ir& ir, Anchors anchors) {
  std::vector<NodeId> options;
  for (const Way& way : TRY(ways(expression))) {
    if (anchors == Anchors::kRefused && (way.begin || way.end))
      return failure(Code::kUnsupported, "regular expression: ^ and $ are not supported here");
    options.push_back(build(way.piece, Spelling::kPlain, ir));
  }
  return ir.choice(options);
}

Result<NodeId> read_pattern(std::string_view expression, Spelling spelling, Ir& ir) {
  std::vector<NodeId> options;
  for (const Way& way : TRY(ways(expression))) {
    const NodeId anything = ir.repeat(spelled(CharSet::any(), spelling, ir), 0, kNoLimit);
    const NodeId body = build(way.piece, spelling, ir);
    options.push_back(ir.sequence({way.begin ? ir.empty() : anything, body, way.end ? ir.empty() : anything}));
  }
  return ir.choice(options);
}

}  // namespace cairn::text::grammar
