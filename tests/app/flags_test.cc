#include "app/flags.h"

#include <gmock/gmock.h>

#include "app/options.h"

namespace cairn::app {
namespace {

using testing::HasSubstr;

struct Parsed {
  CacheOptions cache;
  ModelOptions model;
  std::vector<std::string> words;
  bool asked = false;
};

Result<Parsed> parse(const std::vector<std::string>& args) {
  Parsed p;
  Flags flags("test", "test");
  flags.positionals("prompt", 1, p.words);
  flags.add("Cache", p.cache);
  flags.add("Model", p.model);
  TRY(flags.parse(args));
  p.asked = asks_for_cache(flags);
  return p;
}

std::string error_of(const std::vector<std::string>& args) {
  const auto p = parse(args);
  return p ? "no error" : p.error().what;
}

TEST(Flags, TakeDashesUnderscoresAndAliases) {
  const auto p = parse({"a cat", "--Fn_compute_blocks=3", "--rdt", "0.2", "--max-warmup-steps", "6", "--lora",
                        "a.safetensors:0.5,b.safetensors"});
  ASSERT_TRUE(p) << p.error().what;
  EXPECT_EQ(p->cache.front, 3);
  EXPECT_EQ(p->cache.threshold, 0.2);
  EXPECT_EQ(p->cache.warmup, 6);
  EXPECT_EQ(p->words, std::vector<std::string>{"a cat"});
  EXPECT_EQ(p->model.lora, (std::vector<std::string>{"a.safetensors:0.5", "b.safetensors"}));
  EXPECT_TRUE(p->asked);
}

TEST(Flags, GivenTwiceCountOnceUnlessTheyAreLists) {
  const auto p = parse({"a cat", "--rdt", "0.2", "--rdt", "0.3", "--lora", "a,b", "--lora", "c"});
  ASSERT_TRUE(p) << p.error().what;
  EXPECT_EQ(p->cache.threshold, 0.3);
  EXPECT_EQ(p->model.lora, (std::vector<std::string>{"a", "b", "c"}));
}

TEST(Flags, OfTheModelDoNotAskForACache) { EXPECT_FALSE(parse({"a cat", "--dtype", "fp32"})->asked); }

TEST(Flags, OfferTheNearestName) {
  EXPECT_THAT(error_of({"--treads", "2"}), HasSubstr("--threads"));
  EXPECT_THAT(error_of({"--dtype", "bf61"}), HasSubstr("bf16"));
}

TEST(Flags, NameThemselvesWhenAValueIsBad) {
  EXPECT_THAT(error_of({"--threads", "-3"}), HasSubstr("--threads"));
  EXPECT_THAT(error_of({"--Fn", "many"}), HasSubstr("--Fn-compute-blocks"));
  EXPECT_THAT(error_of({"a", "b"}), HasSubstr("unexpected prompt"));
}

TEST(CacheFlags, RefuseAThresholdThatIsNoNumber) {
  const auto p = parse({"--rdt", "nan"});
  std::optional<std::string> attn;
  EXPECT_FALSE(p && cache_config(p->cache, true, 28, attn));
}

TEST(CacheFlags, MakeTheConfigurationTheyName) {
  const auto p = parse({"--Fn", "2", "--scm", "f", "--taylorseer"});
  ASSERT_TRUE(p) << p.error().what;
  std::optional<std::string> attn;
  const auto config = cache_config(p->cache, p->asked, 28, attn);
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_THAT((*config)->tag(false),
              HasSubstr("DBCache_F2B0_W8I1M0MC3_R0.12_SCM1111110100010000100000100001_dynamic_N28"));
  EXPECT_FALSE(*cache_config(p->cache, false, 28, attn));
  EXPECT_FALSE(attn);
}

}  // namespace
}  // namespace cairn::app
