#include "kv/hash.h"

#include "kv/helpers.h"

namespace cairn::kv {
namespace {

std::string sip(size_t length) {
  std::vector<std::byte> data;
  for (size_t i = 0; i < length; ++i) data.push_back(static_cast<std::byte>(i));
  return siphash({0x0706050403020100, 0x0f0e0d0c0b0a0908}, data).hex();
}

// From the vectors that come with the algorithm: key 00 01 .. 0f, message 00 01 ..
TEST(SipHash, GivesThePublishedValues) {
  EXPECT_EQ(sip(0), "a3817f04ba25a8e66df67214c7550293");
  EXPECT_EQ(sip(1), "da87c1d86b99af44347659119b22fc45");
  EXPECT_EQ(sip(2), "8177228da4a45dc7fca38bdef60affe4");
}

TEST(Identity, SeparatesEveryPart) {
  const Hash plain = Identity{"a", "b", "c", "d"}.hash();
  EXPECT_EQ(plain, (Identity{"a", "b", "c", "d"}.hash()));
  EXPECT_NE(plain, (Identity{"x", "b", "c", "d"}.hash()));
  EXPECT_NE(plain, (Identity{"a", "x", "c", "d"}.hash()));
  EXPECT_NE(plain, (Identity{"a", "b", "x", "d"}.hash()));
  EXPECT_NE(plain, (Identity{"a", "b", "c", "x"}.hash()));
  EXPECT_NE((Identity{"ab", "", "", ""}.hash()), (Identity{"a", "b", "", ""}.hash()));
}

TEST(Chain, CoversEveryTokenUpToABlocksEnd) {
  std::vector<Token> tokens(19);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<Token>(i);
  const auto before = chain(kPlain, tokens, 4);
  ASSERT_EQ(before.size(), 4u);
  EXPECT_EQ(before[0], chained(kPlain, kPlain, std::span(tokens).first(4)));
  tokens[5] = 99;
  const auto after = chain(kPlain, tokens, 4);
  EXPECT_EQ(after[0], before[0]);
  for (size_t i = 1; i < 4; ++i) EXPECT_NE(after[i], before[i]);
  EXPECT_NE(chained(kPlain, {1, 2}, tokens), chained(kPlain, {1, 3}, tokens));
  EXPECT_NE(chained(kPlain, {1, 2}, tokens), chained(kPlain, {3, 2}, tokens));
  EXPECT_NE(chain(Identity{"other", "", "", ""}.hash(), tokens, 4)[0], before[0]);
}

}  // namespace
}  // namespace cairn::kv
