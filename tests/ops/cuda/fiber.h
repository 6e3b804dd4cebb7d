// Two ways to switch between stacks, of which the build takes one: a few instructions where the processor is known, and
// the C library's, which asks the kernel twice a switch.
#pragma once
#include <ucontext.h>

#include <cstddef>

namespace cuda_sim {

struct Context {
  void* top = nullptr;
  ucontext_t whole{};
};

// `to` will run entry(), which never returns, on this stack.
void prepare(Context& to, char* stack, size_t bytes, void (*entry)());
void change(Context& from, Context& to);

}  // namespace cuda_sim
