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
  const auto [hidden, logits] = runner_.run(step.batch, sampled);
  std::vector<Wanted> here, there;
  int64_t first = 0;
  for (size_t i = 0; i < step.plan.rows.size(); ++i) {
    const PlanRow& row = step.plan.rows[i];
    Chooser& chooser = *step.choosers[i];
    const auto read = chooser.read_prompt(model_, row, hidden, step.batch.sequences[i].row, step.outcomes[i]);
    if (!read) step.outcomes[i].error = read.error();
    if (!row.sample) continue;
    const bool on_device = !logits.is_cpu() && guesses(i).empty() && chooser.on_device();
    if (read) (on_device ? there : here).push_back({i, first});
    first += 1 + static_cast<int64_t>(guesses(i).size());
  }
  choose_there(step, logits, there);
  for (const auto& [i, row] : here) {
    const auto count = 1 + static_cast<int64_t>(guesses(i).size());
    const Tensor own = on_host(logits.narrow(0, row, count));
    const std::span numbers(static_cast<float*>(own.mutable_data_ptr()), static_cast<size_t>(own.numel()));
    took(step, i, step.choosers[i]->choose(numbers, guesses(i), step.outcomes[i]));
  }
}

// Their device chooses for them.
void Stepper::choose_there(Step& step, const Tensor& logits, std::span<const Wanted> there) {
  ops::Sampling how;
  std::vector<size_t> asked;
  std::vector<int64_t> rows;
  for (const auto& [i, row] : there)
    if (step.choosers[i]->ask(how)) asked.push_back(i), rows.push_back(row);
  if (rows.empty()) return;
  const bool all = static_cast<int64_t>(rows.size()) == logits.size(0);
  const auto chosen = ops::sample(all ? logits : rows_of(logits, rows), how);
  for (size_t k = 0; k < asked.size(); ++k)
    took(step, asked[k], step.choosers[asked[k]]->took(chosen[k], step.outcomes[asked[k]]));
}

void Stepper::took(Step& step, size_t i, const Result<void>& ok) {
  RowOutcome& outcome = step.outcomes[i];
  if (!outcome.choices.empty()) last_[static_cast<size_t>(step.plan.rows[i].slot)] = outcome.choices.back().token;
  if (!ok) outcome.error = ok.error();
}

}  // namespace cairn::llm
