// cairn bench one-batch: a model's bare speed on one batch: prompts of random ids, then a token for each at a time.
#include <fmt/core.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "app/bench.h"
#include "app/ceilings.h"
#include "app/commands.h"
#include "app/flags.h"
#include "app/language_options.h"
#include "app/report.h"
#include "base/file.h"
#include "device/device.h"
#include "llm/runner.h"
#include "ops/profile.h"

namespace cairn::app {
namespace {

struct OneBatchOptions {
  int64_t batch_size = 1, input_len = 512, output_len = 64, repeat = 3, chunk = 2048, block_size = 0;
  bool profile = false, limits = false;
  std::string json;

  void fields(auto& f) {
    f("batch_size", batch_size, "sequences", between(1, 4096))("input_len", input_len, "tokens of a prompt",
                                                               between(1, 1 << 20));
    f("output_len", output_len, "tokens of an answer; ends are ignored", between(1, 1 << 20));
    f("repeat", repeat, "rounds after one that warms up; medians are shown", between(1, 1000));
    f("chunked_prefill_size", chunk, "prompt tokens a step", between(1, 1 << 20));
    f("page_size", block_size, "tokens a block of keys and values; 0: 16, on an NPU 128", between(0, 1024));
    f("profile", profile, "show how long the operations of a chunk of a prompt and of a decode step take");
    f("limits", limits, "measure what the device's memory and matrix product allow, too");
    f("json", json, "the numbers as JSON");
  }
};

Tensor longs(const std::vector<int64_t>& v) {
  Tensor t = empty({static_cast<int64_t>(v.size())}, Dtype::Long);
  std::copy(v.begin(), v.end(), static_cast<int64_t*>(t.mutable_data_ptr()));
  return t;
}

// Sequences of equal length that grow together.
class OneBatch {
 public:
  OneBatch(const OneBatchOptions& o, llm::Runner& runner)
      : o_(o), runner_(runner), tables_(static_cast<size_t>(o.batch_size)) {
    int32_t next = 0;
    const int64_t each = (o.input_len + o.output_len + o.block_size - 1) / o.block_size;
    for (auto& table : tables_) {
      table.resize(static_cast<size_t>(each));
      for (int32_t& b : table) b = next++;
    }
  }

  // `ids` from position `from` on for sequences [first, last): logits of their last tokens, where the model computes.
  Tensor run(size_t first, size_t last, const std::vector<std::vector<int64_t>>& ids, int64_t from) {
    std::vector<int64_t> tokens, positions, slots, sampled;
    llm::Batch batch;
    for (size_t s = first; s < last; ++s) {
      const auto rows = static_cast<int64_t>(ids[s].size());
      batch.sequences.push_back({static_cast<int64_t>(tokens.size()), rows, from + rows, tables_[s].data()});
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t at = from + i;
        tokens.push_back(ids[s][static_cast<size_t>(i)]);
        positions.push_back(at);
        slots.push_back(tables_[s][static_cast<size_t>(at / o_.block_size)] * o_.block_size + at % o_.block_size);
      }
      sampled.push_back(static_cast<int64_t>(tokens.size()) - 1);
    }
    batch.tokens = longs(tokens), batch.positions = longs(positions), batch.slots = longs(slots);
    return runner_.run(batch, sampled).logits;
  }

 private:
  const OneBatchOptions& o_;
  llm::Runner& runner_;
  std::vector<std::vector<int32_t>> tables_;
};

struct Times {
  double prefill = 0;
  std::vector<double> decode;  // of each step
};

Result<Times> round(const llm::CausalLm& model, const OneBatchOptions& o, llm::Runner& runner, uint32_t seed) {
  const Inference no_gradients;
  const device::Stream::Use use(runner.stream());
  OneBatch batch(o, runner);
  std::mt19937 random(seed);
  std::uniform_int_distribution<int64_t> any(0, model.vocabulary() - 1);
  const auto sequences = static_cast<size_t>(o.batch_size);
  std::vector<std::vector<int64_t>> prompts(sequences), next(sequences);
  for (auto& p : prompts)
    for (int64_t i = 0; i < o.input_len; ++i) p.push_back(any(random));
  Times t;
  double start = seconds_now();
  Tensor last = empty({o.batch_size, 1}, kF32);
  for (size_t s = 0; s < sequences; ++s)
    for (int64_t from = 0; from < o.input_len; from += o.chunk) {
      if (interrupted) return failure(Code::kCancelled, "stopped in prefill");
      const int64_t to = std::min(o.input_len, from + o.chunk);
      std::vector<std::vector<int64_t>> part(sequences);
      part[s].assign(prompts[s].begin() + from, prompts[s].begin() + to);
      const Tensor logits = batch.run(s, s + 1, part, from);
      if (to == o.input_len) next[s] = {logits[0].argmax().item<int64_t>()};
    }
  t.prefill = seconds_now() - start;
  for (int64_t i = 0; i < o.output_len; ++i) {
    if (interrupted) return failure(Code::kCancelled, "stopped in decode");
    start = seconds_now();
    const Tensor chosen = on_host(batch.run(0, sequences, next, o.input_len + i).argmax(-1));
    for (size_t s = 0; s < sequences; ++s) next[s] = {chosen[static_cast<int64_t>(s)].item<int64_t>()};
    t.decode.push_back(seconds_now() - start);
  }
  return t;
}

// What the machine allows, and how much of it is used.
class Limits {
 public:
  // `cache` may be written to.
  Limits(const llm::CausalLm& model, const OneBatchOptions& o, llm::KvCache& cache)
      : tokens_(static_cast<double>(o.input_len)),
        bytes_(weight_bytes(model, o, cache)),
        size_(static_cast<double>(c10::elementSize(model.dtype()))),
        matmul(model.device(), model.dtype()),
        memory(model.device(), static_cast<int64_t>(bytes_.all)) {
    measure();
  }
  void measure() {
    matmul.measure();
    memory.measure();
  }
  // Of a prompt and of a step of one batch that took so many seconds.
  void print(double prefill, double decode) const {
    fmt::print("prefill {:.0f} of {:.0f} GFLOP/s that libtorch's product of {} x {} makes ({:.0f} %)\n",
               flops() / prefill / 1e9, matmul.value() / 1e9, matmul.side(), matmul.side(),
               100 * flops() / prefill / matmul.value());
    fmt::print("decode {:.1f} MB of weights a step: {:.1f} GB/s; {} {:.1f}\n", bytes_.all / 1e6,
               bytes_.all / decode / 1e9, memory.way(), memory.value() / 1e9);
  }
  void add_to(Json& report, double prefill, double decode) const {
    report.set("matmul_gflops_per_s", matmul.value() / 1e9);
    report.set("prefill_share_of_matmul", flops() / prefill / matmul.value());
    report.set("memory_gb_per_s", memory.value() / 1e9);
    report.set("decode_weight_bytes", bytes_.all);
    report.set("decode_share_of_memory", bytes_.all / decode / memory.value());
  }

 private:
  struct Bytes {
    double all = 0, head = 0;
  };
  static Bytes weight_bytes(const llm::CausalLm& model, const OneBatchOptions& o, llm::KvCache& cache) {
    const Inference no_gradients;
    llm::Runner eager(model, cache, {.disable = true});
    OneBatch batch(o, eager);
    const ops::Profile profile(model.device());
    batch.run(0, 1, {{1}}, 0);
    Bytes out;
    for (const auto& [name, row] : profile.rows()) {
      out.all += row.weight_bytes;
      if (name == "linear") out.head += row.weight_bytes;  // that of the logits, of one row
    }
    return out;
  }

  double flops() const { return 2 * (tokens_ * (bytes_.all - bytes_.head) + bytes_.head) / size_; }

  double tokens_;
  Bytes bytes_;
  double size_;
  MatmulCeiling matmul;
  MemoryCeiling memory;
};

void print_profile(const ops::Profile& profile, const char* what) {
  fmt::print("\n{:<24}{:>10}{:>8}{:>12}\n", what, "ms", "calls", "us a call");
  auto rows = profile.rows();
  std::vector<std::pair<std::string, ops::Profile::Row>> sorted(rows.begin(), rows.end());
  std::ranges::sort(sorted, [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  for (const auto& [name, row] : sorted)
    fmt::print("{:<24}{:>10.3f}{:>8}{:>12.1f}\n", name, row.seconds * 1e3, row.calls,
               row.seconds / static_cast<double>(row.calls) * 1e6);
}

}  // namespace

Result<int> bench_one_batch(const Arguments& args) {
  Flags flags("cairn bench one-batch [FLAGS]",
              "Times prefill and decode of one batch, without a server or a scheduler.");
  OneBatchOptions o;
  LanguageOptions lo;
  llm::GraphConfig graph;
  flags.add("Benchmark", o);
  flags.add("Graphs", graph);
  flags.add("Model", lo);
  if (!TRY(flags.parse(args))) return 0;
  const auto lm = TRY(load_language(lo));
  if (o.block_size == 0) o.block_size = llm::default_block_size(lm.model->device());
  if (o.input_len + o.output_len > lm.model->max_positions())
    return invalid(
        fmt::format("--input-len and --output-len go past the model's {} positions", lm.model->max_positions()));
  llm::KvCache cache(lm.model->kv_shape(),
                     o.batch_size * ((o.input_len + o.output_len + o.block_size - 1) / o.block_size), o.block_size,
                     lm.model->dtype(), lm.model->device());
  llm::Runner runner(*lm.model, cache, graph);
  std::vector<double> prefill, decode, total;
  std::optional<Limits> limits;
  for (int64_t i = 0; i <= o.repeat; ++i) {
    if (limits) limits->measure();
    const Times t = TRY(round(*lm.model, o, runner, static_cast<uint32_t>(i)));
    if (i == 0) {  // weights are packed at their first use
      if (o.limits) limits.emplace(*lm.model, o, cache);
      continue;
    }
    const double all = std::accumulate(t.decode.begin(), t.decode.end(), 0.0);
    prefill.push_back(t.prefill);
    decode.push_back(all / static_cast<double>(t.decode.size()));
    total.push_back(t.prefill + all);
  }
  const double prefill_rate = static_cast<double>(o.batch_size * o.input_len) / median(prefill),
               decode_rate = static_cast<double>(o.batch_size) / median(decode);
  fmt::print("{}, {}, {}: batch {}, {} tokens in, {} out\n", lm.name, dtype_name(lm.model->dtype()),
             where_computed(lm.model->device()), o.batch_size, o.input_len, o.output_len);
  fmt::print("prefill {:.1f} ms, {:.0f} tok/s; decode {:.3f} ms a step, {:.1f} tok/s; {:.3f} s in all\n",
             median(prefill) * 1e3, prefill_rate, median(decode) * 1e3, decode_rate, median(total));
  Json report(Json::Object{{"model", lm.name},
                           {"dtype", dtype_name(lm.model->dtype())},
                           {"device", lm.model->device().str()},
                           {"threads", device::threads()},
                           {"batch_size", o.batch_size},
                           {"input_len", o.input_len},
                           {"output_len", o.output_len},
                           {"prefill_s", median(prefill)},
                           {"prefill_throughput", prefill_rate},
                           {"decode_step_s", median(decode)},
                           {"decode_throughput", decode_rate},
                           {"total_s", median(total)},
                           {"graph_replays", runner.replays()},
                           {"graphs_refused", runner.refused()}});
  if (limits) {
    const double prompt = median(prefill) / static_cast<double>(o.batch_size);
    limits->measure();
    limits->print(prompt, median(decode));
    limits->add_to(report, prompt, median(decode));
  }
  if (!runner.refused().empty()) fmt::print("every kernel started anew: {}\n", runner.refused());
  if (o.profile) {
    llm::Runner eager(*lm.model, cache, {.disable = true});
    OneBatch batch(o, eager);
    const Inference no_gradients;
    const std::vector<std::vector<int64_t>> next(static_cast<size_t>(o.batch_size), {1});
    const std::vector<std::vector<int64_t>> chunk(1, std::vector<int64_t>(std::min(o.chunk, o.input_len), 1));
    {
      const ops::Profile profile(lm.model->device());
      batch.run(0, 1, chunk, 0);
      print_profile(profile, "first chunk of a prompt");
    }
    const ops::Profile profile(lm.model->device());
    batch.run(0, static_cast<size_t>(o.batch_size), next, o.input_len);
    print_profile(profile, "decode step");
  }
  if (!o.json.empty()) TRY_VOID(write_file(o.json, report.dump(2) + "\n"));
  return 0;
}

}  // namespace cairn::app
