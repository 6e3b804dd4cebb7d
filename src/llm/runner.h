// Runs planned steps on a model.
#pragma once
#include <map>
#include <memory>
#include <span>

#include "base/fields.h"
#include "device/graph.h"
#include "llm/causal_lm.h"
#include "llm/plan/step_plan.h"
#include "llm/step_image.h"

namespace cairn::llm {

// The device image of a plan, with kLastSampled where a token is not known yet. `stretched`: for each row, whether its
// sequence is run with longrope's long factors.
// `drafts`: for each row, the tokens that speculation proposes behind it, at most PlanRow::drafts; empty for no row.
using Drafts = std::vector<std::vector<Token>>;
Batch batch_of(const StepPlan& plan, int64_t block_size, const std::vector<bool>& stretched, const Drafts& drafts = {});

// Rows of a tensor (n, D), in that order.
Tensor rows_of(const Tensor& t, std::span<const int64_t> rows);

struct GraphConfig {
  bool disable = false, disable_padding = false;
  int64_t max_bs = 64;
  std::vector<int64_t> sizes{};

  // How many sequences a captured step has that runs so many: the least of `sizes` that holds them. 0: none.
  int64_t size_for(int64_t sequences, bool processor) const;

  void fields(auto& f) {
    f("disable_graph", disable, "start every kernel anew instead of replaying captured steps",
      alias({"disable_cuda_graph"}))("graph_max_bs", max_bs, "most sequences of a step that is captured",
                                     alias({"cuda_graph_max_bs"}).between(1, 65536));
    f("graph_bs", sizes,
      "sizes that are captured; smaller steps are filled up. Without: each on a processor, else 1, 2, 4, 8, 12, 16, "
      "then every 8th",
      alias({"cuda_graph_bs"}).between(1, 65536));
    f("disable_graph_padding", disable_padding, "replay steps of exactly the captured sizes only",
      alias({"disable_cuda_graph_padding"}));
  }
};

// Runs steps. Those of one token a sequence, which answers under way consist of, are captured as graphs at their second
// occurrence, one for each size, and replayed from then on. Where the first capture fails none is tried again; where a
// later one does, as when the device has no room for another, that size alone is run as it is. Of one thread at a time;
// model and cache must outlive it.
class Runner {
 public:
  Runner(const CausalLm& model, const KvCache& cache, GraphConfig config)
      : model_(model), cache_(cache), config_(std::move(config)), stream_(model.device()), memory_(model.device()) {}

  ~Runner();  // waits for the device: it may be reading what goes
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // On the model's device, valid until the next run; logits may be overwritten.
  struct Out {
    Tensor hidden;  // (T, D), of all rows
    Tensor logits;  // (n, vocabulary) of the rows asked for; undefined for none
  };
  Out run(const Batch& batch, std::span<const int64_t> sampled);

  // Where that happens: who reads what run() gives, does it there.
  const device::Stream& stream() const { return stream_; }

  int64_t replays() const { return replays_; }
  const std::string& refused() const { return refused_; }  // why nothing is captured; empty while it may be

 private:
  struct Decode {
    Decode(const CausalLm& model, const KvCache& cache, int64_t rows, int64_t columns)
        : image(model, cache, rows, columns) {}
    StepImage image;  // what the graph reads
    Out out;
    std::optional<device::Graph> graph;
  };
  Out eager(const Batch& batch, std::span<const int64_t> sampled) const;
  Out forward(const Batch& batch, std::span<const int64_t> sampled) const;
  Out capture(std::optional<Decode>& to, int64_t size, const Batch& batch, std::span<const int64_t> sampled);
  Out replay(Decode& d, const Batch& batch);
  bool decodes(const Batch& batch, std::span<const int64_t> sampled) const;

  const CausalLm& model_;
  const KvCache& cache_;
  GraphConfig config_;
  device::Stream stream_;
  device::GraphMemory memory_;  // of all graphs: one is replayed at a time
  std::map<int64_t, std::optional<Decode>> graphs_;
  std::string refused_;
  int64_t replays_ = 0;
};

}  // namespace cairn::llm
