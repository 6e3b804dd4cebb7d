// Streams of ids joined are the text of all ids at once.
#include <random>

#include "base/strings.h"
#include "text/detokenizer.h"
#include "text/helpers.h"

namespace cairn::text {
namespace {

class Stream : public testing::TestWithParam<const char*> {};

Tokenizer open(const std::string& name) {
  if (name == "cairn-tiny-lm") return value(Tokenizer::load(kSource + "/weights/cairn-tiny-lm"));
  return value(Tokenizer::from_json(value(read_file(kGolden + name + ".json"))));
}

// Pieces of a stream, each checked for whole characters.
std::string streamed(const Tokenizer& t, const std::vector<int64_t>& all, bool skip) {
  Detokenizer d(t, skip);
  std::string joined;
  for (const int64_t id : all) {
    const std::string piece = value(d.push(id));
    EXPECT_TRUE(valid_utf8(piece));
    joined += piece;
  }
  return joined + value(d.finish());
}

TEST_P(Stream, JoinedEqualsTheWholeText) {
  const Tokenizer t = open(GetParam());
  std::mt19937 rng(5);
  for (const Json& row : lines(kGolden + "expected/" + GetParam() + ".jsonl")) {
    const auto all = ids(row.find("ids"));
    for (const bool skip : {false, true})
      EXPECT_EQ(streamed(t, all, skip), value(t.decode(all, skip))) << row.text("text");
  }
  for (const size_t length : {3, 50, 500}) {  // broken bytes without end
    const std::vector<int64_t> all(length, value(t.encode("\xf0\x9f\x98\x80", {.add_special = false})).ids.front());
    EXPECT_EQ(streamed(t, all, true), value(t.decode(all, true))) << length;
  }
  for (int round = 0; round < 400; ++round) {  // half characters, special tokens and ids without a token
    std::vector<int64_t> all(rng() % 40);
    for (auto& id : all) id = static_cast<int64_t>(rng() % (t.vocabulary_size() + 3));
    for (const bool skip : {false, true}) EXPECT_EQ(streamed(t, all, skip), value(t.decode(all, skip))) << round;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Stream,
                         testing::Values("bpe-unk", "clip", "deepseek", "gemma", "gpt2", "gpt2-prefix-space", "llama2",
                                         "llama3", "mistral", "qwen2", "unigram", "unigram-bytes", "unigram-nmt-nfkc",
                                         "cairn-tiny-lm"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(Detokenizer, GivesTextAsSoonAsItCannotChange) {
  const Tokenizer t = open("cairn-tiny-lm");
  Detokenizer d(t, true);
  const auto euro = value(t.encode("\xe2\x82\xac", {.add_special = false})).ids;
  ASSERT_GT(euro.size(), 1u) << "a character of several tokens";
  EXPECT_EQ(value(d.push(*t.id_of("a"))), "a");
  for (size_t i = 0; i + 1 < euro.size(); ++i) EXPECT_EQ(value(d.push(euro[i])), "");
  EXPECT_EQ(value(d.push(euro.back())), "\xe2\x82\xac");
  EXPECT_EQ(value(d.push(euro.front())), "");
  EXPECT_EQ(value(d.push(*t.id_of("a"))),
            "\xef\xbf\xbd"
            "a")
      << "half a character that is not continued";
  EXPECT_EQ(value(d.push(*t.id_of("<|im_end|>"))), "");
  EXPECT_EQ(value(d.push(euro.front())), "");
  EXPECT_EQ(value(d.finish()), "\xef\xbf\xbd");
}

TEST(Detokenizer, KeepsTheFirstBlankAfterAContext) {
  const Tokenizer t = open("llama2");
  const auto all = value(t.encode("the cat", {.add_special = false})).ids;
  const auto first = static_cast<ptrdiff_t>(all.size() - 1);
  const std::vector<int64_t> prompt(all.begin(), all.begin() + first), rest(all.begin() + first, all.end());
  Detokenizer d(t, true, prompt);
  std::string joined;
  for (const int64_t id : rest) joined += value(d.push(id));
  joined += value(d.finish());
  EXPECT_EQ(value(t.decode(prompt)) + joined, "the cat");
  Detokenizer alone(t, true);
  const auto word = value(t.encode("the", {.add_special = false})).ids;
  for (const int64_t id : word) value(alone.push(id));
}

}  // namespace
}  // namespace cairn::text
