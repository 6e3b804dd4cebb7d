#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <fmt/core.h>
#include <pcre2.h>

#include "text/recent.h"
#include "text/unicode.h"

namespace cairn::text {
namespace {

constexpr size_t kLongestPattern = 1 << 16;
constexpr uint32_t kMatchLimit = 20'000'000;
constexpr size_t kMostJitStack = size_t{32} << 20;
constexpr const char* kSpaces =
    "\\t-\\r\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
constexpr const char* kWords = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
constexpr const char* kHex = "0-9a-fA-F";

// What PCRE2 should read for the escape \c of Ruby, or empty when both agree.
std::string translate_escape(char c, bool in_class) {
  const char* set = c == 's' || c == 'S'   ? kSpaces
                    : c == 'w' || c == 'W' ? kWords
                    : c == 'h' || c == 'H' ? kHex
                                           : nullptr;
  if (!set) return {};
  const bool negated = c < 'a';
  if (in_class) return negated ? std::string() : set;
  return std::string(negated ? "[^" : "[") + set + "]";
}

// The escape \p{L} or \P{L} at p[i] == 'p' or 'P', widened by the code points that PCRE2 may be too old for.
// Leaves i at its last character.
std::string translate_property(std::string_view p, size_t& i, bool in_class) {
  const bool braced = i + 1 < p.size() && p[i + 1] == '{';
  const size_t close = braced ? p.find('}', i) : i + 1;
  if (close >= p.size()) return "\\" + std::string(1, p[i]);  // PCRE2 reports it
  const bool negated = p[i] == 'P';
  const std::string_view name = braced ? p.substr(i + 2, close - i - 2) : p.substr(i + 1, 1);
  const std::string plain = "\\" + std::string(p.substr(i, close + 1 - i));
  i = close;
  std::string set = "\\p{" + std::string(name) + "}";
  for (const RecentRange& r : recent_ranges())
    if (!name.empty() && std::string_view(r.category).starts_with(name))
      set += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", uint32_t{r.first}, uint32_t{r.last});
  if (in_class) return negated ? plain : set;
  return std::string(negated ? "[^" : "[") + set + "]";
}

Result<std::string> to_pcre(std::string_view p) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < p.size(); ++i) {
    const char c = p[i];
    if (c == '\\' && i + 1 < p.size()) {
      const char escaped = p[++i];
      if (escaped == 'u' && i + 4 < p.size()) {
        out += "\\x{" + std::string(p.substr(i + 1, 4)) + "}";
        i += 4;
      } else if (escaped == 'p' || escaped == 'P') {
        out += translate_property(p, i, in_class);
      } else if (const std::string t = translate_escape(escaped, in_class); !t.empty()) {
        out += t;
      } else {
        out += c, out += escaped;
      }
    } else if (in_class) {
      if (c == '[' && p.substr(i, 2) == "[:") {
        const size_t close = p.find(":]", i);
        if (close == std::string_view::npos) return invalid("character class without an end");
        out += p.substr(i, close + 2 - i);
        i = close + 1;
        continue;
      }
      if (c == '[' || p.substr(i, 2) == "&&")
        return failure(cairn::Code::kUnsupported, "nested character classes are not supported");
      in_class = c != ']';
      out += c;
    } else if (c == '[') {
      in_class = true;
      out += c;
      if (i + 1 < p.size() && p[i + 1] == '^') out += p[++i];
      if (i + 1 < p.size() && p[i + 1] == ']') out += "\\]", ++i;  // a ']' that comes first is itself
    } else if (c == '{' && i + 2 < p.size() && p[i + 1] == ',' && p[i + 2] >= '0' && p[i + 2] <= '9') {
      out += "{0";
    } else {
      out += c;
    }
  }
  return out;
}

std::string message(int code) {
  PCRE2_UCHAR text[128];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

// One per thread: room for the JIT's backtracking and for the match.
struct Room {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(size_t{32} << 10, kMostJitStack, nullptr);
  Room() {
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Room() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
};

}  // namespace

struct Pattern::Code {
  pcre2_code* code;
  explicit Code(pcre2_code* c) : code(c) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
};

Pattern Pattern::literal(std::string text) {
  Pattern p;
  p.literal_ = std::move(text);
  return p;
}

Result<Pattern> Pattern::regex(std::string_view expression) {
  if (expression.size() > kLongestPattern) return invalid("regular expression longer than 64 KiB");
  const std::string translated = TRY(to_pcre(expression));
  int code = 0;
  size_t at = 0;
  pcre2_code* compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at, nullptr);
  if (!compiled) return invalid("regular expression " + std::string(expression) + ": " + message(code));
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // without a JIT the interpreter runs it
  Pattern p;
  p.code_ = std::make_shared<const Code>(compiled);
  return p;
}

Result<Pattern> Pattern::from_json(const Json& j) {
  if (const auto* s = j.as_string()) return literal(*s);
  if (const Json* s = j.find("String"); s && s->as_string()) return literal(*s->as_string());
  if (const Json* s = j.find("Regex"); s && s->as_string()) return regex(*s->as_string());
  return corrupt("a pattern must hold \"String\" or \"Regex\"");
}

Result<void> Pattern::find_all(std::string_view text, std::vector<Match>& out) const {
  if (!code_) {
    if (literal_.empty()) return {};
    for (size_t at = 0; (at = text.find(literal_, at)) != std::string_view::npos; at += literal_.size())
      out.push_back({at, at + literal_.size()});
    return {};
  }
  thread_local Room room;
  size_t from = 0, last_end = std::string_view::npos;
  while (from <= text.size()) {
    const int n = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                              PCRE2_NO_UTF_CHECK, room.data, room.context);
    if (n == PCRE2_ERROR_NOMATCH) return {};
    if (n < 0) return failure(cairn::Code::kExhausted, "regular expression gave up: " + message(n));
    const size_t* found = pcre2_get_ovector_pointer(room.data);
    const size_t begin = found[0], end = found[1];
    if (begin > end || begin < from)
      return failure(cairn::Code::kUnsupported, "regular expression moves its match backwards");
    if (begin == end && begin == last_end) {  // no empty match right after another one
      if (from >= text.size()) return {};
      from += code_point_at(text, from).size;
      continue;
    }
    out.push_back({begin, end});
    from = last_end = end;
  }
  return {};
}

}  // namespace cairn::text
