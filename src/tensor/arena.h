// Memory that tensors share one after the other, and that outlives them: for graphs, whose replays write where their
// capture wrote.
#pragma once
#include <memory>

#include "tensor/tensor.h"

namespace cairn {

// Not for two threads that make tensors at once; tensors may die on any thread.
class Arena {
 public:
  Arena();

  // While one lives, empty() of this thread takes its memory from the arena. What a tensor leaves behind goes to the
  // next one of its size class (a power of two), and never back to the system while the arena or a tensor of it lives.
  class Use {
   public:
    explicit Use(Arena& arena);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    Arena* before_;
  };
  static Arena* current();  // of this thread, or null

  Tensor empty(at::IntArrayRef shape, Dtype dtype);
  int64_t bytes() const;  // in all

 private:
  struct Blocks;
  std::shared_ptr<Blocks> blocks_;
};

// The same numbers in the same place, without a share in the memory.
Tensor borrowed(const Tensor& t);

}  // namespace cairn
