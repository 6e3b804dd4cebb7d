// Decoders of every family against logits and continuations recorded from transformers
// (tests/golden/lm-arch/README.md has the tolerances), and laws that hold without records.
#include <gmock/gmock.h>

#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "llm/step_image.h"
#include "models/golden.h"
#include "models/language.h"
#include "nn/weights.h"

namespace cairn {
namespace {

using testing::golden;
using testing::source_path;

Tensor longs(const std::vector<int64_t>& v) {
  Tensor t = empty({static_cast<int64_t>(v.size())}, Dtype::Long);
  std::copy(v.begin(), v.end(), static_cast<int64_t*>(t.mutable_data_ptr()));
  return t;
}

// Sequences that share a model and a cache, whose blocks lie in no particular order.
class Session {
 public:
  // `blocks`: a power of two.
  explicit Session(const llm::CausalLm& model, int64_t block_size = 4, int64_t blocks = 128)
      : model_(model),
        size_(block_size),
        count_(blocks),
        cache_(model.kv_shape(), blocks, block_size, model.dtype(), model.device()) {}

  struct Part {
    size_t sequence;
    std::vector<int64_t> tokens;
  };

  // Runs the parts as one step; logits of every row (T, vocabulary).
  Tensor run(const std::vector<Part>& parts, bool stretched = false) {
    std::vector<int64_t> tokens, positions, slots;
    llm::Batch batch;
    for (const Part& p : parts) {
      auto& length = lengths_[p.sequence];
      auto& blocks = blocks_[p.sequence];
      const auto rows = static_cast<int64_t>(p.tokens.size()), first = static_cast<int64_t>(tokens.size());
      for (int64_t i = 0; i < rows; ++i, ++length) {
        if (length % size_ == 0) {
          if (next_ >= count_) throw Failure(Error{Code::kExhausted, "the test needs more blocks"});
          blocks.push_back(static_cast<int32_t>(next_++ * 37 % count_));
        }
        tokens.push_back(p.tokens[static_cast<size_t>(i)]);
        positions.push_back(length);
        slots.push_back(blocks.back() * size_ + length % size_);
      }
      batch.sequences.push_back({first, rows, length, blocks.data()});
    }
    batch.tokens = longs(tokens), batch.positions = longs(positions), batch.slots = longs(slots);
    if (stretched) batch.stretched.assign(tokens.size(), true);
    const Inference no_gradients;
    if (!model_.device().is_cpu()) batch = llm::on_device(batch, model_, cache_);
    return on_host(model_.logits(model_.forward(batch, cache_)));
  }

 private:
  const llm::CausalLm& model_;
  int64_t size_, count_, next_ = 0;  // 37 and the count share no factor: each block is used once
  llm::KvCache cache_;
  std::map<size_t, int64_t> lengths_;
  std::map<size_t, std::vector<int32_t>> blocks_;
};

std::vector<int64_t> ids_of(const Tensor& t) {
  const Tensor c = t.contiguous();
  const auto* p = static_cast<const int64_t*>(c.const_data_ptr());
  return {p, p + c.numel()};
}
double farthest(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

std::vector<std::string> families() {
  std::vector<std::string> names;
  for (const auto& e : std::filesystem::directory_iterator(source_path("tests/golden/lm-arch")))
    if (e.is_directory()) names.push_back(e.path().filename());
  std::ranges::sort(names);
  return names;
}

class Language : public ::testing::TestWithParam<std::string> {
 protected:
  static std::unique_ptr<llm::CausalLm> model(const std::string& config = "config.json", Dtype dtype = kF32) {
    const std::string folder = source_path("tests/golden/lm-arch/" + GetParam());
    auto source = or_throw(nn::open_checkpoint(folder, {"model"}));
    return or_throw(models::make_language_model(or_throw(Json::read(folder + "/" + config)),
                                                nn::Weights(std::move(source), dtype, device_under_test())));
  }
  static Tensor recorded(const std::string& name) {
    return golden("lm-arch/" + GetParam() + "/golden.safetensors", name);
  }
};

TEST_P(Language, GivesTheRecordedLogitsFromBothKeyStyles) {
  for (const char* config : {"config.json", "config.legacy.json"}) {
    const auto m = model(config);
    for (const std::string row : {"row0", "row1"}) {
      const auto ids = ids_of(recorded(row + ".ids"));
      const bool longer = m->switch_length() && static_cast<int64_t>(ids.size()) > m->switch_length();
      EXPECT_LT(farthest(Session(*m).run({{0, ids}}, longer), recorded(row + ".logits")), 1e-4) << config << " " << row;
    }
  }
}

// Prompts in chunks, both in one batch, then token by token: the recorded continuation.
TEST_P(Language, ContinuesAsRecordedInBatchesAndChunks) {
  const auto m = model();
  if (m->switch_length()) return;  // the next test
  Session s(*m);
  std::vector<std::vector<int64_t>> ids, greedy;
  for (const std::string row : {"row0", "row1"}) {
    ids.push_back(ids_of(recorded(row + ".ids")));
    greedy.push_back(ids_of(recorded(row + ".greedy")));
  }
  const auto part = [&](size_t q, size_t from, size_t to) {
    return Session::Part{q, {ids[q].begin() + static_cast<int64_t>(from), ids[q].begin() + static_cast<int64_t>(to)}};
  };
  s.run({part(0, 0, 17)});
  s.run({part(1, 0, 5), part(0, 17, 18)});
  Tensor y = s.run({part(0, 18, ids[0].size()), part(1, 5, ids[1].size())});
  const auto last = static_cast<int64_t>(ids[0].size() - 18);
  EXPECT_LT(farthest(y.narrow(0, last - 1, 1), recorded("row0.logits").slice(0, -1)), 1e-4);
  EXPECT_LT(farthest(y.slice(0, -1), recorded("row1.logits").slice(0, -1)), 1e-4);
  int64_t next[] = {y[last - 1].argmax().item<int64_t>(), y[-1].argmax().item<int64_t>()};
  for (size_t i = 0; i < greedy[0].size(); ++i) {
    EXPECT_EQ(next[0], greedy[0][i]) << i;
    EXPECT_EQ(next[1], greedy[1][i]) << i;
    y = s.run({{1, {greedy[1][i]}}, {0, {greedy[0][i]}}});
    next[1] = y[0].argmax().item<int64_t>(), next[0] = y[1].argmax().item<int64_t>();
  }
}

// A sequence that outgrows longrope's short factors starts anew with the long ones.
TEST_P(Language, ContinuesAsRecordedFromTheFirstToken) {
  const auto m = model();
  for (const std::string row : {"row0", "row1"}) {
    auto ids = ids_of(recorded(row + ".ids"));
    const auto greedy = ids_of(recorded(row + ".greedy"));
    for (size_t i = 0; i < greedy.size(); i += m->switch_length() ? 1 : 8) {
      auto all = ids;
      all.insert(all.end(), greedy.begin(), greedy.begin() + static_cast<int64_t>(i));
      const bool longer = m->switch_length() && static_cast<int64_t>(all.size()) > m->switch_length();
      EXPECT_EQ(Session(*m).run({{0, all}}, longer)[-1].argmax().item<int64_t>(), greedy[i]) << row << " " << i;
    }
  }
}

TEST_P(Language, InBf16StaysNearTheRecordedLogits) {
  const auto m = model("config.json", kBF16);
  const auto ids = ids_of(recorded("row1.ids"));
  const Tensor want = recorded("row1.logits"), got = Session(*m).run({{0, ids}});
  // A router may choose another expert in bf16: rows, not their maximum.
  const double error = ((got - want).pow(2).mean(-1).sqrt().median().item<double>());
  EXPECT_LT(error, 0.1);
}

INSTANTIATE_TEST_SUITE_P(Families, Language, ::testing::ValuesIn(families()), [](const auto& p) {
  std::string name = p.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

// The model that ships with Cairn, on the prompts of tests/golden/lm.
class TinyLm : public ::testing::TestWithParam<Dtype> {
 protected:
  static std::vector<Json> cases() {
    std::vector<Json> out;
    const std::string text = or_throw(read_file(source_path("tests/golden/lm/cases.jsonl")));
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find('\n', at);
      out.push_back(or_throw(Json::parse(text.substr(at, end - at))));
      at = end + 1;
    }
    return out;
  }
  static std::vector<int64_t> numbers(const Json& list) {
    std::vector<int64_t> out;
    for (const Json& v : *list.as_array()) out.push_back(*v.as_int());
    return out;
  }
};

TEST_P(TinyLm, PromptsInOneBatchGiveTheRecordedLogitsAndContinuations) {
  const bool exact = GetParam() == kF32;
  const auto model =
      or_throw(models::load_language_model(source_path("weights/cairn-tiny-lm"), GetParam(), device_under_test()));
  Session s(*model, 16, 2048);
  std::vector<Session::Part> parts;
  std::vector<std::vector<int64_t>> want;
  std::vector<std::vector<double>> margins;
  const auto all = cases();
  for (size_t i = 0; i < all.size(); ++i) {
    parts.push_back({i, numbers(*all[i].find("ids"))});
    want.push_back(numbers(*all[i].find("fp32")->find("new_ids")));
    margins.emplace_back();
    for (const Json& m : *all[i].find("fp32")->find("margins")->as_array()) margins.back().push_back(m.number());
  }
  Tensor y = s.run(parts);
  std::vector<Tensor> last;
  int64_t row = -1;
  double squares = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    last.push_back(y[row += static_cast<int64_t>(parts[i].tokens.size())]);
    const Tensor difference = last[i] - golden("lm/logits.safetensors", all[i].text("name") + ".fp32.last");
    EXPECT_LT(difference.abs().max().item<double>(), exact ? 1e-4 : 1.0) << all[i].text("name");
    squares += difference.pow(2).mean().item<double>();
  }
  EXPECT_LT(std::sqrt(squares / static_cast<double>(all.size())), exact ? 5e-5 : 0.03);
  // Greedy, fed with the recorded ids; each is compared where its margin is above the noise.
  size_t compared = 0;
  for (size_t step = 0; step < 128; ++step) {
    std::vector<Session::Part> next;
    for (size_t i = 0; i < all.size(); ++i) {
      if (step >= want[i].size()) continue;
      if (margins[i][step] > (exact ? 1e-3 : 0.25)) {
        EXPECT_EQ(last[i].argmax().item<int64_t>(), want[i][step]) << all[i].text("name") << " " << step;
        ++compared;
      }
      next.push_back({i, {want[i][step]}});
    }
    if (next.empty()) break;
    y = s.run(next);
    for (size_t j = 0; j < next.size(); ++j) last[next[j].sequence] = y[static_cast<int64_t>(j)];
  }
  EXPECT_GT(compared, 500u);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, TinyLm, ::testing::Values(kF32, kBF16),
                         [](const auto& p) { return dtype_name(p.param); });

TEST(LatentAttention, OnLatentsIsThatOnExpandedKeys) {
  for (const char* name : {"deepseek-v3", "deepseek-v2"}) {
    const std::string folder = source_path(std::string("tests/golden/lm-arch/") + name);
    const Json config = or_throw(Json::read(folder + "/config.json"));
    const nn::Weights w(or_throw(nn::open_checkpoint(folder, {"model"})), kF32, device_under_test());
    const auto ids = ids_of(golden(std::string("lm-arch/") + name + "/golden.safetensors", "row0.ids"));
    const auto absorbed = models::make_deepseek(w, config, models::Mla::kAbsorbed),
               plain = models::make_deepseek(w, config, models::Mla::kPlain);
    EXPECT_LT(farthest(Session(*absorbed).run({{0, ids}}), Session(*plain).run({{0, ids}})), 2e-5) << name;
  }
}

// With latents and rope parts of DeepSeek's own sizes, which a device's kernels may ask for: prompts, chunks of them
// and single tokens in one step, against fp32 on a processor.
TEST(LatentAttention, InBf16StaysNearFp32InStepsOfEveryKind) {
  const Json config = or_throw(Json::read(source_path("tests/models/deepseek-v3-latents.json")));
  const auto made = [&](Dtype dtype, c10::Device device) {
    return or_throw(models::make_language_model(config, nn::Weights(nn::synthetic(3), dtype, device)));
  };
  const auto exact = made(kF32, c10::DeviceType::CPU), model = made(kBF16, device_under_test());
  Session want(*exact, 128, 16), got(*model, 128, 16);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < 200; ++i) ids.push_back(i * 37 % 320);
  const auto tokens = [&](int64_t from, int64_t to) {
    return std::vector<int64_t>(ids.begin() + from, ids.begin() + to);
  };
  const std::vector<std::vector<Session::Part>> steps = {
      {{0, tokens(0, 120)}, {1, tokens(7, 12)}},  // expanded keys for the first, latents for the other
      {{2, tokens(0, 40)}, {1, tokens(12, 15)}, {0, tokens(120, 133)}},  // latents behind the first
      {{0, tokens(133, 134)}, {2, tokens(40, 41)}, {1, tokens(15, 16)}},
      {{1, tokens(16, 35)}, {0, tokens(134, 136)}}};
  for (size_t i = 0; i < steps.size(); ++i) {
    const Tensor y = got.run(steps[i]), x = want.run(steps[i]);
    const Tensor errors = (y - x).pow(2).sum(-1).div(x.pow(2).sum(-1)).sqrt();
    int64_t row = 0;
    for (const Session::Part& p : steps[i]) {
      const auto rows = static_cast<int64_t>(p.tokens.size());
      // A router may choose another expert in bf16: a sequence's rows, not their maximum.
      EXPECT_LT(errors.narrow(0, row, rows).median().item<double>(), 0.03) << "step " << i << ", row " << row;
      row += rows;
    }
  }
}

}  // namespace
}  // namespace cairn
