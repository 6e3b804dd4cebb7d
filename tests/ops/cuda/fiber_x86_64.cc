#include "ops/cuda/fiber.h"

#include <cstdint>

// What the calling convention keeps lies on the stack that is left, below it where that stack went on.
extern "C" void cuda_sim_switch(void** from, void* to);
asm(R"(
  .text
  .globl cuda_sim_switch
  .type cuda_sim_switch, @function
cuda_sim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size cuda_sim_switch, . - cuda_sim_switch
)");

namespace cuda_sim {

void prepare(Context& to, char* stack, size_t bytes, void (*entry)()) {
  auto* top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(stack) + bytes) & ~uintptr_t{15});
  *--top = nullptr;  // where entry() would return to
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  to.top = top;
}

void change(Context& from, Context& to) { cuda_sim_switch(&from.top, to.top); }

}  // namespace cuda_sim
