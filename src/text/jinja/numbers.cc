#include "text/jinja/numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/python_text.h"
#include "text/jinja/run.h"

namespace cairn::text::jinja {
namespace {

std::string chars(double v, std::chars_format format, int precision) {
  std::string out(static_cast<size_t>(std::max(precision, 0)) + 340, '\0');
  const auto end = std::to_chars(out.data(), out.data() + out.size(), v, format, precision);
  out.resize(static_cast<size_t>(end.ptr - out.data()));
  return out;
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  return c >= 'A' && c <= 'Z' ? c - 'A' + 10 : 99;
}

int64_t floor_divide(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

double python_mod(double a, double b) {
  double m = std::fmod(a, b);
  if (m == 0) return std::copysign(0.0, b);
  return (b < 0) != (m < 0) ? m + b : m;
}

[[noreturn]] void overflow(Run& run) { run.fail("an integer leaves the range of 64 bits"); }

Value integer_power(Run& run, int64_t base, int64_t exponent) {
  int64_t out = 1;
  while (exponent > 0) {
    if ((exponent & 1) && __builtin_mul_overflow(out, base, &out)) overflow(run);
    exponent >>= 1;
    if (exponent && __builtin_mul_overflow(base, base, &base)) overflow(run);
  }
  return out;
}

Value integers(Run& run, std::string_view op, int64_t a, int64_t b) {
  int64_t out = 0;
  if ((op == "/" || op == "//" || op == "%") && b == 0) run.fail("division by zero");
  if (op == "/") return static_cast<double>(a) / static_cast<double>(b);
  if (op == "**" && b >= 0) return integer_power(run, a, b);
  if (op == "**" && a == 0) run.fail("zero to a negative power");
  if (op == "**") return std::pow(static_cast<double>(a), static_cast<double>(b));
  if ((op == "//" || op == "%") && b == -1) {
    if (op == "%") return 0;
    if (__builtin_sub_overflow(int64_t{0}, a, &out)) overflow(run);
    return out;
  }
  if (op == "//") return floor_divide(a, b);
  if (op == "%") return a - floor_divide(a, b) * b;
  const bool over = op == "+"   ? __builtin_add_overflow(a, b, &out)
                    : op == "-" ? __builtin_sub_overflow(a, b, &out)
                                : __builtin_mul_overflow(a, b, &out);
  if (over) overflow(run);
  return out;
}

}  // namespace

std::string float_text(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  const double size = std::fabs(v);
  std::array<char, 40> buffer{};
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v, format);
  std::string out(buffer.data(), end.ptr);
  return plain && out.find('.') == std::string::npos ? out + ".0" : out;
}

std::string fixed_text(double v, int precision) { return chars(v, std::chars_format::fixed, precision); }
std::string exponent_text(double v, int precision) { return chars(v, std::chars_format::scientific, precision); }

std::string general_text(double v, int precision, bool keep_zeros) {
  precision = std::max(precision, 1);
  const std::string e = exponent_text(v, precision - 1);
  const int exponent = std::stoi(e.substr(e.find('e') + 1));
  if (!keep_zeros) return chars(v, std::chars_format::general, precision);
  return exponent < -4 || exponent >= precision ? e : fixed_text(v, precision - 1 - exponent);
}

std::optional<int64_t> parse_int(std::string_view s, int64_t base) {
  s = strip(s, Side::kBoth);
  const bool negative = s.starts_with('-');
  if (s.starts_with('-') || s.starts_with('+')) s.remove_prefix(1);
  bool digits = false;  // whether an underscore may come
  if (s.size() > 1 && s[0] == '0') {
    const int prefix = s[1] == 'x' || s[1] == 'X'   ? 16
                       : s[1] == 'o' || s[1] == 'O' ? 8
                       : s[1] == 'b' || s[1] == 'B' ? 2
                                                    : 0;
    if (prefix && (base == 0 || base == prefix)) {
      base = prefix;
      s.remove_prefix(2);
      digits = true;
    }
  }
  const bool guess = base == 0;
  if (guess) base = 10;
  if (base < 2 || base > 36 || s.empty()) return {};
  int64_t out = 0;
  bool any = false;
  for (const char c : s) {
    if (c == '_') {
      if (!digits) return {};
      digits = false;
      continue;
    }
    const int d = digit(c);
    if (d >= base) return {};
    if (guess && any && out == 0 && d != 0) return {};  // 010 is no literal
    if (__builtin_mul_overflow(out, base, &out) ||
        (negative ? __builtin_sub_overflow(out, d, &out) : __builtin_add_overflow(out, d, &out)))
      return {};
    digits = any = true;
  }
  if (!digits || !any) return {};
  return out;
}

std::optional<double> parse_float(std::string_view s) {
  s = strip(s, Side::kBoth);
  std::string plain;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '_') {
      plain += s[i];
    } else if (i == 0 || i + 1 == s.size() || digit(s[i - 1]) > 9 || digit(s[i + 1]) > 9) {
      return {};
    }
  }
  std::string_view p = plain;
  const bool negative = p.starts_with('-');
  if (negative || p.starts_with('+')) p.remove_prefix(1);
  const bool named = lower(p) == "inf" || lower(p) == "infinity" || lower(p) == "nan";
  if (p.empty() || (digit(p[0]) > 9 && p[0] != '.' && !named)) return {};
  double out = 0;
  const auto end = std::from_chars(p.data(), p.data() + p.size(), out);
  if (end.ptr != p.data() + p.size()) return {};
  if (end.ec == std::errc::result_out_of_range) out = out > 1 || p.find("e-") == p.npos ? HUGE_VAL : 0.0;
  return negative ? -out : out;
}

double python_round(double v, int64_t digits) {
  if (!std::isfinite(v) || v == 0 || digits > 323) return v;
  if (digits < -308) return std::copysign(0.0, v);
  if (digits >= 0) return std::strtod(fixed_text(v, static_cast<int>(digits)).c_str(), nullptr);
  const double unit = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(v / unit) * unit;
}

int64_t whole(Run& run, double v) {
  if (!(v >= -9.2e18 && v <= 9.2e18)) run.fail("a float is too large, or no number, to become an integer");
  return static_cast<int64_t>(v);
}

Value arithmetic(Run& run, std::string_view op, const Value& a, const Value& b) {
  int64_t i = 0, j = 0;
  if (a.integer(i) && b.integer(j)) return integers(run, op, i, j);
  double x = 0, y = 0;
  a.number(x), b.number(y);
  if ((op == "/" || op == "//" || op == "%") && y == 0) run.fail("division by zero");
  if (op == "+") return x + y;
  if (op == "-") return x - y;
  if (op == "*") return x * y;
  if (op == "/") return x / y;
  if (op == "%") return python_mod(x, y);
  if (op == "//") {
    const double m = python_mod(x, y);
    const double q = (x - m) / y, whole_q = std::floor(q);
    return q - whole_q > 0.5 ? whole_q + 1 : whole_q;
  }
  if (x == 0 && y < 0) run.fail("zero to a negative power");
  if (x < 0 && y != std::floor(y)) run.fail("a negative number to a broken power");
  const double p = std::pow(x, y);
  if (std::isinf(p) && std::isfinite(x) && std::isfinite(y)) run.fail("the power is too large");
  return p;
}

}  // namespace cairn::text::jinja
