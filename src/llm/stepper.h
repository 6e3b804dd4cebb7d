// Runs steps, on a thread of its own where the engine's thread is to plan the next one and hand out what the last one
// gave meanwhile.
#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "llm/chooser.h"
#include "llm/runner.h"

namespace cairn::llm {

// Made, owned and dropped by the engine's thread. From Stepper::push until it is `over`, the stepping thread has it.
struct Step {
  uint64_t serial = 0;
  uint64_t behind = 0;  // the step under way when this one was planned, whose tokens it may take; 0: none
  StepPlan plan;
  Batch batch;  // kLastSampled stands for tokens that the step before chooses
  Drafts drafts;
  std::vector<std::shared_ptr<Chooser>> choosers;  // by row

  std::vector<RowOutcome> outcomes;  // by row
  StepResult result;                 // for the scheduler, filled in by the engine's thread
  Result<void> ran{};
  double seconds = 0;   // that it ran
  bool voided = false;  // it was not run: the step that it was planned behind has failed
  bool over = false;    // guarded by the Stepper's mutex
};

class Stepper {
 public:
  // `slots`: how many sequences run at once. `mutex` is the caller's, and `over` is told whenever a step is over.
  Stepper(const CausalLm& model, const KvCache& cache, GraphConfig graphs, int64_t slots, bool own_thread,
          std::mutex& mutex, std::condition_variable& over);
  ~Stepper() { stop(); }

  // Steps are run in this order; without a thread of its own, here and now.
  void push(Step& step);
  // Takes back the step that was pushed last. False: it has been begun.
  bool recall(const Step& step);
  // Ends the thread, when the step that is running is over.
  void stop();
  // Leaves the thread to a step that does not end; the Stepper and all that it was given must live on.
  void abandon();

 private:
  void loop();
  void run(Step& step);
  struct Wanted {
    size_t index;       // of a row of the plan
    int64_t logit_row;  // the first of its own
  };
  void choose(Step& step);
  void choose_there(Step& step, const Tensor& logits, std::span<const Wanted> there);
  void took(Step& step, size_t index, const Result<void>& ok);

  const CausalLm& model_;
  Runner runner_;
  std::vector<Token> last_;  // by slot: the token chosen last
  uint64_t failed_ = 0;      // the last step that failed

  std::mutex& mutex_;
  std::condition_variable& over_;
  std::condition_variable pushed_;
  std::deque<Step*> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace cairn::llm
