#include "text/buffer.h"
#include "text/byte_level.h"
#include "text/helpers.h"
#include "text/normalizer.h"
#include "text/regex.h"
#include "text/splitting.h"
#include "text/trie.h"
#include "text/unicode.h"

namespace cairn::text {
namespace {

std::vector<std::string> found(const std::string& expression, const std::string& text) {
  std::vector<Match> matches;
  const auto ok = value(Pattern::regex(expression)).find_all(text, matches);
  if (!ok) throw std::runtime_error(ok.error().what);
  std::vector<std::string> out;
  for (const Match& m : matches) out.push_back(text.substr(m.begin, m.end - m.begin));
  return out;
}
using Strings = std::vector<std::string>;

TEST(Regex, HasTheSpacesOfUnicodeAndNotThoseOfPerl) {
  EXPECT_EQ(found(R"(\s)", "a\u180eb\u0085c\u3000"), (Strings{"\u0085", "\u3000"}));
  EXPECT_EQ(found(R"([^\s]+)", "a\u180eb c"), (Strings{"a\u180eb", "c"}));
}

TEST(Regex, KnowsLettersThatAreYoungerThanPcre2) {
  EXPECT_EQ(found(R"(\p{L}+)", "a\u1c89b\U00010d50-"), (Strings{"a\u1c89b\U00010d50"}));
  EXPECT_EQ(found(R"(\P{L}+)", "a\u1c89-"), (Strings{"-"}));
  EXPECT_EQ(found(R"([\p{Lu}]+)", "\u1c89\u1c8a"), (Strings{"\u1c89"}));
}

TEST(Regex, ReadsRubysEscapes) {
  EXPECT_EQ(found(R"(\h+)", "xff g"), (Strings{"ff"}));
  EXPECT_EQ(found(R"(\u0041{,2})", "AAAb"), (Strings{"AA", "A", ""}));
}

TEST(Regex, SkipsAnEmptyMatchRightAfterAnother) { EXPECT_EQ(found("a*", "baac"), (Strings{"", "aa", ""})); }

TEST(Regex, RefusesWhatItCannotMean) {
  EXPECT_FALSE(Pattern::regex("[a[bc]]"));
  EXPECT_FALSE(Pattern::regex("[a&&b]"));
  EXPECT_FALSE(Pattern::regex("(unclosed"));
  EXPECT_FALSE(Pattern::regex("\\C"));
  EXPECT_FALSE(Pattern::regex("\\p{"));
}

TEST(Regex, GivesUpOnEndlessBacktracking) {
  std::vector<Match> matches;
  EXPECT_FALSE(value(Pattern::regex("(a+)+[^a]")).find_all(std::string(64, 'a'), matches));
}

TEST(Regex, SurvivesLongRuns) {
  EXPECT_EQ(found(R"(\s+(?!\S)|\s+)", std::string(1 << 20, ' ') + "x").size(), 2u);
  EXPECT_EQ(found(R"((?:ab)+)",
                  [] {
                    std::string s;
                    for (int i = 0; i < 100000; ++i) s += "ab";
                    return s;
                  }())
                .size(),
            1u);
}

TEST(Splitting, KnowsFiveBehaviors) {
  const auto cut = [](Behavior b) {
    Pieces p;
    p.buffer.text = "--a--b-";
    p.ranges = {{0, 7}};
    EXPECT_TRUE(split_at(p, Pattern::literal("-"), b, false));
    Strings out;
    for (const Range r : p.ranges) out.push_back(p.buffer.text.substr(r.begin, r.end - r.begin));
    return out;
  };
  EXPECT_EQ(cut(Behavior::kRemoved), (Strings{"a", "b"}));
  EXPECT_EQ(cut(Behavior::kIsolated), (Strings{"-", "-", "a", "-", "-", "b", "-"}));
  EXPECT_EQ(cut(Behavior::kContiguous), (Strings{"--", "a", "--", "b", "-"}));
  EXPECT_EQ(cut(Behavior::kMergedWithPrevious), (Strings{"-", "-", "a-", "-", "b-"}));
  EXPECT_EQ(cut(Behavior::kMergedWithNext), (Strings{"-", "-a", "-", "-b", "-"}));
}

TEST(Trie, FindsAllPrefixesShortestFirst) {
  const Trie t({{"a", 1}, {"abc", 3}, {"ab", 9}, {"ab", 2}, {"", 7}, {"b", 4}, {std::string_view("\0x", 2), 5}});
  const auto at = [&](std::string_view text, size_t i) {
    std::vector<std::pair<size_t, int32_t>> out;
    t.prefixes(text, i, [&](size_t n, int32_t v) { out.emplace_back(n, v); });
    return out;
  };
  using Found = std::vector<std::pair<size_t, int32_t>>;
  EXPECT_EQ(at("abcd", 0), (Found{{1, 1}, {2, 2}, {3, 3}}));
  EXPECT_EQ(at("abd", 0), (Found{{1, 1}, {2, 2}}));
  EXPECT_EQ(at("xb", 1), (Found{{1, 4}}));
  EXPECT_EQ(at(std::string_view("\0x", 2), 0), (Found{{2, 5}}));
  EXPECT_EQ(at("c", 0), Found{});
  EXPECT_EQ(at("", 0), Found{});
}

TEST(ByteLevel, SpellsEveryByteAndReadsItBack) {
  for (int b = 0; b < 256; ++b) {
    std::string spelt;
    append_byte_level(spelt, std::string(1, static_cast<char>(b)));
    EXPECT_EQ(from_byte_level(spelt), std::string(1, static_cast<char>(b)));
  }
  std::string space;
  append_byte_level(space, " \n");
  EXPECT_EQ(space, "\u0120\u010a");
  EXPECT_EQ(from_byte_level("a b"), std::nullopt);
}

TEST(Forms, KeepTheSourceOfEveryByte) {
  Buffer b = Buffer::of("xe\u0301y\u1100\u1161z", 10, true);
  apply_form(b, Form::kNfc);
  EXPECT_EQ(b.text, "x\u00e9y\uac00z");
  EXPECT_EQ(b.source, (std::vector<uint32_t>{10, 11, 11, 14, 15, 15, 15, 21, 22}));
}

TEST(Forms, ComposeDecomposeAndReorder) {
  const auto form = [](const char* text, Form f) {
    Buffer b = Buffer::of(text, 0, false);
    apply_form(b, f);
    return b.text;
  };
  EXPECT_EQ(form("\u212b \ufb01", Form::kNfc), "\u00c5 \ufb01");
  EXPECT_EQ(form("\u00e9", Form::kNfd), "e\u0301");
  EXPECT_EQ(form("\ufb01\uff76\uff9e", Form::kNfkc), "fi\u30ac");
  EXPECT_EQ(form("\u00bd", Form::kNfkd), "1\u20442");
  EXPECT_EQ(form("a\u0323\u0307", Form::kNfc), form("a\u0307\u0323", Form::kNfc));
  EXPECT_EQ(form("\U00011935\U00011930", Form::kNfc), "\U00011935\U00011930") << "too young for the reference";
}

TEST(Utf8, RepairsEachBrokenPartOnce) {
  EXPECT_EQ(repair_utf8("a\xf0\x9f\x9a"), "a\ufffd");
  EXPECT_EQ(repair_utf8("\xff\xfe"), "\ufffd\ufffd");
  EXPECT_EQ(repair_utf8("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");
  EXPECT_EQ(repair_utf8("\xe7\x8c\xab"), "\u732b");
}

}  // namespace
}  // namespace cairn::text
