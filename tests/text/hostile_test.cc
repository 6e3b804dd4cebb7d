// Files that nobody honest writes: each gives an error, or a tokenizer that works.
#include <functional>
#include <random>

#include "text/helpers.h"

namespace cairn::text {
namespace {

Json tiny_bpe() {
  return value(
      Json::parse(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}})"));
}
Json tiny_unigram() {
  return value(Json::parse(R"({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", -1.5]]}})"));
}
Result<Tokenizer> with(Json spec, const char* key, const char* json) {
  spec.set(key, value(Json::parse(json)));
  return Tokenizer::from_json(spec.dump());
}
Result<Tokenizer> with_model(const char* json) { return with(Json{}, "model", json); }

std::string error_of(const Result<Tokenizer>& t) { return t ? "no error" : t.error().what; }

TEST(HostileModel, IsRefusedWithAReason) {
  EXPECT_NE(error_of(with_model(R"({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "zz"]]})")).find("zz"),
            std::string::npos);
  EXPECT_NE(error_of(with_model(R"({"type": "BPE", "vocab": {"a": 4611686018427387904}, "merges": []})"))
                .find("impossible id"),
            std::string::npos);
  EXPECT_FALSE(with_model(R"({"type": "BPE", "vocab": {"a": -1}, "merges": []})"));
  EXPECT_FALSE(with_model(R"({"type": "BPE", "vocab": {"a": 0.5}, "merges": []})"));
  EXPECT_FALSE(with_model(R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["a b c"]})"));
  EXPECT_FALSE(with_model(R"({"type": "BPE", "vocab": {"a": 0}})"));
  EXPECT_FALSE(with_model(R"({"type": "Unigram", "unk_id": 5, "vocab": [["a", 0]]})"));
  EXPECT_FALSE(with_model(R"({"type": "Unigram", "vocab": [["a"]]})"));
  EXPECT_FALSE(with_model(R"({"type": "Magic"})"));
  EXPECT_FALSE(Tokenizer::from_json("[]"));
  EXPECT_FALSE(Tokenizer::from_json("{\"model\":"));
  EXPECT_FALSE(Tokenizer::from_json(""));
}

TEST(HostileModel, WithoutAnUnknownTokenFailsOnlyWhenItIsNeeded) {
  const Tokenizer t = value(with_model(R"({"type": "Unigram", "vocab": [["a", -1]]})"));
  EXPECT_TRUE(t.encode("a"));
  EXPECT_FALSE(t.encode("b"));
  const Tokenizer u = value(with_model(R"({"type": "BPE", "unk_token": "<none>", "vocab": {"a": 0}, "merges": []})"));
  EXPECT_TRUE(u.encode("a"));
  EXPECT_FALSE(u.encode("b"));
}

TEST(HostilePipeline, IsRefusedWithAReason) {
  EXPECT_NE(error_of(with(tiny_bpe(), "normalizer", R"({"type": "Nothing"})")).find("Nothing"), std::string::npos);
  EXPECT_FALSE(with(tiny_bpe(), "normalizer", R"({"type": "Sequence"})"));
  EXPECT_FALSE(with(tiny_bpe(), "normalizer", R"({"type": "Replace", "pattern": {"Regex": "("}, "content": ""})"));
  EXPECT_FALSE(
      with(tiny_bpe(), "pre_tokenizer", R"({"type": "Split", "pattern": {"String": "x"}, "behavior": "Odd"})"));
  EXPECT_FALSE(with(tiny_bpe(), "pre_tokenizer", R"({"type": "Metaspace", "prepend_scheme": "often"})"));
  EXPECT_FALSE(with(tiny_bpe(), "decoder", R"({"type": 5})"));
  EXPECT_FALSE(with(tiny_bpe(), "post_processor", R"({"type": "BertProcessing", "cls": ["x", -4], "sep": ["x", 1]})"));
  EXPECT_FALSE(with(tiny_bpe(), "post_processor",
                    R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]})"));
  EXPECT_FALSE(with(tiny_bpe(), "added_tokens", R"([{"id": 99999999999, "content": "x"}])"));
  EXPECT_FALSE(with(tiny_bpe(), "added_tokens", R"([{"id": 5}])"));
}

TEST(HostilePipeline, NestedWithoutEndIsRefused) {
  std::string nested = R"({"type": "Lowercase"})";
  for (int i = 0; i < 100; ++i) nested = R"({"type": "Sequence", "normalizers": [)" + nested + "]}";
  EXPECT_FALSE(with(tiny_bpe(), "normalizer", nested.c_str()));
}

TEST(HostilePipeline, ThatGrowsTheTextWithoutBoundFailsEarly) {
  std::string doubling;
  for (int i = 0; i < 60; ++i)
    doubling += std::string(i ? "," : "") + R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})";
  EXPECT_FALSE(
      value(with(tiny_bpe(), "normalizer", (R"({"type": "Sequence", "normalizers": [)" + doubling + "]}").c_str()))
          .encode("a"));
  std::string spelling;
  for (int i = 0; i < 60; ++i)
    spelling += std::string(i ? "," : "") + R"({"type": "ByteLevel", "add_prefix_space": true, "use_regex": false})";
  EXPECT_FALSE(value(with(tiny_unigram(), "pre_tokenizer",
                          (R"({"type": "Sequence", "pretokenizers": [)" + spelling + "]}").c_str()))
                   .encode("\u00e9"));
}

TEST(HostileCharsmap, IsRefusedOrHarmless) {
  const auto load = [](const std::string& base64) {
    return with(tiny_unigram(), "normalizer",
                (R"({"type": "Precompiled", "precompiled_charsmap": ")" + base64 + "\"}").c_str());
  };
  EXPECT_FALSE(load("AAA"));           // two bytes
  EXPECT_FALSE(load("AwAAAAAAAAAA"));  // a trie of three bytes
  EXPECT_FALSE(load("/////wAAAAA="));  // a trie of four gigabytes
  EXPECT_FALSE(load("*"));
  std::mt19937 random(3);
  constexpr const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int i = 0; i < 2000; ++i) {
    std::string text = "EAAA";  // 16 bytes of trie follow
    for (int k = 0; k < 32; ++k) text += digits[random() % 64];
    if (const auto t = load(text)) (void)t->encode("abc \u00e9\u732b e\u0301\r\n");
  }
}

// Flips, drops and doubles bytes of a real file. What still loads must encode.
void mutate(const std::string& file, const std::function<Result<Tokenizer>(const std::string&)>& load, int times) {
  std::mt19937 random(11);
  for (int i = 0; i < times; ++i) {
    std::string bad = file;
    for (uint32_t k = random() % 4 + 1; k > 0; --k) {
      const size_t at = random() % bad.size();
      switch (random() % 4) {
        case 0:
          bad[at] = static_cast<char>(random());
          break;
        case 1:
          bad.erase(at, random() % 8 + 1);
          break;
        case 2:
          bad.insert(at, bad.substr(at / 2, random() % 16));
          break;
        default:
          bad.resize(at + 1);
          break;
      }
    }
    const auto t = load(bad);
    if (!t) {
      EXPECT_FALSE(t.error().what.empty());
      continue;
    }
    const auto e = t->encode("A blue <unk> rocket \u732b\u00e9 \ufb01 123</s>", {.max_length = 6});
    if (e) (void)t->decode(e->ids);
  }
}

TEST(MutatedFile, OfTokenizerJsonNeverEndsTheProcess) {
  for (const char* name : {"gpt2", "llama2", "unigram", "clip"})
    mutate(
        value(read_file(kGolden + name + ".json")), [](const std::string& s) { return Tokenizer::from_json(s); }, 150);
}

TEST(MutatedFile, OfSentencepieceNeverEndsTheProcess) {
  mutate(
      value(read_file(kSource + "/weights/cairn-emoji/tokenizer_2/spiece.model")),
      [](const std::string& s) { return Tokenizer::from_sentencepiece(s); }, 100);
}

TEST(TruncatedFile, OfSentencepieceIsAnErrorOrStillATokenizer) {
  const std::string whole = value(read_file(kSource + "/weights/cairn-emoji/tokenizer_2/spiece.model"));
  EXPECT_FALSE(Tokenizer::from_sentencepiece(""));
  EXPECT_FALSE(Tokenizer::from_sentencepiece(whole.substr(0, 10)));
  EXPECT_FALSE(Tokenizer::from_sentencepiece(whole.substr(0, whole.size() - 100000))) << "cut inside the character map";
}

TEST(TruncatedFile, OfAnyKindNamesItsPath) {
  Copy clip = clip_without_json();
  ASSERT_TRUE(write_file(clip.path() + "/vocab.json", "{\"a\": 1"));
  EXPECT_NE(error_of(Tokenizer::load(clip.path())).find("vocab.json"), std::string::npos);
  ASSERT_TRUE(write_file(clip.path() + "/vocab.json", R"({"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2})"));
  EXPECT_NE(error_of(Tokenizer::load(clip.path())).find("merges.txt"), std::string::npos);
  ASSERT_TRUE(write_file(clip.path() + "/merges.txt", "#version: 0.2\nnopair\n"));
  EXPECT_NE(error_of(Tokenizer::load(clip.path())).find("line 2"), std::string::npos);
  ASSERT_TRUE(write_file(clip.path() + "/tokenizer_config.json", "[1]"));
  EXPECT_NE(error_of(Tokenizer::load(clip.path())).find("tokenizer_config.json"), std::string::npos);
}

}  // namespace
}  // namespace cairn::text
