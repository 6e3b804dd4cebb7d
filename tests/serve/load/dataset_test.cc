#include "serve/load/dataset.h"

#include <gmock/gmock.h>

#include <fstream>
#include <set>

#include "base/file.h"
#include "base/strings.h"

namespace cairn::serve {
namespace {

using testing::HasSubstr;

std::vector<LoadPrompt> made(const DatasetOptions& o, bool as_ids,
                             const std::optional<text::Tokenizer>& tokenizer = std::nullopt) {
  return make_dataset(o, as_ids, tokenizer).value();
}

DatasetOptions random_options(int64_t prompts) {
  DatasetOptions o;
  o.num_prompts = prompts;
  o.random_input_len = 40;
  o.random_output_len = 10;
  return o;
}

text::Tokenizer tiny() { return text::Tokenizer::load(CAIRN_SOURCE_DIR "/weights/cairn-tiny-lm").value(); }

TEST(RandomDataset, DrawsLengthsFromTheRangeAndIsTheSameAgain) {
  auto o = random_options(300);
  o.random_range_ratio = 0.5;
  const auto prompts = made(o, true), again = made(o, true);
  std::set<int64_t> lengths;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto& p = prompts[i];
    EXPECT_EQ(p.ids, again[i].ids);
    EXPECT_EQ(p.prompt_len, static_cast<int64_t>(p.ids.size()));
    EXPECT_TRUE(p.prompt_len >= 20 && p.prompt_len <= 40 && p.output_len >= 5 && p.output_len <= 10);
    lengths.insert(p.prompt_len);
    for (const int64_t id : p.ids) EXPECT_TRUE(id >= 256 && id < 1024);
  }
  EXPECT_EQ(lengths.size(), 21u);
  o.seed = 2;
  EXPECT_NE(made(o, true)[0].ids, prompts[0].ids);
}

TEST(RandomDataset, WithARatioOfOneAllAreAsLongAsCanBe) {
  auto o = random_options(5);
  o.random_range_ratio = 1;
  for (const auto& p : made(o, true)) EXPECT_TRUE(p.prompt_len == 40 && p.output_len == 10);
}

TEST(RandomDataset, WritesWordsWithoutATokenizer) {
  auto o = random_options(3);
  o.random_range_ratio = 1;
  for (const auto& p : made(o, false)) {
    EXPECT_TRUE(p.ids.empty());
    EXPECT_EQ(split(p.text, ' ').size(), 40u);
    EXPECT_EQ(p.prompt_len, 40);
  }
}

TEST(RandomDataset, WritesTextsOfNearlyThatManyTokensWithATokenizer) {
  auto o = random_options(20);
  o.random_range_ratio = 1;
  const auto tokenizer = tiny();
  for (const auto& p : made(o, false, tokenizer)) {
    const auto ids = tokenizer.encode(p.text, {.add_special = false}).value().ids;
    EXPECT_EQ(p.prompt_len, static_cast<int64_t>(ids.size()));
    EXPECT_NEAR(static_cast<double>(p.prompt_len), 40, 8);
  }
  for (const auto& p : made(o, true, tokenizer))
    for (const int64_t id : p.ids) EXPECT_LT(id, static_cast<int64_t>(tokenizer.vocabulary_size()));
}

TEST(SharedPrefixDataset, SharesABeginningWithinEachGroupOnly) {
  DatasetOptions o;
  o.dataset_name = "generated-shared-prefix";
  o.gsp_num_groups = 3;
  o.gsp_prompts_per_group = 4;
  o.gsp_system_prompt_len = 30;
  o.gsp_question_len = 5;
  const auto prompts = made(o, true);
  ASSERT_EQ(prompts.size(), 12u);
  std::multiset<std::vector<int64_t>> beginnings;
  std::set<std::vector<int64_t>> ends;
  for (const auto& p : prompts) {
    ASSERT_EQ(p.ids.size(), 35u);
    EXPECT_EQ(p.output_len, 256);
    beginnings.emplace(p.ids.begin(), p.ids.begin() + 30);
    ends.emplace(p.ids.begin() + 30, p.ids.end());
  }
  EXPECT_EQ(ends.size(), 12u);
  for (const auto& beginning : beginnings) EXPECT_EQ(beginnings.count(beginning), 4u);
  const auto texts = made(o, false);
  EXPECT_EQ(texts.size(), 12u);
  EXPECT_THAT(texts[0].text, HasSubstr("\n\n"));
}

class FileDataset : public testing::Test {
 protected:
  DatasetOptions with(const std::string& content) {
    path_ = testing::TempDir() + "cairn_dataset_test.jsonl";
    std::ofstream(path_) << content;
    DatasetOptions o;
    o.dataset_name = "jsonl";
    o.dataset_path = path_;
    o.random_output_len = 9;
    return o;
  }
  void TearDown() override { std::remove(path_.c_str()); }
  std::string path_;
};

TEST_F(FileDataset, ReadsTextsAndIdsUpToTheNumberOfPrompts) {
  auto o = with("{\"prompt\":\"a b c\",\"output_len\":3}\n\n{\"input_ids\":[1,2],\"other\":1}\n{\"text\":\"x\"}\n");
  const auto all = made(o, true);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].prompt_len, 3);
  EXPECT_EQ(all[0].output_len, 3);
  EXPECT_EQ(all[1].ids, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(all[1].output_len, 9);
  EXPECT_EQ(all[2].text, "x");
  o.num_prompts = 1;
  EXPECT_EQ(made(o, true).size(), 1u);
}

TEST_F(FileDataset, NamesTheLineThatIsWrong) {
  const auto refused = [&](const std::string& content, bool as_ids, const std::string& message) {
    const auto got = make_dataset(with(content), as_ids, std::nullopt);
    ASSERT_FALSE(got) << content;
    EXPECT_THAT(got.error().what, HasSubstr(message));
  };
  refused("{\"prompt\":\"a\"}\n{", true, "line 2");
  refused("{}", true, "line 1: expected \"prompt\"");
  refused("{\"prompt\":\"\"}", true, "is empty");
  refused("{\"prompt\":\"a\",\"input_ids\":[1]}", true, "expected \"prompt\"");
  refused("{\"prompt\":\"a\",\"output_len\":0}", true, "output_len");
  refused("{\"input_ids\":[1]}", false, "sends texts");
  refused("\n", true, "has no prompts");
}

TEST(Dataset, RefusesMoreThanFitsInMemory) {
  auto o = random_options(10'000'000);
  o.random_input_len = 10'000'000;
  EXPECT_THAT(make_dataset(o, true, std::nullopt).error().what, HasSubstr("may hold"));
  o.dataset_name = "generated-shared-prefix";
  o.gsp_num_groups = o.gsp_prompts_per_group = 1'000'000;
  EXPECT_THAT(make_dataset(o, true, std::nullopt).error().what, HasSubstr("may hold"));
  o.dataset_name = "jsonl";
  EXPECT_THAT(make_dataset(o, true, std::nullopt).error().what, HasSubstr("--dataset-path"));
}

}  // namespace
}  // namespace cairn::serve
