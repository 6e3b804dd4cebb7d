// Random numbers. The seed and the offset into its stream come from torch_npu's generator, as numbers, or during a
// capture as device tensors that are read at each replay. The numbers are not those of a real device.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/multinomial.h>
#include <ATen/ops/randperm.h>

#include "operator.h"

namespace {
using at::Tensor;
using fake::plan;
using fake::store;
using fake::view;

// Where the seed is: known now, or in memory when the kernel runs.
struct Seed {
  uint64_t seed = 0, offset = 0;
  Tensor seed_at, offset_at;

  at::Generator generator() const {
    const uint64_t first = seed_at.defined() ? uint64_t(seed_at.item<int64_t>()) : seed;
    const uint64_t second = offset + (offset_at.defined() ? uint64_t(offset_at.item<int64_t>()) : 0);
    return at::make_generator<at::CPUGeneratorImpl>(first * 0x9E3779B97F4A7C15ULL + second);
  }
};
Seed in_memory(const aclTensor* seed, const aclTensor* offset, uint64_t more) {
  return {0, more, view(seed), view(offset)};
}

int normal(uint64_t* workspace, aclOpExecutor** executor, aclTensor* self, double mean, double std, Seed seed) {
  return plan(workspace, executor,
              [=, x = view(self)]() mutable { x.normal_(mean, std, std::optional(seed.generator())); });
}
int uniform(uint64_t* workspace, aclOpExecutor** executor, aclTensor* self, double from, double to, Seed seed) {
  return plan(workspace, executor,
              [=, x = view(self)]() mutable { x.uniform_(from, to, std::optional(seed.generator())); });
}
int choose(uint64_t* workspace, aclOpExecutor** executor, const aclTensor* self, int64_t samples, bool replacement,
           aclTensor* out, Seed seed) {
  return plan(workspace, executor, [=, x = view(self), y = view(out)] {
    store(y, at::multinomial(x.to(at::kFloat), samples, replacement, std::optional(seed.generator())));
  });
}
}  // namespace

ACLNN(InplaceNormal, aclTensor* self, float mean, float std, int64_t seed, int64_t offset) {
  return normal(workspace, executor, self, mean, std, {uint64_t(seed), uint64_t(offset), {}, {}});
}
ACLNN(InplaceNormalTensor, aclTensor* self, float mean, float std, const aclTensor* seed, const aclTensor* offset,
      uint64_t more) {
  return normal(workspace, executor, self, mean, std, in_memory(seed, offset, more));
}
ACLNN(InplaceUniform, aclTensor* self, double from, double to, int64_t seed, int64_t offset) {
  return uniform(workspace, executor, self, from, to, {uint64_t(seed), uint64_t(offset), {}, {}});
}
ACLNN(InplaceUniformTensor, aclTensor* self, double from, double to, const aclTensor* seed, const aclTensor* offset,
      uint64_t more) {
  return uniform(workspace, executor, self, from, to, in_memory(seed, offset, more));
}
ACLNN(InplaceRandom, aclTensor* self, int64_t from, int64_t to, uint64_t seed, uint64_t offset) {
  return plan(workspace, executor, [=, x = view(self)]() mutable {
    x.random_(from, std::optional<int64_t>(to), std::optional(Seed{seed, offset, {}, {}}.generator()));
  });
}
ACLNN(InplaceBernoulli, aclTensor* self, const aclScalar* p, int64_t seed, int64_t offset) {
  return plan(workspace, executor, [=, x = view(self), chance = p->value.toDouble()]() mutable {
    x.bernoulli_(chance, std::optional(Seed{uint64_t(seed), uint64_t(offset), {}, {}}.generator()));
  });
}
ACLNN(InplaceBernoulliTensor, aclTensor* self, const aclTensor* p, int64_t seed, int64_t offset) {
  return plan(workspace, executor, [=, x = view(self), chance = view(p)]() mutable {
    x.bernoulli_(chance, std::optional(Seed{uint64_t(seed), uint64_t(offset), {}, {}}.generator()));
  });
}
ACLNN(SimThreadExponential, aclTensor* self, int64_t, double lambda, int64_t seed, int64_t offset) {
  return plan(workspace, executor, [=, x = view(self)]() mutable {
    x.exponential_(lambda, std::optional(Seed{uint64_t(seed), uint64_t(offset), {}, {}}.generator()));
  });
}
ACLNN(Multinomial, const aclTensor* self, int64_t samples, bool replacement, uint64_t seed, uint64_t offset,
      aclTensor* out) {
  return choose(workspace, executor, self, samples, replacement, out, {seed, offset, {}, {}});
}
ACLNN(MultinomialTensor, const aclTensor* self, int64_t samples, bool replacement, const aclTensor* seed,
      const aclTensor* offset, uint64_t more, aclTensor* out) {
  return choose(workspace, executor, self, samples, replacement, out, in_memory(seed, offset, more));
}
ACLNN(Randperm, int64_t n, uint64_t seed, uint64_t offset, aclTensor* out) {
  return plan(workspace, executor, [=, y = view(out)] {
    store(y, at::randperm(n, std::optional(Seed{seed, offset, {}, {}}.generator())));
  });
}
