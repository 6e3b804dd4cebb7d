// Python's numbers: how they are written and read. Integers beyond 64 bits are errors, where Python has no bound.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::text::jinja {

class Run;
class Value;

std::string float_text(double v);                 // repr(float): "1.0", "1e+20", "nan"
std::string fixed_text(double v, int precision);  // rounded correctly; v is finite
std::string exponent_text(double v, int precision);
std::string general_text(double v, int precision, bool keep_zeros);

// int("..."), float("..."): white space around, underscores between digits, for base 16, 8, 2 and 0 a prefix.
std::optional<int64_t> parse_int(std::string_view s, int64_t base);
std::optional<double> parse_float(std::string_view s);

double python_round(double v, int64_t digits);
// The integer that float v is, or fails.
int64_t whole(Run& run, double v);

// a OP b for + - * / // % **, of integers, booleans and floats.
Value arithmetic(Run& run, std::string_view op, const Value& a, const Value& b);

}  // namespace cairn::text::jinja
