// Alternatives of a schema: Schemas::ways, anyOf and oneOf.
#include <fmt/core.h>

#include <algorithm>

#include "text/grammar/json_keywords.h"
#include "text/grammar/json_shape.h"

namespace cairn::text::grammar {
namespace {

constexpr size_t kMostWays = 256;
constexpr int kDeepestProof = 6;  // levels of objects that are looked into to tell two options apart
constexpr size_t kMostSteps = 200'000;

}  // namespace

Result<void> Schemas::spend() const {
  if (++steps_ > kMostSteps)
    return failure(Code::kExhausted, "JSON schema: its anyOf, oneOf, allOf and references give too many combinations");
  return {};
}

Result<std::vector<Shape>> Schemas::ways(const Conjunction& all, int depth) const {
  Merge m;
  for (const Place& p : all) TRY_VOID(read(m, p));
  std::vector<Shape> out;
  TRY_VOID(expand(std::move(m), depth, out));
  return out;
}

// The first choice that waits is made in every way.
Result<void> Schemas::expand(Merge m, int depth, std::vector<Shape>& out) const {
  TRY_VOID(spend());
  if (m.shape.never) return {};
  if (m.choices.empty()) {
    if (out.size() >= kMostWays)
      return failure(Code::kExhausted,
                     fmt::format("JSON schema: anyOf and oneOf give more than {} combinations", kMostWays));
    out.push_back(std::move(m.shape));
    return {};
  }
  const Choice choice = std::move(m.choices.front());
  m.choices.erase(m.choices.begin());
  std::vector<std::pair<size_t, size_t>> ranges;  // of `out`, by option
  for (size_t i = 0; i < choice.options->size(); ++i) {
    Merge option = m;
    option.inside = choice.inside;
    TRY_VOID(read(option, {&(*choice.options)[i], fmt::format("{}/{}", choice.path, i)}));
    const size_t from = out.size();
    TRY_VOID(expand(std::move(option), depth, out));
    ranges.emplace_back(from, out.size());
  }
  if (!choice.one) return {};
  // A value must not be valid under two options: each text is checked against its own only.
  for (size_t i = 0; i < ranges.size(); ++i)
    for (size_t j = i + 1; j < ranges.size(); ++j)
      for (size_t x = ranges[i].first; x < ranges[i].second; ++x)
        for (size_t y = ranges[j].first; y < ranges[j].second; ++y)
          if (!TRY(disjoint(out[x], out[y], depth)))
            return failure(
                Code::kUnsupported,
                fmt::format("JSON schema, {}: a value may match both option {} and option {}; give them types "
                            "or a required property with a const that tells them apart, or use anyOf",
                            choice.path, i, j));
  return {};
}

// Whether it is certain that no value fits both, as JSON schema means them.
Result<bool> Schemas::disjoint(const Shape& a, const Shape& b, int depth) const {
  TRY_VOID(spend());
  const auto types = [](const Shape& s) {
    if (!s.values) return s.types;
    uint8_t bits = 0;
    for (const Json& v : *s.values) bits |= type_of(v);
    return static_cast<uint8_t>(bits & s.types);
  };
  const int common = types(a) & types(b);
  if (common == 0) return true;
  if (a.values && b.values)
    return std::ranges::none_of(*a.values, [&](const Json& v) {
      return std::ranges::any_of(*b.values, [&](const Json& w) { return same_value(v, w); });
    });
  if (common != kObject || a.values || b.values || depth >= kDeepestProof) return false;
  for (const auto& [x, y] : {std::pair{&a, &b}, std::pair{&b, &a}})
    for (const std::string& key : x->required) {
      const auto here = x->member(key), there = y->member(key);
      if (!here || !there) return true;
      const auto ours = TRY(ways(*here, depth + 1)), theirs = TRY(ways(*there, depth + 1));
      bool apart = true;
      for (const Shape& s : ours)
        for (const Shape& t : theirs) apart = apart && TRY(disjoint(s, t, depth + 1));
      if (apart) return true;
    }
  return false;
}

}  // namespace cairn::text::grammar
