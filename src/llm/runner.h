// Runs planned steps on a model.
#pragma once
#include <map>
#include <memory>
#include <span>

#include "base/fields.h"
#include "device/graph.h"
#include "llm/causal_lm.h"
#include "llm/plan/step_plan.h"

namespace cairn::llm {

// The device image of a plan, with kLastSampled where a token is not known yet. `stretched`: for each row, whether its
// sequence is run with longrope's long factors.
// `drafts`: for each row, the tokens that speculation proposes behind it, at most PlanRow::drafts; empty for no row.
using Drafts = std::vector<std::vector<Token>>;
Batch batch_of(const StepPlan& plan, int64_t block_size, const std::vector<bool>& stretched, const Drafts& drafts = {});

struct GraphConfig {
  bool disable = false;
  int64_t max_bs = 64;

  void fields(auto& f) {
    f("disable_graph", disable, "start every kernel anew instead of replaying captured steps",
      alias({"disable_cuda_graph"}))("graph_max_bs", max_bs, "most sequences of a step that is captured",
                                     alias({"cuda_graph_max_bs"}).between(1, 65536));
  }
};

// Runs steps. Those of one token a sequence, which answers under way consist of, are captured as graphs at their second
// occurrence, one for each number of sequences, and replayed from then on. A model that cannot be captured is run as it
// is. Of one thread at a time; model and cache must outlive it.
class Runner {
 public:
  Runner(const CausalLm& model, const KvCache& cache, GraphConfig config)
      : model_(model), cache_(cache), config_(config) {}

  // Valid until the next run; logits may be overwritten.
  struct Out {
    Tensor hidden;  // (T, D), of all rows
    Tensor logits;  // (n, vocabulary) of the rows asked for; undefined for none
  };
  Out run(const Batch& batch, std::span<const int64_t> sampled);

  int64_t replays() const { return replays_; }
  const std::string& refused() const { return refused_; }  // why nothing is captured; empty while it may be

 private:
  struct Decode {
    Batch image;  // what the graph reads
    Out out;
    std::optional<device::Graph> graph;
  };
  Out eager(const Batch& batch, std::span<const int64_t> sampled) const;
  Out capture(Decode& to, const Batch& batch, std::span<const int64_t> sampled);
  bool decodes(const Batch& batch, std::span<const int64_t> sampled) const;
  void fill(Batch& image, const Batch& batch) const;

  const CausalLm& model_;
  const KvCache& cache_;
  GraphConfig config_;
  Arena memory_;  // of all graphs: one is replayed at a time
  std::map<int64_t, std::optional<Decode>> graphs_;
  std::string refused_;
  int64_t replays_ = 0;
};

}  // namespace cairn::llm
