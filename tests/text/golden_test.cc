// Ids and texts recorded from the tokenizers library and from transformers, without any tolerance.
#include <algorithm>

#include "text/helpers.h"

namespace cairn::text {
namespace {

class Library : public testing::TestWithParam<const char*> {};

Tokenizer open(const std::string& name) {
  if (name == "cairn-tiny-lm") return value(Tokenizer::load(kSource + "/weights/cairn-tiny-lm"));
  if (name == "cairn-emoji-clip") return value(Tokenizer::load(kSource + "/weights/cairn-emoji/tokenizer"));
  if (name == "cairn-emoji-t5") return value(Tokenizer::load(kSource + "/weights/cairn-emoji/tokenizer_2"));
  return value(Tokenizer::from_json(value(read_file(kGolden + name + ".json"))));
}

TEST_P(Library, MakesTheSameIdsAndTexts) {
  const Tokenizer t = open(GetParam());
  const auto rows = lines(kGolden + "expected/" + GetParam() + ".jsonl");
  ASSERT_EQ(rows.size(), 240u);
  for (const Json& row : rows) {
    const std::string text = row.text("text"), decoded = row.text("decoded");
    const auto plain = ids(row.find("ids"));
    const Json* framed = row.find("ids_with_special");
    EXPECT_EQ(value(t.encode(text, {.add_special = false})).ids, plain) << text;
    EXPECT_EQ(value(t.encode(text)).ids, framed ? ids(framed) : plain) << text;
    EXPECT_EQ(value(t.decode(plain)), decoded) << text;
    EXPECT_EQ(value(t.decode(plain, true)), row.text("decoded_skip_special", decoded)) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Library,
                         testing::Values("bpe-unk", "clip", "deepseek", "gemma", "gpt2", "gpt2-prefix-space", "llama2",
                                         "llama3", "mistral", "qwen2", "unigram", "unigram-bytes", "unigram-nmt-nfkc",
                                         "cairn-tiny-lm", "cairn-emoji-clip", "cairn-emoji-t5"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::erase(name, '-');
                           return name;
                         });

// The prompts of tokens.json; `skip` names those whose ids are different by design.
void expect_prompts(const Tokenizer& clip, const Tokenizer& t5, const std::vector<std::string>& skip_t5 = {}) {
  const Json rows = value(Json::read(kSource + "/tests/golden/emoji/tokens.json"));
  ASSERT_EQ(rows.as_array()->size(), 20u);
  for (const Json& row : *rows.as_array()) {
    const std::string prompt = row.text("prompt");
    EXPECT_EQ(value(clip.encode(prompt, {.max_length = 77, .pad_to = 77})).ids, ids(row.find("clip"))) << prompt;
    if (!row.find("clip_whole")->is_null()) {
      EXPECT_EQ(value(clip.encode(prompt)).ids, ids(row.find("clip_whole"))) << prompt;
    }
    if (std::find(skip_t5.begin(), skip_t5.end(), prompt) != skip_t5.end()) continue;
    EXPECT_EQ(value(t5.encode(prompt, {.max_length = 32, .pad_to = 32})).ids, ids(row.find("t5"))) << prompt;
    if (!row.find("t5_whole")->is_null()) {
      EXPECT_EQ(value(t5.encode(prompt)).ids, ids(row.find("t5_whole"))) << prompt;
    }
  }
}

TEST(EmojiPrompts, AreExactFromTokenizerJson) {
  const std::string model = kSource + "/weights/cairn-emoji/";
  expect_prompts(value(Tokenizer::load(model + "tokenizer")), value(Tokenizer::load(model + "tokenizer_2")));
  const std::string dev = kSource + "/tests/golden/flux-variants/dev/";
  expect_prompts(value(Tokenizer::load(dev + "tokenizer")), value(Tokenizer::load(dev + "tokenizer_2")));
}

TEST(EmojiPrompts, AreExactFromTheOlderFiles) {
  Copy clip = clip_without_json(), t5 = t5_without_json();
  // Only spiece.model has a character map (tokenizer.json was saved without): it composes the accent and splits the
  // ligature.
  const std::vector<std::string> mapped = {"e\u0301 vs \u00e9", "\u0130stanbul \u1e9e \ufb01ne"};
  expect_prompts(value(Tokenizer::load(clip.path())), value(Tokenizer::load(t5.path())), mapped);
  const std::string schnell = kSource + "/tests/golden/flux-variants/schnell/";
  expect_prompts(value(Tokenizer::load(schnell + "tokenizer")), value(Tokenizer::load(schnell + "tokenizer_2")),
                 mapped);
}

TEST(OlderFiles, MakeTheIdsOfTransformersFromOddUnicode) {
  Copy clip_files = clip_without_json(), t5_files = t5_without_json();
  const Tokenizer clip = value(Tokenizer::load(clip_files.path())), t5 = value(Tokenizer::load(t5_files.path()));
  const auto rows = lines(kGolden + "odd.jsonl");
  ASSERT_EQ(rows.size(), 400u);
  for (const Json& row : rows) {
    EXPECT_EQ(value(clip.encode(row.text("text"))).ids, ids(row.find("clip"))) << row.dump();
    EXPECT_EQ(value(t5.encode(row.text("text"))).ids, ids(row.find("t5"))) << row.dump();
  }
}

}  // namespace
}  // namespace cairn::text
