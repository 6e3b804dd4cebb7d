#include "text/stop.h"

#include <gmock/gmock.h>

#include <random>

#include "text/helpers.h"

namespace cairn::text {
namespace {

struct Outcome {
  std::string text, matched;
  bool stopped = false;
  bool operator==(const Outcome&) const = default;
};

Outcome run(const StopConfig& config, const std::vector<std::string>& pieces) {
  auto checker = value(StopChecker::make(config));
  Outcome out;
  for (const auto& p : pieces) {
    const auto got = value(checker.push(p));
    out.text += got.text;
    if (got.stopped) out.stopped = true, out.matched = got.matched;
  }
  out.text += checker.finish();
  return out;
}

TEST(StopChecker, TrimsAStopStringThatIsSplit) {
  const StopConfig config{.strings = {"\nUser:", "END"}};
  EXPECT_EQ(run(config, {"hello\n", "Us", "er: more"}), (Outcome{"hello", "\nUser:", true}));
  EXPECT_EQ(run(config, {"hello\n", "Us", "EN", "D"}), (Outcome{"hello\nUs", "END", true}));
  EXPECT_EQ(run(config, {"hello\nUse", "EN"}), (Outcome{"hello\nUseEN", "", false}));
  auto checker = value(StopChecker::make(config));
  EXPECT_EQ(value(checker.push("hi\n")).text, "hi") << "what may become a match is held back";
  EXPECT_EQ(value(checker.push("U")).text, "");
  EXPECT_EQ(value(checker.push("p")).text, "\nUp");
}

TEST(StopChecker, KeepsTheMatchWhenAsked) {
  EXPECT_EQ(run({.strings = {"."}, .no_stop_trim = true}, {"One. Two."}), (Outcome{"One.", ".", true}));
  EXPECT_EQ(run({.expressions = {"[.!]"}, .no_stop_trim = true}, {"One", "! Two."}), (Outcome{"One!", "[.!]", true}));
}

TEST(StopChecker, FollowsExpressionsAcrossPieces) {
  const StopConfig config{.strings = {}, .expressions = {"\\n(Human|User) ?[0-9]+:"}};
  EXPECT_EQ(run(config, {"ok\n", "User", " 1", "2", ":", "x"}), (Outcome{"ok", "\\n(Human|User) ?[0-9]+:", true}));
  EXPECT_EQ(run(config, {"ok\n", "User", " 1", "2", ";", "x"}), (Outcome{"ok\nUser 12;x", "", false}));
}

TEST(StopChecker, DoesNotDependOnHowTheTextIsCut) {
  std::mt19937 rng(7);
  const StopConfig configs[] = {{.strings = {"aba", "bb", "abab"}},
                                {.strings = {"ccc"}, .expressions = {"a[bc]*a", "b{3}"}},
                                {.strings = {"\xc3\xa9"
                                             "a"},
                                 .expressions = {"\xc3\xa9{2}b"}}};
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    const char* const letters[] = {"a", "b", "c", "\xc3\xa9"};
    for (size_t n = rng() % 14; n > 0; --n) text += letters[rng() % 4];
    const StopConfig& config = configs[round % 3];
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      pieces.push_back(text.substr(at, 1 + rng() % 4));
      at += pieces.back().size();
    }
    EXPECT_EQ(run(config, pieces), run(config, {text})) << text;
  }
}

TEST(StopChecker, RefusesWhatItCannotMean) {
  for (const auto& [config, words] :
       std::vector<std::pair<StopConfig, std::string>>{{{.strings = {""}}, "empty string"},
                                                       {{.expressions = {"a*"}}, "matches the empty text"},
                                                       {{.expressions = {"^a"}}, "^ and $"},
                                                       {{.expressions = {"("}}, "stop_regex: regular expression"}}) {
    const auto made = StopChecker::make(config);
    ASSERT_FALSE(made);
    EXPECT_THAT(made.error().what, testing::HasSubstr(words));
  }
}

TEST(StopChecker, KnowsStopTokens) {
  const auto checker = value(StopChecker::make({.ids = {3, 7}}));
  EXPECT_TRUE(checker.is_stop(7));
  EXPECT_FALSE(checker.is_stop(4));
}

}  // namespace
}  // namespace cairn::text
