#include "text/grammar/ebnf.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "base/strings.h"
#include "text/unicode.h"

namespace cairn::text::grammar {
namespace {

constexpr size_t kLongest = 1 << 20;
constexpr int kDeepest = 200;

bool starts_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool in_name(char c) { return starts_name(c) || (c >= '0' && c <= '9') || c == '-' || c == '.'; }

class Parser {
 public:
  Parser(std::string_view text, Ir& ir) : text_(text), ir_(ir) {}

  Result<RuleId> whole() {
    if (text_.size() > kLongest) return invalid("the grammar is longer than 1 MiB");
    if (invalid_utf8_at(text_) != std::string_view::npos) return invalid("the grammar is not valid UTF-8");
    for (skip(); at_ < text_.size(); skip()) {
      const size_t start = at_;
      const std::string head = name();
      skip();
      if (head.empty() || !eat("::=")) return wrong("expected `name ::= …`");
      Rule& rule = rules_.try_emplace(head, Rule{}).first->second;
      if (rule.defined) return at_ = start, wrong("rule \"" + head + "\" is defined twice");
      if (!rule.used) rule.id = ir_.declare(head);
      rule.used = rule.defined = true;
      const RuleId id = rule.id;
      ir_.define(id, TRY(choice(0)));
    }
    std::vector<std::string> names;
    for (const auto& [rule_name, rule] : rules_)
      if (rule.defined) names.push_back(rule_name);
    for (const auto& [rule_name, rule] : rules_)
      if (!rule.defined)
        return invalid(fmt::format("grammar, {}: rule \"{}\" is not defined{}", place(rule.first_use), rule_name,
                                   did_you_mean(rule_name, names)));
    const auto root = rules_.find("root");
    if (root == rules_.end()) return invalid("the grammar has no rule named \"root\"" + did_you_mean("root", names));
    return root->second.id;
  }

 private:
  struct Rule {
    RuleId id = 0;
    bool used = false, defined = false;
    size_t first_use = 0;
  };

  std::string place(size_t at) const {
    const std::string_view before = text_.substr(0, at);
    const size_t line = before.rfind('\n');
    return fmt::format("line {}, column {}", std::ranges::count(before, '\n') + 1,
                       at - (line == std::string_view::npos ? 0 : line + 1) + 1);
  }
  tl::unexpected<Error> wrong(const std::string& what) const { return invalid("grammar, " + place(at_) + ": " + what); }
  bool more() const { return at_ < text_.size(); }
  char peek() const { return more() ? text_[at_] : '\0'; }
  bool eat(std::string_view s) {
    if (!text_.substr(at_).starts_with(s)) return false;
    at_ += s.size();
    return true;
  }
  void skip() {
    while (more()) {
      if (peek() == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') {
        ++at_;
      } else {
        return;
      }
    }
  }
  std::string name() {
    const size_t start = at_;
    if (more() && starts_name(peek()))
      while (more() && in_name(peek())) ++at_;
    return std::string(text_.substr(start, at_ - start));
  }

  // Whether a new rule begins here.
  bool at_rule() {
    const size_t start = at_;
    const bool named = !name().empty();
    skip();
    const bool is = named && text_.substr(at_).starts_with("::=");
    at_ = start;
    return is;
  }

  Result<NodeId> choice(int depth) {
    if (depth > kDeepest) return wrong("groups are nested too deeply");
    std::vector<NodeId> options;
    do {
      std::vector<NodeId> parts;
      for (skip(); more() && peek() != '|' && peek() != ')' && !at_rule(); skip())
        parts.push_back(TRY(repeated(depth)));
      options.push_back(ir_.sequence(parts));
    } while (eat("|"));
    return ir_.choice(options);
  }

  Result<NodeId> repeated(int depth) {
    NodeId node = TRY(atom(depth));
    for (;;) {
      if (eat("*")) {
        node = ir_.repeat(node, 0, kNoLimit);
      } else if (eat("+")) {
        node = ir_.repeat(node, 1, kNoLimit);
      } else if (eat("?")) {
        node = ir_.optional(node);
      } else if (peek() == '{') {
        node = TRY(counted(node));
      } else {
        return node;
      }
    }
  }

  Result<uint32_t> number() {
    uint64_t v = 0;
    const size_t start = at_;
    for (; peek() >= '0' && peek() <= '9'; ++at_)
      v = std::min<uint64_t>(v * 10 + static_cast<uint64_t>(peek() - '0'), kMostRepeats + 1);
    if (at_ == start) return wrong("expected a number");
    if (v > kMostRepeats) return wrong(fmt::format("a repetition of more than {} times", kMostRepeats));
    return static_cast<uint32_t>(v);
  }

  Result<NodeId> counted(NodeId node) {
    ++at_;
    skip();
    const uint32_t min = peek() == ',' ? 0 : TRY(number());
    uint32_t max = min;
    skip();
    if (eat(",")) {
      skip();
      max = peek() == '}' ? kNoLimit : TRY(number());
      skip();
    }
    if (!eat("}")) return wrong("expected } after the counts of a repetition");
    if (max < min) return wrong("a repetition whose most is below its least");
    return ir_.repeat(node, min, max);
  }

  Result<NodeId> atom(int depth) {
    if (eat("(")) {
      if (peek() == '=') return wrong("look-ahead is not supported");
      const NodeId node = TRY(choice(depth + 1));
      if (!eat(")")) return wrong("expected )");
      return node;
    }
    if (eat(".")) return ir_.chars(CharSet::any());
    if (peek() == '"' || peek() == '\'') return literal();
    if (eat("[")) return char_class();
    const size_t start = at_;
    const std::string called = name();
    if (called.empty()) return wrong("expected a rule's name, a \"literal\", a [class] or a group");
    Rule& rule = rules_.try_emplace(called, Rule{}).first->second;
    if (!rule.used) {
      rule.id = ir_.declare(called);
      rule.used = true;
      rule.first_use = start;
    }
    return ir_.call(rule.id);
  }

  Result<char32_t> character() {
    if (!eat("\\")) {
      const CodePoint c = code_point_at(text_, at_);
      at_ += c.size;
      return c.value;
    }
    if (!more()) return wrong("a \\ at the end");
    const char c = text_[at_++];
    constexpr std::string_view kLetters = "tnrfvab0e", kMeanings("\t\n\r\f\v\a\b\0\x1b", 9);
    if (const size_t i = kLetters.find(c); i != std::string_view::npos)
      return static_cast<char32_t>(static_cast<uint8_t>(kMeanings[i]));
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0) {
      if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '1' && c <= '9'))
        return wrong(std::string("the escape \\") + c + " is not known");
      at_ -= 1;
      const CodePoint self = code_point_at(text_, at_);
      at_ += self.size;
      return self.value;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const char h = more() ? lower_ascii(text_.substr(at_, 1))[0] : ' ';
      if (!((h >= '0' && h <= '9') || (h >= 'a' && h <= 'f'))) return wrong("a hexadecimal digit is missing");
      v = v * 16 + static_cast<uint64_t>(h <= '9' ? h - '0' : h - 'a' + 10);
    }
    if (v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) return wrong("a code point that does not exist");
    return static_cast<char32_t>(v);
  }

  Result<NodeId> literal() {
    const char quote = text_[at_++];
    std::string bytes;
    while (more() && peek() != quote && peek() != '\n') append_utf8(bytes, TRY(character()));
    if (peek() != quote || !more()) return wrong("a literal without an end on its line");
    ++at_;
    return ir_.literal(bytes);
  }

  Result<NodeId> char_class() {
    const bool negated = eat("^");
    CharSet set;
    while (more() && peek() != ']' && peek() != '\n') {
      const char32_t low = TRY(character());
      char32_t high = low;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        high = TRY(character());
      }
      if (high < low) return wrong("a range of a class that runs backwards");
      set.add(low, high);
    }
    if (!eat("]")) return wrong("a class without an end on its line");
    return ir_.chars(negated ? set.negated() : set);
  }

  std::string_view text_;
  Ir& ir_;
  size_t at_ = 0;
  std::map<std::string, Rule, std::less<>> rules_;
};

}  // namespace

Result<RuleId> read_ebnf(std::string_view text, Ir& ir) { return Parser(text, ir).whole(); }

}  // namespace cairn::text::grammar
