#include "llm/plan/step_plan.h"

#include <utility>

#include "llm/plan/scheduler.h"

namespace cairn::llm {

void StepPlan::swap(StepPlan& other) noexcept {
  rows.swap(other.rows);
  tokens.swap(other.tokens);
  tables.swap(other.tables);
  retracted.swap(other.retracted);
  reserved_.swap(other.reserved_);
  std::swap(scheduler_, other.scheduler_);
  std::swap(serial_, other.serial_);
}

StepPlan::StepPlan(StepPlan&& other) noexcept { swap(other); }

StepPlan& StepPlan::operator=(StepPlan&& other) noexcept {
  StepPlan old(std::move(other));
  swap(old);
  return *this;
}

StepPlan::~StepPlan() {
  if (scheduler_) scheduler_->drop(*this);
}

}  // namespace cairn::llm
