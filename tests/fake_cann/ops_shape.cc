// Creation, joining, indexing, scattering, padding and resizing.
#include <ATen/ops/_upsample_nearest_exact1d.h>
#include <ATen/ops/_upsample_nearest_exact2d.h>
#include <ATen/ops/_upsample_nearest_exact3d.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/im2col.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/upsample_nearest1d.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <ATen/ops/upsample_nearest3d.h>
#include <c10/core/ScalarType.h>

#include "operator.h"

namespace {
using at::Scalar;
using at::Tensor;
using fake::ints;
using fake::plan;
using fake::store;
using fake::view;
using fake::views;
}  // namespace

// ---- creation ----
ACLNN(Arange, const aclScalar* start, const aclScalar* end, const aclScalar* step, aclTensor* out) {
  return plan(workspace, executor, [a = start->value, b = end->value, s = step->value, y = view(out)] {
    // The caller has already computed the size; the end may be off by rounding.
    if (c10::isIntegralType(y.scalar_type(), false) && a.isIntegral(false) && s.isIntegral(false)) {
      store(y, at::arange(y.numel(), at::kLong).mul(s).add(a));
    } else {
      store(y, at::arange(y.numel(), at::kDouble).mul(s).add(a));
    }
  });
}
ACLNN(Range, const aclScalar* start, const aclScalar*, const aclScalar* step, aclTensor* out) {
  return plan(workspace, executor, [a = start->value, s = step->value, y = view(out)] {
    store(y, at::arange(y.numel(), at::kDouble).mul(s).add(a));
  });
}
ACLNN(Linspace, const aclScalar* start, const aclScalar* end, int64_t steps, aclTensor* out) {
  return plan(workspace, executor,
              [=, a = start->value, b = end->value, y = view(out)] { store(y, at::linspace(a, b, steps)); });
}
ACLNN(Eye, int64_t n, int64_t m, aclTensor* out) {
  return plan(workspace, executor, [=, y = view(out)] { store(y, at::eye(n, m)); });
}
ACLNN(OneHot, const aclTensor* self, int64_t depth, const aclTensor* on, const aclTensor* off, int64_t axis,
      aclTensor* out) {
  REQUIRE(axis == -1, "only the last axis");
  return plan(workspace, executor, [=, x = view(self), a = view(on), b = view(off), y = view(out)] {
    store(y, a.where(at::one_hot(x.to(at::kLong), depth).to(at::kBool), b));
  });
}

// ---- joining and repeating ----
ACLNN(Cat, const aclTensorList* tensors, int64_t dim, aclTensor* out) {
  return plan(workspace, executor, [=, x = views(tensors), y = view(out)] { store(y, at::cat(x, dim)); });
}
ACLNN(Stack, const aclTensorList* tensors, int64_t dim, aclTensor* out) {
  return plan(workspace, executor, [=, x = views(tensors), y = view(out)] { store(y, at::stack(x, dim)); });
}
ACLNN(Flip, const aclTensor* self, const aclIntArray* dims, aclTensor* out) {
  return plan(workspace, executor, [x = view(self), d = ints(dims), y = view(out)] { store(y, x.flip(d)); });
}
ACLNN(Roll, const aclTensor* self, const aclIntArray* shifts, const aclIntArray* dims, aclTensor* out) {
  return plan(workspace, executor,
              [x = view(self), s = ints(shifts), d = ints(dims), y = view(out)] { store(y, x.roll(s, d)); });
}
ACLNN(Repeat, const aclTensor* self, const aclIntArray* repeats, aclTensor* out) {
  return plan(workspace, executor, [x = view(self), r = ints(repeats), y = view(out)] { store(y, x.repeat(r)); });
}
ACLNN(RepeatInterleaveIntWithDim, const aclTensor* self, int64_t repeats, int64_t dim, int64_t size, aclTensor* out) {
  REQUIRE(out->sizes.at(dim) == size, "the result has not the size that was computed");
  return plan(workspace, executor, [=, x = view(self), y = view(out)] { store(y, x.repeat_interleave(repeats, dim)); });
}
ACLNN(RepeatInterleaveInt, const aclTensor* self, int64_t repeats, int64_t, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), y = view(out)] { store(y, x.repeat_interleave(repeats)); });
}
ACLNN(RepeatInterleaveWithDim, const aclTensor* self, const aclTensor* repeats, int64_t dim, int64_t, aclTensor* out) {
  return plan(workspace, executor,
              [=, x = view(self), r = view(repeats), y = view(out)] { store(y, x.repeat_interleave(r, dim)); });
}
ACLNN(RepeatInterleave, const aclTensor* self, const aclTensor* repeats, int64_t, aclTensor* out) {
  return plan(workspace, executor,
              [=, x = view(self), r = view(repeats), y = view(out)] { store(y, x.repeat_interleave(r)); });
}
ACLNN(RepeatInterleaveTensor, const aclTensor* repeats, int64_t, aclTensor* out) {
  return plan(workspace, executor, [=, r = view(repeats), y = view(out)] { store(y, at::repeat_interleave(r)); });
}
ACLNN(ConstantPadNd, const aclTensor* self, const aclIntArray* pad, const aclScalar* value, aclTensor* out) {
  return plan(workspace, executor, [x = view(self), p = ints(pad), v = value->value, y = view(out)] {
    store(y, at::constant_pad_nd(x, p, v));
  });
}
#define TRIANGLE(op, function)                                                                                \
  ACLNN(op, const aclTensor* self, int64_t diagonal, aclTensor* out) {                                        \
    return plan(workspace, executor, [=, x = view(self), y = view(out)] { store(y, x.function(diagonal)); }); \
  }                                                                                                           \
  ACLNN(Inplace##op, aclTensor* self, int64_t diagonal) {                                                     \
    return plan(workspace, executor, [=, x = view(self)] { store(x, x.function(diagonal)); });                \
  }
TRIANGLE(Tril, tril)
TRIANGLE(Triu, triu)
ACLNN(InplaceFillDiagonal, aclTensor* self, const aclScalar* value, bool wrap) {
  return plan(workspace, executor, [=, x = view(self), v = value->value]() mutable { x.fill_diagonal_(v, wrap); });
}

// ---- reading by index ----
namespace {
bool is_index(const Tensor& x) { return fake::is(x, {at::kLong, at::kInt}); }
constexpr const char* kIndexType = "the index is int32 or int64";

using Indices = c10::List<std::optional<Tensor>>;
// An absent index (take the whole dimension) arrives as an empty tensor of the type of self.
Indices indices_of(const std::vector<Tensor>& tensors) {
  Indices result;
  for (const auto& t : tensors) {
    if (!t.defined() || t.numel() == 0) {
      result.push_back(std::nullopt);
    } else {
      result.push_back(t.scalar_type() == at::kInt ? t.to(at::kLong) : t);
    }
  }
  return result;
}
}  // namespace
ACLNN(Index, const aclTensor* self, const aclTensorList* indices, aclTensor* out) {
  return plan(workspace, executor, [x = view(self), i = views(indices), y = view(out)] {
    if (y.numel()) store(y, x.index(indices_of(i)));
  });
}
ACLNN(IndexSelect, const aclTensor* self, int64_t dim, const aclTensor* index, aclTensor* out) {
  REQUIRE(is_index(view(index)), kIndexType);
  return plan(workspace, executor,
              [=, x = view(self), i = view(index), y = view(out)] { store(y, x.index_select(dim, i)); });
}
ACLNN(Gather, const aclTensor* self, int64_t dim, const aclTensor* index, aclTensor* out) {
  REQUIRE(is_index(view(index)), kIndexType);
  return plan(workspace, executor,
              [=, x = view(self), i = view(index), y = view(out)] { store(y, x.gather(dim, i.to(at::kLong))); });
}
ACLNN(Embedding, const aclTensor* weight, const aclTensor* indices, aclTensor* out) {
  REQUIRE(is_index(view(indices)), kIndexType);
  return plan(workspace, executor,
              [w = view(weight), i = view(indices), y = view(out)] { store(y, at::embedding(w, i)); });
}
// The size of the result is known only afterwards: the caller waits and then asks the descriptor for its shape, so the
// descriptor is still alive when the kernel runs.
namespace {
void store_compact(aclTensor* descriptor, const Tensor& out, const Tensor& result) {
  store(out.view(-1).narrow(0, 0, result.numel()), result.reshape(-1));
  descriptor->sizes = result.sizes().vec();
}
}  // namespace
ACLNN(Nonzero, const aclTensor* self, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), y = view(out)] { store_compact(out, y, x.nonzero()); });
}
ACLNN(NonzeroV2, const aclTensor* self, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), y = view(out)] { store_compact(out, y, x.nonzero().t()); });
}
ACLNN(MaskedSelect, const aclTensor* self, const aclTensor* mask, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), m = view(mask), y = view(out)] {
    store_compact(out, y, x.masked_select(m.to(at::kBool)));
  });
}

// ---- writing by index; the result may be the input ----
ACLNN(IndexPutImpl, aclTensor* self, const aclTensorList* indices, const aclTensor* values, bool accumulate, bool) {
  return plan(workspace, executor, [=, x = view(self), i = views(indices), v = view(values)]() mutable {
    if (v.numel()) x.index_put_(indices_of(i), v.to(x.scalar_type()), accumulate);
  });
}
ACLNN(IndexCopy, const aclTensor* self, int64_t dim, const aclTensor* index, const aclTensor* source, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), i = view(index), s = view(source), y = view(out)] {
    store(y, x.index_copy(dim, i.to(at::kLong), s));
  });
}
ACLNN(InplaceIndexCopy, aclTensor* self, int64_t dim, const aclTensor* index, const aclTensor* source) {
  return plan(workspace, executor, [=, x = view(self), i = view(index), s = view(source)]() mutable {
    x.index_copy_(dim, i.to(at::kLong), s);
  });
}
ACLNN(IndexAdd, const aclTensor* self, int64_t dim, const aclTensor* index, const aclTensor* source,
      const aclScalar* alpha, aclTensor* out) {
  return plan(workspace, executor,
              [=, x = view(self), i = view(index), s = view(source), k = alpha->value, y = view(out)] {
                store(y, x.index_add(dim, i, s, k));
              });
}
ACLNN(Scatter, const aclTensor* self, int64_t dim, const aclTensor* index, const aclTensor* src, int64_t reduction,
      aclTensor* out) {
  REQUIRE(reduction >= 0 && reduction <= 2, "reduction is 0 (none), 1 (add) or 2 (multiply)");
  return plan(workspace, executor, [=, x = view(self), i = view(index), s = view(src), y = view(out)] {
    const auto at = i.to(at::kLong);
    store(y, reduction ? x.scatter(dim, at, s, reduction == 1 ? "add" : "multiply") : x.scatter(dim, at, s));
  });
}
ACLNN(InplaceScatter, aclTensor* self, int64_t dim, const aclTensor* index, const aclTensor* src, int64_t reduction) {
  return aclnnScatterGetWorkspaceSize(self, dim, index, src, reduction, self, workspace, executor);
}
ACLNN(ScatterValue, const aclTensor* self, int64_t dim, const aclTensor* index, const aclScalar* value,
      int64_t reduction, aclTensor* out) {
  REQUIRE(reduction >= 0 && reduction <= 2, "reduction is 0 (none), 1 (add) or 2 (multiply)");
  return plan(workspace, executor, [=, x = view(self), i = view(index), v = value->value, y = view(out)] {
    const auto at = i.to(at::kLong);
    store(y, reduction ? x.scatter(dim, at, v, reduction == 1 ? "add" : "multiply") : x.scatter(dim, at, v));
  });
}
ACLNN(InplaceScatterValue, aclTensor* self, int64_t dim, const aclTensor* index, const aclScalar* value,
      int64_t reduction) {
  return aclnnScatterValueGetWorkspaceSize(self, dim, index, value, reduction, self, workspace, executor);
}
ACLNN(ScatterAdd, const aclTensor* self, int64_t dim, const aclTensor* index, const aclTensor* src, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), i = view(index), s = view(src), y = view(out)] {
    store(y, x.scatter_add(dim, i.to(at::kLong), s));
  });
}
ACLNN(InplaceMaskedScatter, aclTensor* self, const aclTensor* mask, const aclTensor* source) {
  return plan(workspace, executor,
              [x = view(self), m = view(mask), s = view(source)]() mutable { x.masked_scatter_(m.to(at::kBool), s); });
}
// Rows (or deeper parts) of self at the positions in the last dimension of indices.
ACLNN(ScatterNdUpdate, aclTensor* self, const aclTensor* indices, const aclTensor* updates) {
  REQUIRE(is_index(view(indices)), kIndexType);
  REQUIRE(self->type == updates->type, "updates have another type than self");
  return plan(workspace, executor, [x = view(self), i = view(indices), u = view(updates)]() mutable {
    std::vector<Tensor> positions;
    for (const auto& p : i.unbind(-1)) positions.push_back(p);
    if (u.numel()) x.index_put_(indices_of(positions), u);
  });
}

// ---- resizing ----
// A scale of zero or less stands for none: the sizes decide.
namespace {
std::optional<double> scale_of(double value) { return value > 0 ? std::optional<double>(value) : std::nullopt; }
}  // namespace
ACLNN(UpsampleNearest1dV2, const aclTensor* self, const aclIntArray* size, float scale, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), s = ints(size), y = view(out)] {
    store(y, at::upsample_nearest1d(x, s, scale_of(scale)));
  });
}
ACLNN(UpsampleNearest2dV2, const aclTensor* self, const aclIntArray* size, float scale_h, float scale_w,
      aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), s = ints(size), y = view(out)] {
    store(y, at::upsample_nearest2d(x, s, scale_of(scale_h), scale_of(scale_w)));
  });
}
ACLNN(UpsampleNearest3d, const aclTensor* self, const aclIntArray* size, double scale_d, double scale_h, double scale_w,
      aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), s = ints(size), y = view(out)] {
    store(y, at::upsample_nearest3d(x, s, scale_of(scale_d), scale_of(scale_h), scale_of(scale_w)));
  });
}
ACLNN(UpsampleNearestExact1d, const aclTensor* self, const aclIntArray* size, double scale, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), s = ints(size), y = view(out)] {
    store(y, at::_upsample_nearest_exact1d(x, s, scale_of(scale)));
  });
}
ACLNN(UpsampleNearestExact2d, const aclTensor* self, const aclIntArray* size, double scale_h, double scale_w,
      aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), s = ints(size), y = view(out)] {
    store(y, at::_upsample_nearest_exact2d(x, s, scale_of(scale_h), scale_of(scale_w)));
  });
}
ACLNN(UpsampleNearestExact3d, const aclTensor* self, const aclIntArray* size, double scale_d, double scale_h,
      double scale_w, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), s = ints(size), y = view(out)] {
    store(y, at::_upsample_nearest_exact3d(x, s, scale_of(scale_d), scale_of(scale_h), scale_of(scale_w)));
  });
}
ACLNN(Im2col, const aclTensor* self, const aclIntArray* kernel, const aclIntArray* dilation, const aclIntArray* padding,
      const aclIntArray* stride, aclTensor* out) {
  return plan(workspace, executor,
              [x = view(self), k = ints(kernel), d = ints(dilation), p = ints(padding), s = ints(stride),
               y = view(out)] { store(y, at::im2col(x, k, d, p, s)); });
}
