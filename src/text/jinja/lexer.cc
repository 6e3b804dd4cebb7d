#include "text/jinja/lexer.h"

#include <fmt/format.h>

#include <array>

#include "text/jinja/literal.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace cairn::text::jinja {
namespace {

using Kind = Token::Kind;

// Line breaks become \n, and one at the very end goes.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  Lexer(std::string_view source, std::string_view name) : s_(source), name_(name) {}

  std::vector<Token> run() {
    while (at_ < s_.size()) {
      const size_t tag = next_tag();
      if (tag == std::string_view::npos) {
        push_data(s_.substr(at_), at_);
        at_ = s_.size();
        break;
      }
      const char kind = s_[tag + 1];
      push_data(before(tag, kind != '{'), at_);
      const size_t body = tag + 2 + (sign(tag + 2) ? 1 : 0);
      if (kind == '#') {
        comment(tag, body);
      } else if (kind == '{') {
        inside(tag, body, Kind::kVariableBegin, Kind::kVariableEnd);
      } else if (const size_t raw = raw_begin(body)) {
        raw_text(tag, raw);
      } else {
        inside(tag, body, Kind::kBlockBegin, Kind::kBlockEnd);
      }
    }
    at_ = s_.size();
    push(Kind::kEnd, {}, at_);
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(size_t at, std::string_view what) {
    throw Failure(Error{Code::kInvalidArgument, placed(name_, where(at), what)});
  }

  // Line and column of a byte; asked mostly in rising order.
  Where where(size_t at) {
    if (at < counted_) counted_ = 0, place_ = {};
    for (; counted_ < at; ++counted_) {
      if (s_[counted_] == '\n') {
        ++place_.line, place_.column = 1;
      } else if ((s_[counted_] & 0xc0) != 0x80) {
        ++place_.column;
      }
    }
    return place_;
  }

  void push(Kind kind, std::string text, size_t at) { out_.push_back({kind, std::move(text), where(at)}); }
  void push_data(std::string_view text, size_t at) {
    if (!text.empty()) push(Kind::kData, std::string(text), at);
  }

  size_t next_tag() const {
    for (size_t i = s_.find('{', at_); i != std::string_view::npos; i = s_.find('{', i + 1))
      if (i + 1 < s_.size() && (s_[i + 1] == '{' || s_[i + 1] == '%' || s_[i + 1] == '#')) return i;
    return std::string_view::npos;
  }

  char sign(size_t at) const { return at < s_.size() && (s_[at] == '-' || s_[at] == '+') ? s_[at] : '\0'; }

  // The text from at_ up to the tag, less what the tag strips: with '-' all white space, and for statements and
  // comments at least the blanks between the start of the line and the tag.
  std::string_view before(size_t tag, bool strips_line) const {
    const std::string_view text = s_.substr(at_, tag - at_);
    const char c = sign(tag + 2);
    if (c == '-') return strip(text, Side::kRight);
    if (c == '+' || !strips_line) return text;
    const size_t newline = text.rfind('\n');
    if (newline == std::string_view::npos && !line_start_) return text;
    const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
    return strip(text.substr(begin), Side::kLeft).empty() ? text.substr(0, begin) : text;
  }

  size_t skip_space(size_t at) const {
    while (at < s_.size()) {
      const CodePoint c = code_point_at(s_, at);
      if (!python_space(c.value)) break;
      at += c.size;
    }
    return at;
  }

  // Goes on after the end of a tag: `stripping` eats all white space, `trimming` one line break.
  void leave(size_t end, bool stripping, bool trimming) {
    at_ = stripping ? skip_space(end) : end;
    if (!stripping && trimming && at_ < s_.size() && s_[at_] == '\n') ++at_;
    line_start_ = s_[at_ - 1] == '\n';
  }

  void comment(size_t tag, size_t body) {
    const size_t end = s_.find("#}", body);
    if (end == std::string_view::npos) fail(tag, "the comment that starts here has no end");
    const char c = end > body ? s_[end - 1] : '\0';
    leave(end + 2, c == '-', c != '+');
  }

  // Where the text of {% raw %} begins, or 0 when the tag is another one.
  size_t raw_begin(size_t body) {
    size_t at = word(body, "raw");
    if (!at) return 0;
    const bool strips = s_.substr(at).starts_with("-%}");
    if (!strips && !s_.substr(at).starts_with("%}")) return 0;
    at += strips ? 3 : 2;
    return strips ? skip_space(at) : at;
  }

  // After optional white space, that word, and optional white space; 0 when it is not there.
  size_t word(size_t at, std::string_view w) const {
    at = skip_space(at);
    return s_.substr(at).starts_with(w) ? skip_space(at + w.size()) : 0;
  }

  void raw_text(size_t tag, size_t begin) {
    at_ = begin;
    line_start_ = s_[at_ - 1] == '\n';
    for (size_t i = s_.find("{%", begin); i != std::string_view::npos; i = s_.find("{%", i + 1)) {
      const size_t end = word(i + 2 + (sign(i + 2) ? 1 : 0), "endraw");
      if (!end) continue;
      const char c = sign(end);
      if (!s_.substr(end + (c ? 1 : 0)).starts_with("%}")) continue;
      push_data(before(i, true), begin);
      return leave(end + (c ? 3 : 2), c == '-', c != '+');
    }
    fail(tag, "{% raw %} has no {% endraw %}");
  }

  void inside(size_t tag, size_t body, Kind begin, Kind end) {
    const std::string_view close = end == Kind::kBlockEnd ? "%}" : "}}";
    push(begin, std::string(s_.substr(tag, 2)), tag);
    at_ = body;
    brackets_.clear();
    for (;;) {
      at_ = skip_space(at_);
      if (at_ >= s_.size()) return fail(tag, fmt::format("the tag that starts here is not closed with '{}'", close));
      const std::string_view rest = s_.substr(at_);
      const char c = sign(at_);
      const bool signed_end = c && (c == '-' || end == Kind::kBlockEnd) && rest.substr(1).starts_with(close);
      if (brackets_.empty() && (signed_end || rest.starts_with(close))) {
        push(end, std::string(close), at_);
        return leave(at_ + close.size() + (signed_end ? 1 : 0), signed_end && c == '-',
                     end == Kind::kBlockEnd && !signed_end);
      }
      token();
    }
  }

  void token() {
    const char c = s_[at_];
    if (is_digit(c)) return number();
    if (c == '\'' || c == '"') return string(c);
    if (is_word(code_point_at(s_, at_).value)) return name();
    op();
  }

  // The end of digits with single underscores between them, from `at`, which must be at a digit to move at all.
  template <class F>
  size_t run_of(size_t at, F&& is) const {
    while (at < s_.size() && (is(s_[at]) || (s_[at] == '_' && at + 1 < s_.size() && is(s_[at + 1])))) ++at;
    return at;
  }
  size_t decimal(size_t at) const { return at < s_.size() && is_digit(s_[at]) ? run_of(at, is_digit) : at; }

  void number() {
    size_t end = decimal(at_);
    bool real = false;
    if (at_ == 0 || s_[at_ - 1] != '.') {
      if (end < s_.size() && s_[end] == '.' && decimal(end + 1) > end + 1) end = decimal(end + 1), real = true;
      if (end < s_.size() && (s_[end] == 'e' || s_[end] == 'E')) {
        const size_t from = end + 1 + (sign(end + 1) ? 1 : 0);
        if (decimal(from) > from) end = decimal(from), real = true;
      }
    }
    if (!real && s_[at_] == '0') {
      end = run_of(at_, [](char d) { return d == '0'; });
      const char base = at_ + 1 < s_.size() ? static_cast<char>(s_[at_ + 1] | 0x20) : '\0';
      const std::string_view allowed = base == 'x' ? "0123456789abcdefABCDEF" : base == 'o' ? "01234567" : "01";
      if (base == 'x' || base == 'o' || base == 'b') {
        const size_t stop = run_of(at_ + 2, [&](char d) { return allowed.find(d) != std::string_view::npos; });
        if (stop > at_ + 2) end = stop;
      }
    }
    take(real ? Kind::kFloat : Kind::kInteger, end);
  }

  void take(Kind kind, size_t end) {
    push(kind, std::string(s_.substr(at_, end - at_)), at_);
    at_ = end;
  }

  void name() {
    size_t end = at_;
    while (end < s_.size() && is_word(code_point_at(s_, end).value)) end += code_point_at(s_, end).size;
    take(Kind::kName, end);
  }

  void string(char quote) {
    size_t end = at_ + 1;
    while (end < s_.size() && s_[end] != quote) end += s_[end] == '\\' ? 2 : 1;
    if (end >= s_.size()) fail(at_, "the text that starts here has no closing quote");
    auto meaning = unescaped(s_.substr(at_ + 1, end - at_ - 1));
    if (!meaning) fail(at_, "this text has an escape that is broken or not supported");
    push(Kind::kString, *std::move(meaning), at_);
    at_ = end + 1;
  }

  void op() {
    constexpr std::array<std::string_view, 6> kDouble = {"//", "**", "==", "!=", ">=", "<="};
    const std::string_view rest = s_.substr(at_);
    for (const auto d : kDouble)
      if (rest.starts_with(d)) return take(Kind::kOperator, at_ + 2);
    const char c = rest[0];
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos)
      fail(at_, fmt::format("unexpected character '{}'", rest.substr(0, code_point_at(s_, at_).size)));
    if (c == '(' || c == '[' || c == '{') brackets_ += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (brackets_.empty()) fail(at_, fmt::format("unexpected '{}'", c));
      if (brackets_.back() != c) fail(at_, fmt::format("unexpected '{}', expected '{}'", c, brackets_.back()));
      brackets_.pop_back();
    }
    take(Kind::kOperator, at_ + 1);
  }

  std::string_view s_;
  std::string_view name_;
  size_t at_ = 0;
  bool line_start_ = true;  // whether what was read last ended a line
  std::string brackets_;    // that must still be closed
  size_t counted_ = 0;
  Where place_;
  std::vector<Token> out_;
};

}  // namespace

std::string Token::described() const {
  switch (kind) {
    case Kind::kEnd:
      return "the end of the template";
    case Kind::kData:
      return "text";
    case Kind::kString:
      return "a text in quotes";
    default:
      return "'" + text + "'";
  }
}

std::vector<Token> tokenize(std::string_view source, std::string_view name) {
  const std::string text = normalized(source);
  return Lexer(text, name).run();
}

}  // namespace cairn::text::jinja
