#include "diffusion/cache/mask.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <map>

namespace cairn::diffusion {
namespace {

using testing::HasSubstr;

constexpr std::array kPolicies = {"slow", "medium", "fast", "ultra"};

std::string text(const Mask& mask) {
  std::string out;
  for (int64_t m : mask) out += static_cast<char>('0' + m);
  return out;
}

// Measured on cache-dit 1.5.0.
const std::map<int64_t, std::array<const char*, 4>> kTable = {
    {4, {"1101", "1101", "1101", "1101"}},
    {6, {"111001", "111001", "111001", "111001"}},
    {8, {"11111011", "11110101", "11101001", "11001001"}},
    {9, {"111110111", "111110101", "111101001", "111001001"}},
    {10, {"1111011111", "1111011011", "1110100101", "1101001001"}},
    {12, {"111101101111", "111101101001", "111010010011", "110100100011"}},
    {15, {"111101101101101", "111101101001001", "111010010010001", "110100100010001"}},
    {16, {"1111111101110011", "1111110110001001", "1111100000000001", "1100000000000001"}},
    {20, {"11111111011100111001", "11111101100011000101", "11111101000000000001", "11110000000000000001"}},
    {25,
     {"1111111101110011100110011", "1111110110001100011000111", "1111110100010000100000101",
      "1111001000001000000100001"}},
    {28,
     {"1111111101110011100110010001", "1111110110001100011000110001", "1111110100010000100000100001",
      "1111001000001000000100000001"}},
    {30,
     {"111111111111011100111001100101", "111111111011000110001100011001", "111111111010001000010000010001",
      "111111001000001000000100000001"}},
    {40,
     {"1111111111111001111100011111000110010001", "1111111111001110000011100000111000110001",
      "1111111111001100000110000001100000100001", "1111110001100000000110000000000100000001"}},
    {50,
     {"11111111111111111111110011111000111110001110001101", "11111111111111110011100000111000001110000011100001",
      "11111111111001100000110000000110000000001100000001", "11111110001100000000011000000000001100000000000001"}}};
const std::map<int64_t, std::array<int64_t, 4>> kComputed = {{60, {43, 35, 27, 20}}, {100, {71, 56, 38, 27}}};

TEST(NamedMask, EqualsCacheDitForEveryLengthOfTheTable) {
  for (const auto& [steps, rows] : kTable)
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(text(*named_mask(kPolicies[i], steps)), rows[i]) << steps;
  for (const auto& [steps, counts] : kComputed)
    for (size_t i = 0; i < counts.size(); ++i) {
      const auto mask = *named_mask(kPolicies[i], steps);
      EXPECT_EQ(mask.size(), static_cast<size_t>(steps));
      EXPECT_EQ(std::ranges::count(mask, int64_t{1}), counts[i]) << steps << kPolicies[i];
    }
}

TEST(NamedMask, HasTheRightLengthAndEndsWithAComputedStepForEveryLength) {
  for (int64_t steps = 8; steps <= 400; ++steps)
    for (const char* policy : kPolicies) {
      const auto mask = *named_mask(policy, steps);
      EXPECT_EQ(mask.size(), static_cast<size_t>(steps));
      EXPECT_EQ(mask.front() + mask.back(), 2);
    }
}

TEST(NamedMask, TakesFirstLettersForNames) {
  for (const char* policy : kPolicies) EXPECT_EQ(*named_mask(std::string(1, policy[0]), 28), *named_mask(policy, 28));
}

TEST(NamedMask, RefusesUnknownPoliciesAndLengths) {
  EXPECT_THAT(named_mask("fats", 28).error().what, HasSubstr("did you mean fast?"));
  EXPECT_FALSE(named_mask("", 28));
  for (int64_t steps : {-1, 0, 1, 2, 3, 5, 7})
    EXPECT_THAT(named_mask("fast", steps).error().what, HasSubstr("use 4, 6, 8"));
  EXPECT_FALSE(named_mask("fast", 1000000000));
}

TEST(BinnedMask, AlternatesRunsAndCutsThem) {
  EXPECT_EQ(text(*binned_mask({4, 2}, {1, 3})), "1111011000");
  EXPECT_EQ(text(*binned_mask({4, 2}, {1, 3}, 6)), "111101");
  EXPECT_EQ(text(*binned_mask({1, 1, 1}, {2})), "10011");
  EXPECT_EQ(text(*binned_mask({}, {2})), "00");
}

TEST(BinnedMask, RefusesRunsThatDoNotCoverTheSteps) {
  EXPECT_FALSE(binned_mask({4}, {1}, 6));
  EXPECT_FALSE(binned_mask({}, {}));
  EXPECT_FALSE(binned_mask({-1}, {3}));
  EXPECT_FALSE(binned_mask({1 << 30}, {3}));
}

}  // namespace
}  // namespace cairn::diffusion
