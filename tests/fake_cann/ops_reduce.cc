// Reductions, scans, sorting and softmax.
#include <ATen/ops/linalg_vector_norm.h>

#include "operator.h"

namespace {
using at::Scalar;
using at::Tensor;
using fake::ints;
using fake::map;
using fake::plan;
using fake::scalar_type;
using fake::store;
using fake::view;
}  // namespace

ACLNN(ReduceSum, const aclTensor* self, const aclIntArray* dims, bool keepdim, aclDataType type, aclTensor* out) {
  return plan(workspace, executor,
              [=, x = view(self), d = ints(dims), y = view(out)] { store(y, x.sum(d, keepdim, scalar_type(type))); });
}
ACLNN(Mean, const aclTensor* self, const aclIntArray* dims, bool keepdim, aclDataType type, aclTensor* out) {
  return plan(workspace, executor,
              [=, x = view(self), d = ints(dims), y = view(out)] { store(y, x.mean(d, keepdim, scalar_type(type))); });
}
ACLNN(Prod, const aclTensor* self, aclDataType type, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), y = view(out)] { store(y, x.prod(scalar_type(type))); });
}
ACLNN(ProdDim, const aclTensor* self, int64_t dim, bool keepdim, aclDataType type, aclTensor* out) {
  return plan(workspace, executor,
              [=, x = view(self), y = view(out)] { store(y, x.prod(dim, keepdim, scalar_type(type))); });
}
#define OVER_DIMS(op, function)                                                                            \
  ACLNN(op, const aclTensor* self, const aclIntArray* dims, bool keepdim, aclTensor* out) {                \
    return plan(workspace, executor,                                                                       \
                [=, x = view(self), d = ints(dims), y = view(out)] { store(y, x.function(d, keepdim)); }); \
  }
OVER_DIMS(Amax, amax)
OVER_DIMS(Amin, amin)
OVER_DIMS(LogSumExp, logsumexp)
ACLNN(All, const aclTensor* self, const aclIntArray* dims, bool keepdim, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), d = ints(dims), y = view(out)] {
    store(y, d.empty() ? x.all().expand(y.sizes()) : x.all(at::OptionalIntArrayRef(d), keepdim));
  });
}
ACLNN(Any, const aclTensor* self, const aclIntArray* dims, bool keepdim, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), d = ints(dims), y = view(out)] {
    store(y, d.empty() ? x.any().expand(y.sizes()) : x.any(at::OptionalIntArrayRef(d), keepdim));
  });
}
ACLNN(Equal, const aclTensor* self, const aclTensor* other, aclTensor* out) {
  return plan(workspace, executor, [x = view(self), y = view(other), z = view(out)]() mutable { z.fill_(x.equal(y)); });
}
ACLNN(Max, const aclTensor* self, aclTensor* out) {
  return map(workspace, executor, self, out, [](const Tensor& x) { return x.max(); });
}
ACLNN(Min, const aclTensor* self, aclTensor* out) {
  return map(workspace, executor, self, out, [](const Tensor& x) { return x.min(); });
}
#define WITH_INDEX(op, function)                                                                       \
  ACLNN(op, const aclTensor* self, int64_t dim, bool keepdim, aclTensor* values, aclTensor* indices) { \
    return plan(workspace, executor, [=, x = view(self), v = view(values), i = view(indices)] {        \
      const auto [value, index] = x.function(dim, keepdim);                                            \
      store(v, value);                                                                                 \
      store(i, index);                                                                                 \
    });                                                                                                \
  }
WITH_INDEX(MaxDim, max)
WITH_INDEX(MinDim, min)
WITH_INDEX(MedianDim, median)
ACLNN(ArgMax, const aclTensor* self, int64_t dim, bool keepdim, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), y = view(out)] { store(y, x.argmax(dim, keepdim)); });
}
ACLNN(ArgMin, const aclTensor* self, int64_t dim, bool keepdim, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), y = view(out)] { store(y, x.argmin(dim, keepdim)); });
}
ACLNN(VarCorrection, const aclTensor* self, const aclIntArray* dims, int64_t correction, bool keepdim, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), d = ints(dims), y = view(out)] {
    store(y, x.var(at::OptionalIntArrayRef(d), Scalar(correction), keepdim));
  });
}
ACLNN(Std, const aclTensor* self, const aclIntArray* dims, int64_t correction, bool keepdim, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), d = ints(dims), y = view(out)] {
    store(y, x.std(at::OptionalIntArrayRef(d), Scalar(correction), keepdim));
  });
}
ACLNN(VarMean, const aclTensor* self, const aclIntArray* dims, int64_t correction, bool keepdim, aclTensor* var,
      aclTensor* mean) {
  return plan(workspace, executor, [=, x = view(self), d = ints(dims), v = view(var), m = view(mean)] {
    store(v, x.var(at::OptionalIntArrayRef(d), Scalar(correction), keepdim));
    store(m, x.mean(d, keepdim));
  });
}
ACLNN(StdMeanCorrection, const aclTensor* self, const aclIntArray* dims, int64_t correction, bool keepdim,
      aclTensor* std, aclTensor* mean) {
  return plan(workspace, executor, [=, x = view(self), d = ints(dims), s = view(std), m = view(mean)] {
    store(s, x.std(at::OptionalIntArrayRef(d), Scalar(correction), keepdim));
    store(m, x.mean(d, keepdim));
  });
}
ACLNN(Norm, const aclTensor* self, const aclScalar* p, const aclIntArray* dims, bool keepdim, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), k = p->value, d = ints(dims), y = view(out)] {
    store(y, at::linalg_vector_norm(x, k, d, keepdim));
  });
}
ACLNN(LinalgVectorNorm, const aclTensor* self, const aclScalar* order, const aclIntArray* dims, bool keepdim,
      aclDataType type, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), k = order->value, d = ints(dims), y = view(out)] {
    const auto over = d.empty() ? at::OptionalIntArrayRef() : at::OptionalIntArrayRef(d);
    store(y, at::linalg_vector_norm(x, k, over, keepdim, scalar_type(type)));
  });
}

ACLNN(Aminmax, const aclTensor* self, const aclIntArray* dims, bool keepdim, aclTensor* low, aclTensor* high) {
  return plan(workspace, executor, [=, x = view(self), d = ints(dims), a = view(low), b = view(high)] {
    store(a, x.amin(d, keepdim));
    store(b, x.amax(d, keepdim));
  });
}
ACLNN(Kthvalue, const aclTensor* self, int64_t k, int64_t dim, bool keepdim, aclTensor* values, aclTensor* indices) {
  return plan(workspace, executor, [=, x = view(self), v = view(values), i = view(indices)] {
    const auto [value, index] = x.kthvalue(k, dim, keepdim);
    store(v, value);
    store(i, index);
  });
}

// ---- scans ----
ACLNN(Cummax, const aclTensor* self, int64_t dim, aclTensor* values, aclTensor* indices) {
  return plan(workspace, executor, [=, x = view(self), v = view(values), i = view(indices)] {
    const auto [value, index] = x.cummax(dim);
    store(v, value);
    store(i, index);
  });
}
ACLNN(Cumsum, const aclTensor* self, int64_t dim, aclDataType type, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), y = view(out)] { store(y, x.cumsum(dim, scalar_type(type))); });
}
ACLNN(Cumprod, const aclTensor* self, const aclScalar* dim, aclDataType type, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), d = dim->value.toLong(), y = view(out)] {
    store(y, x.cumprod(d, scalar_type(type)));
  });
}

// ---- sorting ----
ACLNN(Topk, const aclTensor* self, int64_t k, int64_t dim, bool largest, bool sorted, aclTensor* values,
      aclTensor* indices) {
  return plan(workspace, executor, [=, x = view(self), v = view(values), i = view(indices)] {
    const auto [value, index] = x.topk(k, dim, largest, sorted);
    store(v, value);
    store(i, index);
  });
}
ACLNN(Sort, const aclTensor* self, bool stable, int64_t dim, bool descending, aclTensor* values, aclTensor* indices) {
  return plan(workspace, executor, [=, x = view(self), v = view(values), i = view(indices)] {
    const auto [value, index] = x.sort(std::optional<bool>(stable), dim, descending);
    store(v, value);
    store(i, index);
  });
}

// ---- softmax ----
ACLNN(Softmax, const aclTensor* self, int64_t dim, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), y = view(out)] { store(y, x.softmax(dim, y.scalar_type())); });
}
ACLNN(LogSoftmax, const aclTensor* self, int64_t dim, aclTensor* out) {
  return plan(workspace, executor,
              [=, x = view(self), y = view(out)] { store(y, x.log_softmax(dim, y.scalar_type())); });
}
