// Numbers within bounds, as texts: JsonParts::integer and number.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "text/grammar/json_parts.h"

namespace cairn::text::grammar {
namespace {

constexpr int64_t kMostInteger = 999'999'999'999'999'999;  // 18 digits
constexpr int64_t kSaturated = 900'000'000'000'000'000;    // ten times as much still fits
constexpr int64_t kMostDecimal = 999'999'999'999'999;      // 15: any two differ as doubles
constexpr size_t kDecimals = 2, kMostDecimals = 6;

int64_t power_of_ten(size_t n) {
  int64_t p = 1;
  while (n-- > 0) p *= 10;
  return p;
}

// mantissa * 10^exponent, as the shortest text that reads back as the same number says.
struct Decimal {
  int64_t mantissa = 0;
  int exponent = 0;
};
Decimal decimal_of(const Json& number) {
  if (const auto* i = number.as_int()) return {*i, 0};
  const double x = number.number();
  if (std::fabs(x) >= 1e18) return {x < 0 ? -kMostInteger - 1 : kMostInteger + 1, 0};
  Decimal d;
  bool fraction = false, exponent = false, negative = false;
  int e = 0, sign = 1;
  for (const char c : fmt::format("{}", x)) {
    if (c == '-') {
      exponent ? sign = -1 : negative = true;
    } else if (c == '.') {
      fraction = true;
    } else if (c == 'e') {
      exponent = true;
    } else if (c >= '0' && c <= '9') {
      if (exponent) {
        e = e * 10 + (c - '0');
      } else {
        d.mantissa = d.mantissa * 10 + (c - '0');
        d.exponent -= fraction;
      }
    }
  }
  d.exponent += sign * e;
  while (d.mantissa != 0 && d.mantissa % 10 == 0 && d.exponent < 0) d.mantissa /= 10, ++d.exponent;
  if (negative) d.mantissa = -d.mantissa;
  return d;
}

// The bound times 10^decimals, rounded into the range and moved by one when it is exclusive and exact.
int64_t scaled(const Bound& bound, size_t decimals, bool low) {
  Decimal d = decimal_of(bound.value);
  d.exponent += static_cast<int>(decimals);
  bool exact = true;
  int64_t v = d.mantissa;
  for (; d.exponent > 0; --d.exponent) v = std::clamp(v, -kSaturated, kSaturated) * 10;
  if (d.exponent < -18) {
    exact = v == 0;
    v = low ? v > 0 : -(v < 0);
  } else if (d.exponent < 0) {
    const int64_t by = power_of_ten(static_cast<size_t>(-d.exponent));
    const int64_t cut = v / by;
    exact = cut * by == v;
    v = exact ? cut : low ? (v > 0 ? cut + 1 : cut) : (v < 0 ? cut - 1 : cut);
  }
  v = std::clamp(v, -kMostInteger - 1, kMostInteger + 1);
  return bound.exclusive && exact ? v + (low ? 1 : -1) : v;
}

}  // namespace

NodeId JsonParts::digits(uint32_t count) { return ir_.repeat(ir_.chars({'0', '9'}), count, count); }

// Numbers of as many digits as both bounds have, with a point before the last `decimals`.
NodeId JsonParts::same_length(std::string_view low, std::string_view high, size_t decimals) {
  const size_t left = low.size();
  if (left == 0) return ir_.empty();
  if (low.find_first_not_of('0') == low.npos && high.find_first_not_of('9') == high.npos) {
    if (decimals == 0 || left <= decimals) return digits(static_cast<uint32_t>(left));
    return ir_.sequence(
        {digits(static_cast<uint32_t>(left - decimals)), ir_.literal("."), digits(static_cast<uint32_t>(decimals))});
  }
  const NodeId point = decimals > 0 && left == decimals + 1 ? ir_.literal(".") : ir_.empty();
  const std::string zeros(left - 1, '0'), nines(left - 1, '9');
  const auto from = [&](char first, char last, std::string_view rest_low, std::string_view rest_high) {
    return ir_.sequence({ir_.chars({static_cast<uint8_t>(first), static_cast<uint8_t>(last)}), point,
                         same_length(rest_low, rest_high, decimals)});
  };
  if (low[0] == high[0]) return from(low[0], low[0], low.substr(1), high.substr(1));
  std::vector<NodeId> options{from(low[0], low[0], low.substr(1), nines)};
  if (low[0] + 1 < high[0])
    options.push_back(from(static_cast<char>(low[0] + 1), static_cast<char>(high[0] - 1), zeros, nines));
  options.push_back(from(high[0], high[0], zeros, high.substr(1)));
  return ir_.choice(options);
}

// low to high, both at least 0, in units of the last of `decimals` places.
NodeId JsonParts::fixed(int64_t low, int64_t high, size_t decimals) {
  std::vector<NodeId> options;
  for (size_t size = decimals + 1; size <= 18; ++size) {
    const int64_t least = size == decimals + 1 ? 0 : power_of_ten(size - 1), most = power_of_ten(size) - 1;
    const int64_t from = std::max(low, least), to = std::min(high, most);
    if (from > to) continue;
    options.push_back(same_length(fmt::format("{:0{}}", from, size), fmt::format("{:0{}}", to, size), decimals));
  }
  return ir_.choice(options);
}

NodeId JsonParts::signed_fixed(int64_t low, int64_t high, size_t decimals) {
  std::vector<NodeId> options;
  if (high >= 0) options.push_back(fixed(std::max<int64_t>(low, 0), high, decimals));
  if (low < 0) options.push_back(ir_.sequence({ir_.literal("-"), fixed(std::max<int64_t>(-high, 1), -low, decimals)}));
  return ir_.choice(options);
}

// Integers whose remainder is 0, digit by digit.
NodeId JsonParts::multiples(int64_t of) {
  const auto count = static_cast<size_t>(of);
  std::vector<RuleId> at(count);
  for (auto& r : at) r = ir_.declare("multiple");
  const auto digit = [&](size_t remainder, size_t d) {
    return ir_.sequence(
        {ir_.literal(std::string(1, static_cast<char>('0' + d))), ir_.call(at[(remainder * 10 + d) % count])});
  };
  for (size_t r = 0; r < count; ++r) {
    std::vector<NodeId> options;
    if (r == 0) options.push_back(ir_.empty());
    for (size_t d = 0; d < 10; ++d) options.push_back(digit(r, d));
    ir_.define(at[r], ir_.choice(options));
  }
  std::vector<NodeId> first;
  for (size_t d = 0; d < 10; ++d) first.push_back(digit(0, d));
  return ir_.sequence({ir_.optional(ir_.literal("-")), ir_.choice(first)});
}

NodeId JsonParts::integer(const NumberRange& range) {
  const int64_t most = range.multiple_of == 1 ? kMostInteger : kMostDecimal;  // remainders of doubles are exact
  const int64_t low = range.low ? std::max(scaled(*range.low, 0, true), -most) : -most;
  const int64_t high = range.high ? std::min(scaled(*range.high, 0, false), most) : most;
  if (low > high) return ir_.never();
  const NodeId within = signed_fixed(low, high, 0);
  return range.multiple_of == 1 ? within : ir_.both(within, multiples(range.multiple_of));
}

NodeId JsonParts::number(const NumberRange& range) {
  if (range.multiple_of != 1) return integer(range);
  if (!range.low && !range.high) {
    const NodeId sign = ir_.optional(ir_.literal("-")), digit = ir_.chars({'0', '9'});
    const NodeId whole =
        ir_.choice({ir_.literal("0"), ir_.sequence({ir_.chars({'1', '9'}), ir_.repeat(digit, 0, 17)})});
    const NodeId fraction = ir_.sequence({ir_.literal("."), ir_.repeat(digit, 1, 17)});
    const NodeId exponent = ir_.sequence(
        {ir_.chars(CharSet::of("eE")), ir_.optional(ir_.chars(CharSet::of("+-"))), ir_.repeat(digit, 1, 2)});
    return ir_.sequence({sign, whole, ir_.optional(fraction), ir_.optional(exponent)});
  }
  size_t places = kDecimals;
  for (const auto& b : {range.low, range.high})
    if (b)
      places = std::max(places, static_cast<size_t>(std::clamp(-decimal_of(b->value).exponent, 0, int{kMostDecimals})));
  std::vector<NodeId> options{integer(range)};
  for (size_t d = 1; d <= places; ++d) {
    const int64_t low = range.low ? std::max(scaled(*range.low, d, true), -kMostDecimal) : -kMostDecimal;
    const int64_t high = range.high ? std::min(scaled(*range.high, d, false), kMostDecimal) : kMostDecimal;
    if (low <= high) options.push_back(signed_fixed(low, high, d));
  }
  return ir_.choice(options);
}

}  // namespace cairn::text::grammar
