#include "ops/cuda/fiber.h"

namespace cuda_sim {

void prepare(Context& to, char* stack, size_t bytes, void (*entry)()) {
  getcontext(&to.whole);
  to.whole.uc_stack.ss_sp = stack;
  to.whole.uc_stack.ss_size = bytes;
  to.whole.uc_link = nullptr;
  makecontext(&to.whole, entry, 0);
}

void change(Context& from, Context& to) { swapcontext(&from.whole, &to.whole); }

}  // namespace cuda_sim
