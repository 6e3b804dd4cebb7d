// Python's two ways to format: "%5.1f" % x and "{:>5}".format(x).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja/library.h"
#include "text/jinja/numbers.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace cairn::text::jinja {
namespace {

constexpr int64_t kMostDigits = 1000;  // of a precision

// One field: "[fill]align sign # 0 width , .precision type", or printf's flags put into the same terms.
struct Spec {
  std::string fill = " ";
  char align = '\0';  // < > ^ =
  char sign = '-';
  bool alternate = false;
  char grouping = '\0';
  int64_t width = 0, precision = -1;
  char type = '\0';
};

void pad(Builder& out, const Spec& spec, std::string_view sign, std::string_view body, char otherwise) {
  const char align = spec.align ? spec.align : otherwise;
  const int64_t room = spec.width - static_cast<int64_t>(length(sign) + length(body));
  const int64_t left = align == '<' || align == '=' ? 0 : align == '^' ? room / 2 : room;
  if (room > 0) out.repeat(spec.fill, left);
  out.add(sign);
  if (align == '=') out.repeat(spec.fill, room);
  out.add(body);
  if (room > 0 && align != '=') out.repeat(spec.fill, room - left);
}

std::string grouped(std::string digits, char separator) {
  if (!separator) return digits;
  const size_t end = std::min(digits.find_first_not_of("0123456789"), digits.size());
  for (size_t at = end; at > 3;) digits.insert(at -= 3, 1, separator);
  return digits;
}

std::string sign_of(const Spec& spec, bool negative) {
  return negative ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
}

void integer(Run& run, Builder& out, const Spec& spec, int64_t v) {
  const auto size = v < 0 ? ~static_cast<uint64_t>(v) + 1 : static_cast<uint64_t>(v);
  std::string body, prefix;
  switch (spec.type) {
    case 'x':
      body = fmt::format("{:x}", size), prefix = "0x";
      break;
    case 'X':
      body = fmt::format("{:X}", size), prefix = "0X";
      break;
    case 'o':
      body = fmt::format("{:o}", size), prefix = "0o";
      break;
    case 'b':
      body = fmt::format("{:b}", size), prefix = "0b";
      break;
    case '\0':
    case 'd':
    case 'i':
    case 'u':
    case 'n':
      body = grouped(std::to_string(size), spec.grouping);
      break;
    default:
      run.fail(fmt::format("an integer has no format '{}'", spec.type));
  }
  if (spec.precision > static_cast<int64_t>(body.size()))  // printf's least number of digits
    body.insert(0, static_cast<size_t>(spec.precision) - body.size(), '0');
  pad(out, spec, sign_of(spec, v < 0) + (spec.alternate ? prefix : ""), body, '>');
}

void real(Run& run, Builder& out, const Spec& spec, double v) {
  const auto precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
  const char type = static_cast<char>(spec.type | 0x20);
  const double size = std::fabs(v);
  std::string body;
  if (!std::isfinite(v)) {
    body = std::isnan(v) ? "nan" : "inf";
  } else if (spec.type == '%') {
    body = fixed_text(size * 100, precision);
  } else if (type == 'f') {
    body = fixed_text(size, precision);
  } else if (type == 'e') {
    body = exponent_text(size, precision);
  } else if (type == 'g' || type == 'n') {
    body = general_text(size, precision, spec.alternate);
  } else if (spec.type == '\0') {
    body = spec.precision < 0 ? float_text(size) : general_text(size, precision, false);
    if (spec.precision >= 0 && body.find_first_of(".e") == body.npos) body += ".0";
  } else {
    run.fail(fmt::format("a float has no format '{}'", spec.type));
  }
  if (spec.alternate && body.find('.') == body.npos && std::isfinite(v)) body += '.';
  if (spec.type >= 'A' && spec.type <= 'Z')
    for (char& c : body) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  body = grouped(std::move(body), spec.grouping);
  if (spec.type == '%') body += '%';
  pad(out, spec, sign_of(spec, std::signbit(v) && !std::isnan(v)), body, '>');
}

void string(Builder& out, const Spec& spec, std::string_view s) {
  if (spec.precision >= 0) s = s.substr(0, offset_of(s, static_cast<size_t>(spec.precision)));
  pad(out, spec, {}, s, '<');
}

// repr() with everything outside ASCII escaped.
std::string ascii(std::string_view repr) {
  std::string out;
  for (size_t at = 0; at < repr.size();) {
    const CodePoint c = code_point_at(repr, at);
    const auto n = static_cast<uint32_t>(c.value);
    out += n < 0x80      ? std::string(1, static_cast<char>(n))
           : n < 0x100   ? fmt::format("\\x{:02x}", n)
           : n < 0x10000 ? fmt::format("\\u{:04x}", n)
                         : fmt::format("\\U{:08x}", n);
    at += c.size;
  }
  return out;
}

std::string converted(Run& run, const Value& v, char conversion) {
  if (conversion == 's') return text_of(run, v);
  const std::string r = repr_of(run, v);
  return conversion == 'a' ? ascii(r) : r;
}

int64_t number_at(Run& run, std::string_view s, size_t& at, int64_t otherwise) {
  int64_t out = 0;
  const size_t begin = at;
  for (; at < s.size() && s[at] >= '0' && s[at] <= '9'; ++at) {
    if (out > 100'000'000) run.fail("a width or precision is too large");
    out = out * 10 + (s[at] - '0');
  }
  return at == begin ? otherwise : out;
}

class Percent {
 public:
  Percent(Run& run, std::string_view format, const Value& arguments) : run_(run), f_(format), out_(run) {
    const auto* s = arguments.as_sequence();
    if (s && s->tuple())
      values_ = s->items;
    else
      values_.push_back(arguments);
    dict_ = arguments.as_dict();
    open_ended_ = dict_ || arguments.is_undefined() || (s && s->kind == Sequence::Kind::kList);
  }

  std::string text() {
    for (size_t at = 0; at < f_.size();) {
      const size_t next = std::min(f_.find('%', at), f_.size());
      out_.add(f_.substr(at, next - at));
      if (next == f_.size()) break;
      at = next + 1;
      field(at);
    }
    if (used_ < values_.size() && !open_ended_) run_.fail("not all arguments of '%' were used by the format");
    return out_.take();
  }

 private:
  const Value& take() {
    if (used_ == values_.size()) run_.fail("the format needs more arguments");
    return values_[used_++];
  }

  int64_t size_at(size_t& at, int64_t otherwise) {
    if (at >= f_.size() || f_[at] != '*') return number_at(run_, f_, at, otherwise);
    ++at;
    return integer_argument(run_, &take(), "a width or precision", 0);
  }

  void field(size_t& at) {
    Spec spec;
    const Value* named = nullptr;
    if (at < f_.size() && f_[at] == '(') {
      const size_t end = f_.find(')', at);
      if (end == f_.npos || !dict_) run_.fail("'%(name)s' needs a dict, and the bracket its end");
      named = dict_->find(f_.substr(at + 1, end - at - 1));
      if (!named)
        run_.fail(fmt::format("the format asks for '{}', which is not given", f_.substr(at + 1, end - at - 1)));
      at = end + 1;
    }
    bool zero = false;
    for (; at < f_.size() && std::string_view("-+ #0").find(f_[at]) != std::string_view::npos; ++at) {
      if (f_[at] == '-') spec.align = '<';
      if (f_[at] == '+' || (f_[at] == ' ' && spec.sign != '+')) spec.sign = f_[at];
      if (f_[at] == '#') spec.alternate = true;
      if (f_[at] == '0') zero = true;
    }
    spec.width = size_at(at, 0);
    if (spec.width < 0)
      spec.align = '<', spec.width = spec.width < -kMostDigits * 1000 ? kMostDigits * 1000 : -spec.width;
    if (at < f_.size() && f_[at] == '.') spec.precision = std::max<int64_t>(size_at(++at, 0), 0);
    while (at < f_.size() && (f_[at] == 'l' || f_[at] == 'h' || f_[at] == 'L')) ++at;
    if (at >= f_.size()) run_.fail("the format ends inside a field");
    spec.type = f_[at++];
    if (spec.type == '%') return out_.add('%');
    write(spec, zero, named ? *named : take());
  }

  void write(Spec spec, bool zero, const Value& v) {
    if (spec.type == 's' || spec.type == 'r' || spec.type == 'a') {
      if (!spec.align) spec.align = '>';
      return string(out_, spec, converted(run_, v, spec.type));
    }
    if (spec.type == 'c') {
      if (!spec.align) spec.align = '>';
      if (v.as_text() && length(v.as_text()->view()) == 1) return string(out_, spec, v.as_text()->view());
      std::string c;
      const int64_t code = integer_argument(run_, &v, "'%c'", 0);
      if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) run_.fail("'%c' takes one character");
      append_utf8(c, static_cast<char32_t>(code));
      return string(out_, spec, c);
    }
    if (spec.precision > kMostDigits) run_.fail(fmt::format("a precision above {} is refused", kMostDigits));
    if (zero && !spec.align) spec.align = '=', spec.fill = "0";
    double d = 0;
    int64_t i = 0;
    run_.need_defined(v);
    if (!v.number(d)) run_.fail(fmt::format("'%{}' needs a number, not {}", spec.type, v.type()));
    if (std::string_view("fFeEgG").find(spec.type) != std::string_view::npos) return real(run_, out_, spec, d);
    if (std::string_view("diuoxX").find(spec.type) == std::string_view::npos)
      run_.fail(fmt::format("unknown format '%{}'", spec.type));
    if (!v.integer(i)) {
      if (std::string_view("diu").find(spec.type) == std::string_view::npos)
        run_.fail(fmt::format("'%{}' needs an integer, not float", spec.type));
      i = whole(run_, std::trunc(d));
    }
    integer(run_, out_, spec, i);
  }

  Run& run_;
  std::string_view f_;
  Builder out_;
  std::vector<Value> values_;
  const Dict* dict_ = nullptr;
  bool open_ended_ = false;
  size_t used_ = 0;
};

class Braces {
 public:
  Braces(Run& run, const Arguments& arguments) : run_(run), a_(arguments) {}

  std::string text(std::string_view f, int depth) {
    Builder out(run_);
    if (depth > 2) run_.fail("the fields of a format nest too deeply");
    for (size_t at = 0; at < f.size();) {
      const size_t next = std::min(f.find_first_of("{}", at), f.size());
      out.add(f.substr(at, next - at));
      if (next == f.size()) break;
      at = next + 1;
      if (at < f.size() && f[at] == f[next]) {
        out.add(f[at++]);
      } else if (f[next] == '}') {
        run_.fail("a single '}' in the format");
      } else {
        field(out, f, at, depth);
      }
    }
    return out.take();
  }

 private:
  void field(Builder& out, std::string_view f, size_t& at, int depth) {
    const size_t begin = at;
    int open = 1;
    while (at < f.size() && open > 0) open += f[at] == '{' ? 1 : f[at] == '}' ? -1 : 0, ++at;
    if (open > 0) run_.fail("a '{' of the format has no end");
    std::string_view inside = f.substr(begin, at - begin - 1), spec;
    const size_t colon = inside.find(':', inside.starts_with('[') ? inside.find(']') : 0);
    if (colon != inside.npos) spec = inside.substr(colon + 1), inside = inside.substr(0, colon);
    char conversion = '\0';
    if (inside.size() > 1 && inside[inside.size() - 2] == '!') {
      conversion = inside.back();
      inside.remove_suffix(2);
      if (conversion != 's' && conversion != 'r' && conversion != 'a')
        run_.fail(fmt::format("unknown conversion '!{}' in the format", conversion));
    }
    Value v = look_up(inside);
    if (conversion) v = run_.text(converted(run_, v, conversion));
    write(out, v, text(spec, depth + 1));
  }

  Value look_up(std::string_view name) {
    const size_t end = std::min(name.find_first_of(".["), name.size());
    Value v = argument(name.substr(0, end));
    for (size_t at = end; at < name.size();) {
      if (name[at] == '.') {
        const size_t stop = std::min(name.find_first_of(".[", at + 1), name.size());
        v = attribute(run_, v, name.substr(at + 1, stop - at - 1));
        at = stop;
      } else {
        const size_t stop = name.find(']', at);
        if (name[at] != '[' || stop == name.npos) run_.fail("a '[' of the format has no end");
        const auto key = name.substr(at + 1, stop - at - 1);
        const auto index = parse_int(key, 10);
        v = item(run_, v, index ? Value(*index) : run_.text(std::string(key)));
        at = stop + 1;
      }
    }
    return v;
  }

  Value argument(std::string_view name) {
    const auto index = name.empty() ? std::optional<int64_t>(static_cast<int64_t>(next_++)) : parse_int(name, 10);
    if (index) {
      if (*index < 0 || static_cast<size_t>(*index) >= a_.positional.size())
        run_.fail("the format asks for more arguments than are given");
      return a_.positional[static_cast<size_t>(*index)];
    }
    for (const auto& [n, v] : a_.named)
      if (n == name) return v;
    run_.fail(fmt::format("the format asks for '{}', which is not given", name));
  }

  Spec parsed(std::string_view s) {
    Spec spec;
    size_t at = 0;
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    const size_t first = s.empty() ? 0 : code_point_at(s, 0).size;
    if (first < s.size() && is_align(s[first]))
      spec.fill = s.substr(0, first), spec.align = s[first], at = first + 1;
    else if (!s.empty() && is_align(s[0]))
      spec.align = s[0], at = 1;
    if (at < s.size() && (s[at] == '+' || s[at] == '-' || s[at] == ' ')) spec.sign = s[at++];
    if (at < s.size() && s[at] == '#') spec.alternate = true, ++at;
    if (at < s.size() && s[at] == '0') {
      ++at;
      if (!spec.align) spec.fill = "0", spec.align = '=';
    }
    spec.width = number_at(run_, s, at, 0);
    if (at < s.size() && (s[at] == ',' || s[at] == '_')) spec.grouping = s[at++];
    if (at < s.size() && s[at] == '.') {
      spec.precision = number_at(run_, s, ++at, -1);
      if (spec.precision < 0) run_.fail("the format lacks its precision");
    }
    if (at < s.size()) spec.type = s[at++];
    if (at < s.size()) run_.fail(fmt::format("the format '{}' is not understood", s));
    return spec;
  }

  void write(Builder& out, const Value& v, const std::string& format) {
    if (format.empty()) return out.add(text_of(run_, v));
    Spec spec = parsed(format);
    int64_t i = 0;
    double d = 0;
    const bool fractional = std::string_view("fFeEgG%").find(spec.type) != std::string_view::npos && spec.type;
    if (!v.as_text() && spec.precision > kMostDigits)
      run_.fail(fmt::format("a precision above {} is refused", kMostDigits));
    if (v.integer(i) && !fractional) {
      if (spec.precision >= 0) run_.fail("an integer takes no precision in a format");
      return integer(run_, out, spec, i);
    }
    if (v.number(d)) return real(run_, out, spec, d);
    if (!v.as_text()) run_.fail(fmt::format("a value of type '{}' takes no format", v.type()));
    if ((spec.type && spec.type != 's') || spec.align == '=' || spec.sign != '-' || spec.grouping)
      run_.fail(fmt::format("the format '{}' is not for texts", format));
    string(out, spec, v.as_text()->view());
  }

  Run& run_;
  const Arguments& a_;
  size_t next_ = 0;
};

}  // namespace

Value format_percent(Run& run, const Text& format, const Value& arguments) {
  run.scan(format.view().size());
  return run.text(Percent(run, format.view(), arguments).text(), format.markup);
}

Value format_braces(Run& run, const Text& format, const Arguments& arguments) {
  run.scan(format.view().size());
  return run.text(Braces(run, arguments).text(format.view(), 0), format.markup);
}

}  // namespace cairn::text::jinja
