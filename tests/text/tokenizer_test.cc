#include <atomic>
#include <thread>

#include "text/helpers.h"

namespace cairn::text {
namespace {

using testing::Test;

Tokenizer clip() { return value(Tokenizer::load(kSource + "/weights/cairn-emoji/tokenizer")); }
Tokenizer t5() { return value(Tokenizer::load(kSource + "/weights/cairn-emoji/tokenizer_2")); }
Tokenizer family(const std::string& name) {
  return value(Tokenizer::from_json(value(read_file(kGolden + name + ".json"))));
}

TEST(Truncation, ReportsTheLostTextAsTheUserSpeltIt) {
  const auto e = value(clip().encode("Red Apple on a  GREEN\tBackground", {.max_length = 6}));
  EXPECT_EQ(e.ids.size(), 6u);
  EXPECT_EQ(e.ids.back(), *clip().eos_id());
  EXPECT_EQ(e.lost, "GREEN\tBackground");
  EXPECT_EQ(value(t5().encode("rocket on a blue  Background", {.max_length = 5})).lost, "Background");
}

TEST(Truncation, LosesNothingWhenTheTextJustFits) {
  const size_t length = value(clip().encode("a blue rocket")).length;
  EXPECT_EQ(value(clip().encode("a blue rocket", {.max_length = length})).lost, "");
  EXPECT_EQ(value(clip().encode("a blue rocket", {.max_length = length - 1})).lost, "rocket");
}

TEST(Truncation, CutsBetweenCodePoints) {
  const std::string text = "\u732b\u306e\u9854\U0001f680";
  for (const char* name : {"gpt2", "llama2", "unigram-bytes", "clip"}) {
    const Tokenizer t = family(name);
    const size_t all = value(t.encode(text, {.add_special = false})).ids.size();
    for (size_t most = 1; most < all; ++most) {
      const auto e = value(t.encode(text, {.add_special = false, .max_length = most}));
      EXPECT_EQ(e.ids.size(), most);
      EXPECT_FALSE(e.lost.empty());
      EXPECT_TRUE(text.ends_with(e.lost)) << name << " " << most << " " << e.lost;
      EXPECT_TRUE(t.encode(e.lost)) << "the lost text must be valid UTF-8";
    }
  }
}

TEST(Truncation, FindsTheLostTextBehindEveryNormalizer) {
  // Each tokenizer rewrites the text before it cuts; what is lost must still be an end of the text as given.
  const std::string text =
      "  cafe\u0301 \ufb01ne <mask> \u1100\u1161\u11a8\u3000Stra\u00dfe  THE END\n\nof \u0130t </s> all";
  for (const char* name : {"gpt2", "gpt2-prefix-space", "llama3", "qwen2", "deepseek", "llama2", "mistral", "gemma",
                           "bpe-unk", "unigram", "unigram-nmt-nfkc", "unigram-bytes", "clip"}) {
    const Tokenizer t = family(name);
    const auto whole = value(t.encode(text, {.add_special = false})).ids;
    size_t before = text.size() + 1;
    for (size_t most = 1; most < whole.size(); ++most) {
      const auto e = value(t.encode(text, {.add_special = false, .max_length = most}));
      EXPECT_EQ(e.ids, std::vector<int64_t>(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(most)));
      EXPECT_TRUE(text.ends_with(e.lost) && !e.lost.empty()) << name << " " << most;
      EXPECT_LE(e.lost.size(), before) << name << " " << most;
      before = e.lost.size();
    }
  }
}

TEST(Truncation, RefusesALengthWithoutRoomForTheSpecialTokens) {
  const auto e = clip().encode("rocket", {.max_length = 1});
  ASSERT_FALSE(e);
  EXPECT_NE(e.error().what.find("2 special tokens"), std::string::npos);
  EXPECT_EQ(value(clip().encode("rocket", {.max_length = 2})).lost, "rocket");
}

TEST(Padding, FillsWithThePadTokenAndKeepsTheLength) {
  const auto e = value(t5().encode("rocket", {.pad_to = 5}));
  EXPECT_EQ(e.ids, (std::vector<int64_t>{193, 1, 0, 0, 0}));
  EXPECT_EQ(e.length, 2u);
  EXPECT_FALSE(family("gpt2").encode("x", {.pad_to = 5})) << "this one has no padding token";
}

TEST(Text, MayBeEmpty) {
  EXPECT_EQ(value(clip().encode("")).ids, (std::vector<int64_t>{1823, 1824}));
  EXPECT_EQ(value(t5().encode("")).ids, (std::vector<int64_t>{1}));
}

TEST(Text, ThatIsBrokenNamesTheByte) {
  for (const auto& [text, at] : {std::pair<std::string, const char*>{"abc\xff", "byte 3"},
                                 {"\xc3", "byte 0"},
                                 {"a\xed\xa0\x80", "byte 1"},
                                 {"\xf0\x9f\x9a", "byte 0"}}) {
    const auto e = clip().encode(text);
    ASSERT_FALSE(e);
    EXPECT_EQ(e.error().code, Code::kInvalidArgument);
    EXPECT_NE(e.error().what.find(at), std::string::npos) << e.error().what;
  }
}

TEST(Configuration, GivesLengthsAndSpecialTokens) {
  EXPECT_EQ(clip().model_max_length(), 77u);
  EXPECT_EQ(clip().pad_id(), 1824);
  EXPECT_EQ(clip().bos_id(), 1823);
  EXPECT_EQ(clip().eos_id(), 1824);
  EXPECT_EQ(clip().vocabulary_size(), 1825u);
  EXPECT_EQ(t5().model_max_length(), 32u);
  EXPECT_EQ(t5().pad_id(), 0);
  EXPECT_EQ(t5().eos_id(), 1);
  EXPECT_EQ(t5().id_of("</s>"), 1);
  EXPECT_EQ(t5().token_of(1), "</s>");
  EXPECT_EQ(t5().token_of(-1), "");
  EXPECT_EQ(t5().token_of(int64_t{1} << 40), "");
}

TEST(Configuration, OfOneThirtiethPowerMeansNoLimit) {
  const std::string json = value(read_file(kGolden + "gpt2.json"));
  EXPECT_EQ(
      value(Tokenizer::from_json(json, R"({"model_max_length": 1000000000000000019884624838656})")).model_max_length(),
      0u);
}

TEST(Configuration, TakesWhatItLacksFromTheSpecialTokensMap) {
  Copy folder(kSource + "/weights/cairn-emoji/tokenizer_2", {"spiece.model"});
  ASSERT_TRUE(write_file(folder.path() + "/special_tokens_map.json",
                         R"({"eos_token": {"content": "</s>", "lstrip": false}, "pad_token": "<pad>"})"));
  const Tokenizer t = value(Tokenizer::load(folder.path()));
  EXPECT_EQ(t.eos_id(), 1);
  EXPECT_EQ(t.pad_id(), 0);
  EXPECT_EQ(t.vocabulary_size(), 1609u) << "T5 has 100 sentinels unless told otherwise";
  EXPECT_EQ(t.token_of(1608), "<extra_id_0>");
  EXPECT_EQ(value(t.encode("<extra_id_0>", {.add_special = false})).ids, std::vector<int64_t>{1608});
}

TEST(Folder, WithoutATokenizerNamesItself) {
  const auto t = Tokenizer::load(kSource + "/tests/golden/emoji");
  ASSERT_FALSE(t);
  EXPECT_EQ(t.error().code, Code::kNotFound);
  EXPECT_NE(t.error().what.find("tests/golden/emoji"), std::string::npos);
}

TEST(Decoding, LeavesOutIdsWithoutAToken) {
  EXPECT_EQ(value(t5().decode(std::vector<int64_t>{193, -5, 1 << 21, int64_t{1} << 40, 1}, true)), "rocket");
}

TEST(Tokenizer, MayBeUsedByManyThreads) {
  const Tokenizer t = clip();
  const auto expected = value(t.encode("a smiling cat, \u732b!")).ids;
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 200; ++k) wrong += value(t.encode("a smiling cat, \u732b!")).ids != expected;
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace cairn::text
