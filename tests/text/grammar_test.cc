// Regular expressions, EBNF, masks and the cache.
#include <gmock/gmock.h>

#include <thread>

#include "text/grammar_helpers.h"
#include "text/unicode.h"

namespace cairn::text::grammar {
namespace {

using testing::HasSubstr;

Spec regex(std::string s) { return {Kind::kRegex, std::move(s)}; }
Spec ebnf(std::string s) { return {Kind::kEbnf, std::move(s)}; }

TEST(CharSet, SpellsItsCodePointsInUtf8) {
  std::mt19937 rng(1);
  const char32_t edges[] = {0, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff};
  for (int round = 0; round < 300; ++round) {
    const auto pick = [&] {
      return rng() % 2 ? static_cast<char32_t>(rng() % 0x110000) : static_cast<char32_t>(edges[rng() % 10] + rng() % 3);
    };
    const char32_t a = pick(), b = pick();
    const CharSet set(std::min(a, b), std::max(a, b));
    std::vector<ByteSequence> sequences;
    for (const auto& r : set.ranges()) append_utf8_sequences(r, sequences);
    const auto spelt = [&](char32_t c) {
      std::string s;
      append_utf8(s, c);
      int times = 0;
      for (const auto& q : sequences) {
        bool fits = q.size == s.size();
        for (uint32_t i = 0; fits && i < q.size; ++i)
          fits = q.at[i].first <= static_cast<uint8_t>(s[i]) && static_cast<uint8_t>(s[i]) <= q.at[i].last;
        times += fits;
      }
      return times;
    };
    for (const char32_t near : {a, b, char32_t{pick()}})
      for (int step = -70; step <= 70; ++step) {
        const auto c = static_cast<char32_t>(static_cast<int64_t>(near) + step);
        if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) continue;
        ASSERT_EQ(spelt(c), c >= std::min(a, b) && c <= std::max(a, b))
            << std::hex << uint32_t{a} << " " << uint32_t{b} << " " << uint32_t{c};
      }
  }
}

struct RegexCase {
  const char* expression;
  std::vector<std::string> yes, no;
};

TEST(RegexGrammar, ReadsWhatTheExpressionMatches) {
  const RegexCase cases[] = {
      {"abc", {"abc"}, {"", "ab", "abcd"}},
      {"a|bc|", {"a", "bc", ""}, {"b", "abc"}},
      {"(?:ab)+c?", {"ab", "ababc"}, {"", "c", "abcc"}},
      {"(?P<x>a)(?<y>b)", {"ab"}, {"a"}},
      {"[a-c-]x", {"ax", "-x"}, {"dx", "x"}},
      {"[^a-z]", {"A", "\xc3\xa9", "\xf0\x9f\x9a\x80"}, {"a", "AB"}},
      {"\\d{2,3}", {"12", "123"}, {"1", "1234"}},
      {"a{3}b{2,}c{,1}", {"aaabb", "aaabbbbbc"}, {"aabb", "aaab", "aaabbcc"}},
      {"x{5,700}", {std::string(5, 'x'), std::string(700, 'x')}, {std::string(4, 'x'), std::string(701, 'x')}},
      {"(ab){100,}",
       {[] {
         std::string s;
         for (int i = 0; i < 130; ++i) s += "ab";
         return s;
       }()},
       {"ab"}},
      {"\\w+@\\w+\\.com", {"me@here.com"}, {"me@.com"}},
      {"^yes$|^no$", {"yes", "no"}, {"yesno"}},
      {"(^a|b)c", {"ac", "bc"}, {"c"}},
      {"a.c",
       {"abc",
        "a\xe2\x82\xac"
        "c"},
       {"a\nc", "ac"}},
      {"\\u20ac\\x41\\u{1F680}\\uD83D\\uDE80",
       {"\xe2\x82\xac"
        "A\xf0\x9f\x9a\x80\xf0\x9f\x9a\x80"},
       {"A"}},
      {"\\p{Lu}\\p{L}*", {"\xc3\x89t\xc3\xa9", "A"}, {"\xc3\xa9", "1"}},
      {"a{x}", {"a{x}"}, {"a", "ax"}},
      {"\\[\\]\\.\\*", {"[].*"}, {"a"}},
      {"a*?b+?", {"b", "aabb"}, {"a"}},
      {"(a*)*b", {"b", "aaab"}, {"a"}},
      {"[\\d\\s_]+", {"1 _\t2"}, {"a"}},
      {"\\W", {"-", " "}, {"a", "\xc3\xa9"}},
  };
  for (const RegexCase& c : cases) {
    Reader r(regex(c.expression));
    for (const auto& s : c.yes) EXPECT_TRUE(r.reads(s)) << c.expression << " on " << s;
    for (const auto& s : c.no) EXPECT_FALSE(r.reads(s)) << c.expression << " on " << s;
  }
}

TEST(RegexGrammar, NamesWhatItDoesNotSupport) {
  for (const auto& [expression, words] :
       std::vector<std::pair<std::string, std::string>>{{"(?=a)b", "character 3: a group of the kind (?=a"},
                                                        {"(a)\\1", "back reference"},
                                                        {"a\\b", "\\b"},
                                                        {"a++", "possessive"},
                                                        {"a**", "quantifier after a quantifier"},
                                                        {"(a", "( without its )"},
                                                        {"a)", ") without its ("},
                                                        {"[a", "[ without its ]"},
                                                        {"[]a]", "empty class"},
                                                        {"a$b", "two ends"},
                                                        {"(^a)*", "two ends"},
                                                        {"*a", "after nothing"},
                                                        {"a{3,2}", "below its least"},
                                                        {"[z-a]", "backwards"},
                                                        {"\\u{110000}", "does not exist"},
                                                        {"\\ud800", "does not exist"},
                                                        {"a{9999999}", "more than"},
                                                        {"\\", "at the end"},
                                                        {"(a?){1000}", "may be empty"},
                                                        {"\\p{Klingon}", "property"},
                                                        {std::string(5000, '('), "nested too deeply"}}) {
    const std::string error = error_of(regex(expression));
    EXPECT_THAT(error, HasSubstr(words)) << expression.substr(0, 40);
  }
}

TEST(EbnfGrammar, ReadsTheNotationOfGbnf) {
  Reader r(ebnf(R"ebnf(# a small language
root ::= expr ("\n" expr)*   # lines
expr ::= term (("+" | "-") term)*
term ::= number | "(" expr ")"
       | [a-z_] [a-z0-9_]{0,7}
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]{2})?
)ebnf"));
  for (const char* s : {"1", "a+b-(c1+-2.50)", "((((x))))", "1\n2"}) EXPECT_TRUE(r.reads(s)) << s;
  for (const char* s : {"", "01", "a+", "(a", "1.5", "abcdefghi", "A"}) EXPECT_FALSE(r.reads(s)) << s;
  Reader nested(ebnf("root ::= \"a\" root \"b\" | \"\""));
  EXPECT_TRUE(nested.reads(std::string(100, 'a') + std::string(100, 'b')));
  EXPECT_FALSE(nested.reads(std::string(100, 'a') + std::string(99, 'b')));
  Reader flat(ebnf("root ::= [^\\n\"] root | \"\\u20ac\" . "));
  EXPECT_TRUE(flat.reads(std::string(5000, 'x') + "\xe2\x82\xac!")) << "a call at the end needs no stack";
}

TEST(EbnfGrammar, GivesThePlaceOfAMistake) {
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"root ::= \"a\n", "line 1, column 12"},
           {"root ::= x", "rule \"x\" is not defined"},
           {"start ::= \"a\"", "no rule named \"root\""},
           {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: rule \"root\" is defined twice"},
           {"root ::= root \"a\" | \"b\"", "rule \"root\" may begin with itself"},
           {"root ::= x \"a\" | \"b\"\nx ::= \"\" root", "left recursion"},
           {"root ::= \"a\" root", "no finite text"},
           {"root ::= [z-a]", "backwards"},
           {"root ::= \"\\q\"", "\\q"},
           {"root ::= (\"a\"", "expected )"},
           {"= a", "expected `name ::="},
           {"root ::= \"a\"{2", "expected }"},
           {"root ::= \"\\ud800\"", "does not exist"},
           {"root ::= " + std::string(3000, '('), "nested too deeply"},
           {"root ::= expr\nexpt ::= \"a\"", "did you mean"}}) {
    EXPECT_THAT(error_of(ebnf(text)), HasSubstr(words)) << text.substr(0, 40);
  }
}

std::shared_ptr<const TokenSet> tiny_tokens() {
  static const auto tokens = value(TokenSet::of(value(Tokenizer::load(kSource + "/weights/cairn-tiny-lm"))));
  return tokens;
}

// The mask, found by trying every token.
std::vector<uint32_t> brute_mask(const GrammarState& state, const TokenSet& tokens, int64_t stop) {
  std::vector<uint32_t> bits((tokens.size() + 31) / 32);
  for (size_t id = 0; id < tokens.size(); ++id) {
    GrammarState copy = state;
    if (value(copy.accept(static_cast<int64_t>(id)))) bits[id / 32] |= uint32_t{1} << id % 32;
  }
  if (!state.may_end()) bits[static_cast<size_t>(stop) / 32] &= ~(uint32_t{1} << stop % 32);
  return bits;
}

TEST(GrammarState, MasksExactlyTheTokensThatFit) {
  const auto tokens = tiny_tokens();
  std::mt19937 rng(2);
  for (const Spec& spec :
       {Spec{Kind::kJsonObject, ""}, regex("(the|that) [a-z ]{3,40}[.!?]"), regex(".*"), regex("[^\"]{0,5000}"),
        ebnf("root ::= \"[\" (root (\",\" root)*)? \"]\""),
        Spec{Kind::kJsonSchema, R"({"type":"string","maxLength":300})"},
        Spec{Kind::kJsonSchema, R"({"properties":{"name":{"type":"string"},"n":{"type":"integer","maximum":999}}})"}}) {
    const auto g = value(CompiledGrammar::compile(spec, tokens));
    GrammarState state(g, {0});
    std::vector<uint32_t> bits((tokens->size() + 31) / 32);
    for (int step = 0; step < 25 && !state.ended(); ++step) {
      value(state.mask(bits).map([] { return true; }));
      ASSERT_EQ(bits, brute_mask(state, *tokens, 0)) << spec.text << " step " << step;
      std::vector<int64_t> allowed;
      for (size_t id = 0; id < tokens->size(); ++id)
        if (bits[id / 32] >> id % 32 & 1) allowed.push_back(static_cast<int64_t>(id));
      ASSERT_FALSE(allowed.empty());
      ASSERT_TRUE(value(state.accept(allowed[rng() % allowed.size()])));
    }
  }
}

TEST(GrammarState, EndsOnlyWhereTheTextMayEnd) {
  const auto tokens = tiny_tokens();
  const auto g = value(CompiledGrammar::compile(regex("ab"), TokenSet::of({"", "a", "b", "ab", "abc"})));
  GrammarState state(g, {0});
  uint32_t bits[2];
  value(state.mask(bits).map([] { return true; }));
  EXPECT_EQ(bits[0], 0b1010u);
  EXPECT_EQ(bits[1], 0u) << "padding stays clear";
  EXPECT_FALSE(value(state.accept(0)));
  EXPECT_FALSE(value(state.accept(2)));
  EXPECT_FALSE(value(state.accept(4)));
  EXPECT_FALSE(value(state.accept(99)));
  GrammarState draft = state;
  EXPECT_TRUE(value(draft.accept(1)));
  EXPECT_TRUE(value(draft.accept(2)));
  EXPECT_TRUE(draft.may_end());
  EXPECT_FALSE(state.may_end()) << "copies are independent";
  value(draft.mask(bits).map([] { return true; }));
  EXPECT_EQ(bits[0], 1u);
  EXPECT_TRUE(value(draft.accept(0)));
  EXPECT_TRUE(draft.ended());
  EXPECT_FALSE(value(draft.accept(1)));
}

TEST(GrammarState, SaysWhenTheVocabularyCannotSpellWhatMustFollow) {
  const auto g = value(CompiledGrammar::compile(regex("ax"), TokenSet::of({"", "a", "b"})));
  GrammarState state(g, {0});
  uint32_t bits[1];
  value(state.mask(bits).map([] { return true; }));
  EXPECT_TRUE(value(state.accept(1)));
  const auto none = state.mask(bits);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().what, HasSubstr("cannot spell"));
}

TEST(GrammarState, GoesOnWhenWhatWasFoundOutHasGrownTooLarge) {
  // Every count is a configuration of its own, so that this fills one store after another.
  const auto tokens = TokenSet::of({"", "a", "b", "ab", "ba", "aa"});
  const auto g = value(CompiledGrammar::compile(regex("[ab]{1,900000}"), tokens));
  GrammarState state(g, {0});
  uint32_t bits[1];
  for (int i = 0; i < 150000; ++i) ASSERT_TRUE(value(state.accept(1 + i % 2)));
  value(state.mask(bits).map([] { return true; }));
  EXPECT_EQ(bits[0], 0b111111u);
}

TEST(TokenSet, HoldsTheBytesThatTokensAdd) {
  for (const char* name : {"gpt2", "llama2", "gemma", "mistral", "qwen2", "deepseek", "llama3", "unigram"}) {
    const auto tokenizer = value(Tokenizer::from_json(value(read_file(kGolden + name + ".json"))));
    const auto tokens = value(TokenSet::of(tokenizer));
    for (const std::string text : {"Hello there, world! 12\n", "na\xc3\xafve \xe2\x82\xac 42"}) {
      const auto ids = value(tokenizer.encode("a " + text, {.add_special = false})).ids;
      if (value(tokenizer.decode(ids)) != "a " + text) continue;  // an unknown character
      std::string bytes;
      for (const int64_t id : ids) bytes += tokens->bytes(id);
      if (bytes.starts_with(' ')) bytes.erase(0, 1);  // the decoder takes the first blank off
      EXPECT_EQ(bytes, "a " + text) << name;
    }
    if (const auto eos = tokenizer.id_of("</s>")) { EXPECT_EQ(tokens->bytes(*eos), "") << name; }
  }
}

TEST(GrammarCache, CompilesAGrammarOnceForManyThreads) {
  GrammarCache cache(tiny_tokens(), 2);
  std::vector<std::shared_ptr<const CompiledGrammar>> got(8);
  std::vector<std::thread> threads;
  for (auto& slot : got)
    threads.emplace_back([&] {
      slot = value(cache.get({Kind::kJsonObject, ""}));
      std::mt19937 rng(3);
      random_text({Kind::kJsonObject, ""}, slot, rng, 30);
    });
  for (auto& t : threads) t.join();
  for (const auto& g : got) EXPECT_EQ(g, got[0]);
  EXPECT_FALSE(cache.get(regex("(")));
  EXPECT_FALSE(cache.get(regex("("))) << "an error is remembered, too";
  value(cache.get(regex("b")));
  EXPECT_NE(value(cache.get({Kind::kJsonObject, ""})), got[0]) << "the oldest was forgotten";
}

}  // namespace
}  // namespace cairn::text::grammar
