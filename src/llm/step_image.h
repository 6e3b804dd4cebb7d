// A step where its model computes: the batch with its tensors on the model's device, and with what the model reads of
// positions worked out.
#pragma once
#include <span>

#include "llm/causal_lm.h"

namespace cairn::llm {

// Of one step, for a model on an accelerator. Kernels look at nothing of what they are given, so tokens, positions and
// slots are looked at here: those that are not the model's or the cache's are a Failure or a Bug.
Batch on_device(const Batch& batch, const CausalLm& model, const KvCache& cache);

// Of all steps of one token for each of up to `rows` sequences, in the same memory, as graphs read it.
class StepImage {
 public:
  // `columns`: the most blocks that a sequence may have.
  StepImage(const CausalLm& model, const KvCache& cache, int64_t rows, int64_t columns);
  StepImage(const StepImage&) = delete;  // what it hands out points into it
  StepImage& operator=(const StepImage&) = delete;

  // Rows beyond the batch's are filled up with sequences of one token in the cache's spare block.
  void fill(const Batch& batch);
  const Batch& batch() const { return device_; }
  int64_t rows() const { return rows_; }

 private:
  const CausalLm& model_;
  const KvCache& cache_;
  const int64_t rows_;
  Tensor host_bytes_, device_bytes_;  // of what changes at every step, so that it goes to the device at once
  Batch host_, device_;               // the same where the model is on the processor
  Tensor tables_;                     // the host's of the last step: they seldom change
  int32_t spare_;
};

}  // namespace cairn::llm
