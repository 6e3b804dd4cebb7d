#include "llm/stepper.h"

#include <chrono>

#include "device/health.h"
#include "tensor/survive.h"

namespace cairn::llm {

Stepper::Stepper(const CausalLm& model, const KvCache& cache, GraphConfig graphs, int64_t slots, bool own_thread,
                 std::mutex& mutex, std::condition_variable& over)
    : model_(model), runner_(model, cache, graphs), last_(static_cast<size_t>(slots)), mutex_(mutex), over_(over) {
  if (own_thread) thread_ = std::thread([this] { loop(); });
}

void Stepper::push(Step& step) {
  if (!thread_.joinable()) {
    run(step);
    step.over = true;
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(&step);
  }
  pushed_.notify_one();
}

bool Stepper::recall(const Step& step) {
  const std::lock_guard lock(mutex_);
  if (queue_.empty() || queue_.back() != &step) return false;
  queue_.pop_back();
  return true;
}

void Stepper::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  pushed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Stepper::abandon() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  queue_.clear();
  thread_.detach();
}

void Stepper::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    pushed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    Step& step = *queue_.front();
    queue_.pop_front();
    lock.unlock();
    run(step);
    lock.lock();
    step.over = true;
    lock.unlock();
    over_.notify_all();
    lock.lock();
  }
}

void Stepper::run(Step& step) {
  step.voided = step.behind != 0 && step.behind == failed_;
  if (step.voided) return;
  const auto start = std::chrono::steady_clock::now();
  const device::Busy busy(model_.device());
  step.ran = survived(
      [&] {
        const Inference no_gradients;
        const device::Stream::Use use(runner_.stream());
        auto* tokens = static_cast<int64_t*>(step.batch.tokens.mutable_data_ptr());
        for (size_t i = 0; i < step.plan.rows.size(); ++i) {
          const PlanRow& row = step.plan.rows[i];
          if (step.plan.inputs(row).back() == kLastSampled)
            tokens[step.batch.sequences[i].row + row.to - row.from - 1] = last_[static_cast<size_t>(row.slot)];
        }
        choose(step);
      },
      "send shorter requests, or fewer at once");
  step.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!step.ran) failed_ = step.serial;
}

void Stepper::choose(Step& step) {
  const auto guesses = [&](size_t i) { return step.drafts.empty() ? std::span<const Token>() : step.drafts[i]; };
  std::vector<int64_t> sampled;
  for (size_t i = 0; i < step.plan.rows.size(); ++i) {
    const PlanRow& row = step.plan.rows[i];
    if (!row.sample) continue;
    const int64_t first = step.batch.sequences[i].row + row.to - row.from - 1;
    for (size_t j = 0; j <= guesses(i).size(); ++j) sampled.push_back(first + static_cast<int64_t>(j));
  }
  const auto [hidden, on_device] = runner_.run(step.batch, sampled);
  const Tensor logits = on_device.defined() ? on_host(on_device) : on_device;
  std::span<float> left;
  if (logits.defined()) left = {static_cast<float*>(logits.mutable_data_ptr()), static_cast<size_t>(logits.numel())};
  for (size_t i = 0; i < step.plan.rows.size(); ++i) {
    const PlanRow& row = step.plan.rows[i];
    RowOutcome& outcome = step.outcomes[i];
    Chooser& chooser = *step.choosers[i];
    auto ok = chooser.read_prompt(model_, row, hidden, step.batch.sequences[i].row, outcome);
    if (row.sample) {
      const auto count = (1 + guesses(i).size()) * static_cast<size_t>(model_.vocabulary());
      if (ok) ok = chooser.choose(left.first(count), guesses(i), outcome);
      left = left.subspan(count);
      if (!outcome.choices.empty()) last_[static_cast<size_t>(row.slot)] = outcome.choices.back().token;
    }
    if (!ok) outcome.error = ok.error();
  }
}

}  // namespace cairn::llm
