#include "serve/load/dataset.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "base/file.h"
#include "base/strings.h"

namespace cairn::serve {
namespace {

constexpr int64_t kMostTokens = 500'000'000;
constexpr std::array kWords = {"the",   "a",     "river", "stone", "light", "over", "under", "tree",
                               "house", "night", "day",   "sea",   "wind",  "road", "green", "blue",
                               "red",   "small", "old",   "new",   "and",   "of",   "to",    "in",
                               "with",  "for",   "bird",  "sun",   "moon",  "hill", "rain",  "fire"};

// The standard's distributions differ between libraries; a dataset must not.
class Random {
 public:
  explicit Random(int64_t seed) : bits_(static_cast<uint64_t>(seed)) {}
  int64_t between(int64_t least, int64_t most) {
    return least + static_cast<int64_t>(bits_() % static_cast<uint64_t>(most - least + 1));
  }
  template <class T>
  void shuffle(std::vector<T>& v) {
    for (size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[static_cast<size_t>(between(0, int64_t(i) - 1))]);
  }

 private:
  std::mt19937_64 bits_;
};

struct Maker {
  Random random;
  bool as_ids;
  const std::optional<text::Tokenizer>& tokenizer;

  std::vector<int64_t> ids(int64_t count) {
    const auto size = tokenizer ? static_cast<int64_t>(tokenizer->vocabulary_size()) : 1024;
    const int64_t least = size > 512 ? 256 : 0;
    std::vector<int64_t> out(static_cast<size_t>(count));
    for (int64_t& id : out) id = random.between(least, std::max(least, size - 1));
    return out;
  }

  // About `count` tokens of text. Random tokens do not survive being spelt: what is spelt is read again, cut or
  // lengthened until it is of that length, or nearly so.
  Result<std::string> text(int64_t count) {
    if (!tokenizer) {
      std::vector<std::string> words;
      for (int64_t i = 0; i < count; ++i)
        words.emplace_back(kWords[static_cast<size_t>(random.between(0, kWords.size() - 1))]);
      return join(words, " ");
    }
    auto wanted = ids(count);
    std::string out;
    for (int round = 0; round < 4; ++round) {
      out = TRY(tokenizer->decode(wanted, true));
      wanted = TRY(tokenizer->encode(out, {.add_special = false})).ids;
      const auto got = static_cast<int64_t>(wanted.size());
      if (got == count) break;
      const auto more = ids(std::max<int64_t>(0, count - got));
      wanted.resize(static_cast<size_t>(std::min(got, count)));
      wanted.insert(wanted.end(), more.begin(), more.end());
    }
    return out;
  }

  Result<int64_t> length(const std::string& of) const {
    if (tokenizer) return static_cast<int64_t>(TRY(tokenizer->encode(of, {.add_special = false})).ids.size());
    return std::ranges::count(of, ' ') + 1;
  }
};

Result<void> fits(double prompts, double tokens) {
  if (prompts * tokens <= static_cast<double>(kMostTokens)) return {};
  return invalid(fmt::format("{:.0f} prompts of {:.0f} tokens are more than the {} that a load test may hold", prompts,
                             tokens, kMostTokens));
}

Result<std::vector<LoadPrompt>> random_prompts(const DatasetOptions& o, Maker make) {
  TRY_VOID(fits(double(o.num_prompts), double(o.random_input_len)));
  const auto length = [&](int64_t most) {
    const auto least = static_cast<int64_t>(std::floor(static_cast<double>(most) * o.random_range_ratio));
    return make.random.between(std::max<int64_t>(1, least), most);
  };
  std::vector<LoadPrompt> out(static_cast<size_t>(o.num_prompts));
  for (auto& p : out) {
    p.prompt_len = length(o.random_input_len);
    p.output_len = length(o.random_output_len);
  }
  for (auto& p : out) {
    if (make.as_ids) {
      p.ids = make.ids(p.prompt_len);
    } else {
      p.text = TRY(make.text(p.prompt_len));
      p.prompt_len = TRY(make.length(p.text));
    }
  }
  return out;
}

Result<std::vector<LoadPrompt>> shared_prefixes(const DatasetOptions& o, Maker make) {
  TRY_VOID(fits(double(o.gsp_num_groups) * double(o.gsp_prompts_per_group),
                double(o.gsp_system_prompt_len) + double(o.gsp_question_len)));
  std::vector<LoadPrompt> out;
  for (int64_t group = 0; group < o.gsp_num_groups; ++group) {
    LoadPrompt shared;
    if (make.as_ids) {
      shared.ids = make.ids(o.gsp_system_prompt_len);
    } else {
      shared.text = TRY(make.text(o.gsp_system_prompt_len));
    }
    for (int64_t i = 0; i < o.gsp_prompts_per_group; ++i) {
      LoadPrompt p = shared;
      p.output_len = o.gsp_output_len;
      if (make.as_ids) {
        const auto question = make.ids(o.gsp_question_len);
        p.ids.insert(p.ids.end(), question.begin(), question.end());
        p.prompt_len = static_cast<int64_t>(p.ids.size());
      } else {
        p.text += "\n\n" + TRY(make.text(o.gsp_question_len));
        p.prompt_len = TRY(make.length(p.text));
      }
      out.push_back(std::move(p));
    }
  }
  make.random.shuffle(out);
  return out;
}

// One line of a dataset's file.
struct Line {
  std::optional<std::string> prompt;
  std::optional<std::vector<int64_t>> input_ids;
  int64_t output_len = 0;
  void fields(auto& f) {
    f("prompt", prompt, "", alias({"text"}))("input_ids", input_ids, "", between(0, 1e9));
    f("output_len", output_len, "", alias({"max_tokens"}).between(1, 1e7));
  }
};

Result<LoadPrompt> from_line(const std::string& line, const DatasetOptions& o, const Maker& make) {
  Line given;
  given.output_len = o.random_output_len;
  TRY_VOID(read_into(given, TRY(Json::parse(line)), "", Unknown::kIgnore));
  if (given.prompt.has_value() == given.input_ids.has_value())
    return invalid("expected \"prompt\", a text, or \"input_ids\", a list");
  LoadPrompt out{given.prompt.value_or(""), given.input_ids.value_or(std::vector<int64_t>()), 0, given.output_len};
  if (out.text.empty() && out.ids.empty()) return invalid("the prompt is empty");
  if (!out.ids.empty() && !make.as_ids) return invalid("input_ids are for the backend sglang; this one sends texts");
  out.prompt_len = out.ids.empty() ? TRY(make.length(out.text)) : static_cast<int64_t>(out.ids.size());
  return out;
}

Result<std::vector<LoadPrompt>> from_file(const DatasetOptions& o, const Maker& make) {
  if (o.dataset_path.empty()) return invalid("--dataset-name jsonl needs --dataset-path");
  const auto lines = split(TRY(read_file(o.dataset_path)), '\n');
  std::vector<LoadPrompt> out;
  for (size_t i = 0; i < lines.size() && out.size() < static_cast<size_t>(o.num_prompts); ++i) {
    if (trim(lines[i]).empty()) continue;
    auto prompt = from_line(lines[i], o, make);
    if (!prompt)
      return tl::unexpected(within(fmt::format("{}, line {}", o.dataset_path, i + 1), std::move(prompt).error()));
    out.push_back(*std::move(prompt));
  }
  if (out.empty()) return invalid(o.dataset_path + " has no prompts");
  return out;
}

}  // namespace

Result<std::vector<LoadPrompt>> make_dataset(const DatasetOptions& options, bool as_ids,
                                             const std::optional<text::Tokenizer>& tokenizer) {
  Maker make{Random(options.seed), as_ids, tokenizer};
  if (options.dataset_name == "jsonl") return from_file(options, make);
  if (options.dataset_name == "generated-shared-prefix") return shared_prefixes(options, std::move(make));
  return random_prompts(options, std::move(make));
}

}  // namespace cairn::serve
