// Arithmetic, comparison, logic and copies: one result element from one element of each input.
#include <ATen/ops/elu.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/hardswish.h>
#include <ATen/ops/isneginf.h>
#include <ATen/ops/isposinf.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/mish.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>

#include "operator.h"

namespace {
using at::Scalar;
using at::Tensor;
using fake::map;
using fake::plan;
using fake::store;
using fake::view;
}  // namespace

// ---- copies and fills ----
ACLNN(InplaceCopy, aclTensor* dst, const aclTensor* src) {
  return map(workspace, executor, src, dst, [](const Tensor& x) { return x; });
}
ACLNN(Cast, const aclTensor* src, aclDataType type, aclTensor* dst) {
  REQUIRE(type == dst->type, "the result's type is not the one asked for");
  return map(workspace, executor, src, dst, [](const Tensor& x) { return x; });
}
ACLNN(InplaceFillScalar, aclTensor* self, const aclScalar* value) {
  return plan(workspace, executor, [x = view(self), v = value->value]() mutable { x.fill_(v); });
}
ACLNN(InplaceFillTensor, aclTensor* self, const aclTensor* value) {
  return plan(workspace, executor, [x = view(self), v = view(value)]() mutable { x.copy_(v.expand_as(x)); });
}
ACLNN(InplaceZero, aclTensor* self) {
  return plan(workspace, executor, [x = view(self)]() mutable { x.zero_(); });
}
ACLNN(InplaceOne, aclTensor* self) {
  return plan(workspace, executor, [x = view(self)]() mutable { x.fill_(1); });
}

// ---- of one tensor ----
#define UNARY(op, expression)                                                                         \
  ACLNN(op, const aclTensor* self, aclTensor* out) {                                                  \
    return map(workspace, executor, self, out, [](const Tensor& x) -> Tensor { return expression; }); \
  }
#define UNARY_AND_INPLACE(op, expression)                                                              \
  UNARY(op, expression)                                                                                \
  ACLNN(Inplace##op, aclTensor* self) {                                                                \
    return map(workspace, executor, self, self, [](const Tensor& x) -> Tensor { return expression; }); \
  }
UNARY(Abs, x.abs())
UNARY(Neg, x.neg())
UNARY(Sign, x.sign())
UNARY(Signbit, x.signbit())
UNARY(Frac, x.frac())
UNARY(Round, x.round())
UNARY(Trunc, x.trunc())
UNARY(BitwiseNot, x.bitwise_not())
UNARY(IsFinite, x.isfinite())
UNARY(IsInf, x.isinf())
UNARY(IsPosInf, at::isposinf(x))
UNARY(IsNegInf, at::isneginf(x))
UNARY(Silu, at::silu(x))
// Without a mode the real one computes the tanh form; torch_npu's gelu calls it for both modes.
UNARY(Gelu, at::gelu(x, "tanh"))
UNARY(FastGelu, x.mul(x.mul(1.702).sigmoid()))
UNARY(Hardswish, at::hardswish(x))
UNARY(Mish, at::mish(x))
UNARY_AND_INPLACE(Sqrt, x.sqrt())
UNARY_AND_INPLACE(Rsqrt, x.rsqrt())
UNARY_AND_INPLACE(Reciprocal, x.reciprocal())
UNARY_AND_INPLACE(Exp, x.exp())
UNARY_AND_INPLACE(Exp2, x.exp2())
UNARY_AND_INPLACE(Expm1, x.expm1())
UNARY_AND_INPLACE(Log, x.log())
UNARY_AND_INPLACE(Log2, x.log2())
UNARY_AND_INPLACE(Log10, x.log10())
UNARY_AND_INPLACE(Log1p, x.log1p())
UNARY_AND_INPLACE(Sin, x.sin())
UNARY_AND_INPLACE(Cos, x.cos())
UNARY_AND_INPLACE(Tan, x.tan())
UNARY_AND_INPLACE(Sinh, x.sinh())
UNARY_AND_INPLACE(Cosh, x.cosh())
UNARY_AND_INPLACE(Tanh, x.tanh())
UNARY_AND_INPLACE(Asin, x.asin())
UNARY_AND_INPLACE(Acos, x.acos())
UNARY_AND_INPLACE(Atan, x.atan())
UNARY_AND_INPLACE(Sigmoid, x.sigmoid())
UNARY_AND_INPLACE(Erf, x.erf())
UNARY_AND_INPLACE(Erfc, x.erfc())
UNARY_AND_INPLACE(Erfinv, x.erfinv())
UNARY_AND_INPLACE(Relu, x.relu())
UNARY_AND_INPLACE(Floor, x.floor())
UNARY_AND_INPLACE(Ceil, x.ceil())
UNARY_AND_INPLACE(LogicalNot, x.logical_not())

ACLNN(LogSigmoidForward, const aclTensor* self, aclTensor* out, aclTensor*) {
  return map(workspace, executor, self, out, [](const Tensor& x) { return at::log_sigmoid(x); });
}
ACLNN(NanToNum, const aclTensor* self, float nan, float high, float low, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), y = view(out)] { store(y, x.nan_to_num(nan, high, low)); });
}
ACLNN(Glu, const aclTensor* self, int64_t dim, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), y = view(out)] {
    const auto half = x.chunk(2, dim);
    store(y, half[0].mul(half[1].sigmoid()));
  });
}
ACLNN(GeluV2, const aclTensor* self, int64_t approximate, aclTensor* out) {
  REQUIRE(approximate == 0 || approximate == 1, "approximate is 0 (erf) or 1 (tanh)");
  return map(workspace, executor, self, out,
             approximate ? fake::OfTensor([](const Tensor& x) { return at::gelu(x, "tanh"); })
                         : fake::OfTensor([](const Tensor& x) { return at::gelu(x); }));
}
ACLNN(RoundDecimals, const aclTensor* self, int64_t decimals, aclTensor* out) {
  return plan(workspace, executor, [=, x = view(self), y = view(out)] { store(y, x.round(decimals)); });
}
ACLNN(LeakyRelu, const aclTensor* self, const aclScalar* slope, aclTensor* out) {
  return map(workspace, executor, self, slope, out,
             [](const Tensor& x, const Scalar& s) { return at::leaky_relu(x, s); });
}
ACLNN(Elu, const aclTensor* self, const aclScalar* alpha, const aclScalar* scale, const aclScalar* input_scale,
      aclTensor* out) {
  return plan(workspace, executor,
              [x = view(self), a = alpha->value, s = scale->value, i = input_scale->value, y = view(out)] {
                store(y, at::elu(x, a, s, i));
              });
}
ACLNN(Softplus, const aclTensor* self, const aclScalar* beta, const aclScalar* threshold, aclTensor* out) {
  return plan(workspace, executor, [x = view(self), b = beta->value, t = threshold->value, y = view(out)] {
    store(y, at::softplus(x, b, t));
  });
}

// ---- of two, broadcast ----
#define BINARY(op, type, form, expression)                                           \
  ACLNN(op, const aclTensor* self, const type* other, aclTensor* out) {              \
    return map(workspace, executor, self, other, out,                                \
               [](const Tensor& x, const form& y) -> Tensor { return expression; }); \
  }
#define BINARY_INPLACE(op, type, form, expression)                                   \
  ACLNN(Inplace##op, aclTensor* self, const type* other) {                           \
    return map(workspace, executor, self, other, self,                               \
               [](const Tensor& x, const form& y) -> Tensor { return expression; }); \
  }
#define TENSORS(op, expression)             \
  BINARY(op, aclTensor, Tensor, expression) \
  BINARY_INPLACE(op, aclTensor, Tensor, expression)
#define SCALAR(op, expression)              \
  BINARY(op, aclScalar, Scalar, expression) \
  BINARY_INPLACE(op, aclScalar, Scalar, expression)

TENSORS(Mul, x.mul(y))
SCALAR(Muls, x.mul(y))
TENSORS(Div, x.div(y))
SCALAR(Divs, x.div(y))
TENSORS(FloorDivide, x.floor_divide(y))
SCALAR(FloorDivides, x.floor_divide(y))
TENSORS(FmodTensor, x.fmod(y))
SCALAR(FmodScalar, x.fmod(y))
TENSORS(RemainderTensorTensor, x.remainder(y))
SCALAR(RemainderTensorScalar, x.remainder(y))
TENSORS(PowTensorTensor, x.pow(y))
SCALAR(PowTensorScalar, x.pow(y))
TENSORS(Atan2, x.atan2(y))
TENSORS(EqTensor, x.eq(y))
SCALAR(EqScalar, x.eq(y))
TENSORS(NeTensor, x.ne(y))
SCALAR(NeScalar, x.ne(y))
TENSORS(LtTensor, x.lt(y))
SCALAR(LtScalar, x.lt(y))
TENSORS(LeTensor, x.le(y))
SCALAR(LeScalar, x.le(y))
TENSORS(GtTensor, x.gt(y))
SCALAR(GtScalar, x.gt(y))
TENSORS(GeTensor, x.ge(y))
SCALAR(GeScalar, x.ge(y))
TENSORS(LogicalAnd, x.logical_and(y))
TENSORS(LogicalOr, x.logical_or(y))
TENSORS(LogicalXor, x.logical_xor(y))
TENSORS(BitwiseAndTensor, x.bitwise_and(y))
SCALAR(BitwiseAndScalar, x.bitwise_and(y))
TENSORS(BitwiseOrTensor, x.bitwise_or(y))
SCALAR(BitwiseOrScalar, x.bitwise_or(y))
TENSORS(BitwiseXorTensor, x.bitwise_xor(y))
SCALAR(BitwiseXorScalar, x.bitwise_xor(y))
BINARY(LeftShift, aclTensor, Tensor, x.bitwise_left_shift(y))
BINARY(LeftShifts, aclScalar, Scalar, x.bitwise_left_shift(y))
BINARY(RightShift, aclTensor, Tensor, x.bitwise_right_shift(y))
BINARY(Maximum, aclTensor, Tensor, x.maximum(y))
BINARY(Minimum, aclTensor, Tensor, x.minimum(y))
TENSORS(ClampMaxTensor, x.clamp_max(y))
TENSORS(ClampMinTensor, x.clamp_min(y))
SCALAR(ClampMax, x.clamp_max(y))
SCALAR(ClampMin, x.clamp_min(y))

ACLNN(PowScalarTensor, const aclScalar* self, const aclTensor* exponent, aclTensor* out) {
  return map(workspace, executor, exponent, self, out, [](const Tensor& y, const Scalar& x) { return at::pow(x, y); });
}
ACLNN(RemainderScalarTensor, const aclScalar* self, const aclTensor* other, aclTensor* out) {
  return map(workspace, executor, other, self, out,
             [](const Tensor& y, const Scalar& x) { return at::remainder(x, y); });
}

// ---- sums and differences, with a factor ----
#define WITH_ALPHA(op, type, convert, expression)                                                                 \
  ACLNN(op, const aclTensor* self, const type* other, const aclScalar* alpha, aclTensor* out) {                   \
    return plan(workspace, executor,                                                                              \
                [x = view(self), y = convert(other), k = alpha->value, z = view(out)] { store(z, expression); }); \
  }                                                                                                               \
  ACLNN(Inplace##op, aclTensor* self, const type* other, const aclScalar* alpha) {                                \
    return plan(workspace, executor,                                                                              \
                [x = view(self), y = convert(other), k = alpha->value] { store(x, expression); });                \
  }
namespace {
Scalar number(const aclScalar* scalar) { return scalar->value; }
}  // namespace
WITH_ALPHA(Add, aclTensor, view, x.add(y, k))
WITH_ALPHA(Adds, aclScalar, number, x.add(y, k))
WITH_ALPHA(Sub, aclTensor, view, x.sub(y, k))
WITH_ALPHA(Subs, aclScalar, number, x.sub(y, k))
ACLNN(AddV3, const aclScalar* self, const aclTensor* other, const aclScalar* alpha, aclTensor* out) {
  return plan(workspace, executor,
              [x = self->value, y = view(other), k = alpha->value, z = view(out)] { store(z, y.mul(k).add(x)); });
}
ACLNN(Rsub, const aclTensor* self, const aclTensor* other, const aclScalar* alpha, aclTensor* out) {
  return plan(workspace, executor,
              [x = view(self), y = view(other), k = alpha->value, z = view(out)] { store(z, y.sub(x, k)); });
}
ACLNN(Rsubs, const aclTensor* self, const aclScalar* other, const aclScalar* alpha, aclTensor* out) {
  return plan(workspace, executor,
              [x = view(self), y = other->value, k = alpha->value, z = view(out)] { store(z, x.mul(k).neg().add(y)); });
}

// ---- division with a rounding mode: 0 true, 1 trunc, 2 floor ----
namespace {
template <typename Other>
Tensor divide(const Tensor& x, const Other& y, int mode) {
  return mode == 0 ? x.div(y) : x.div(y, mode == 1 ? "trunc" : "floor");
}
}  // namespace
ACLNN(DivMod, const aclTensor* self, const aclTensor* other, int mode, aclTensor* out) {
  return plan(workspace, executor,
              [=, x = view(self), y = view(other), z = view(out)] { store(z, divide(x, y, mode)); });
}
ACLNN(DivMods, const aclTensor* self, const aclScalar* other, int mode, aclTensor* out) {
  return plan(workspace, executor,
              [=, x = view(self), y = other->value, z = view(out)] { store(z, divide(x, y, mode)); });
}
ACLNN(InplaceDivMod, aclTensor* self, const aclTensor* other, int mode) {
  return plan(workspace, executor, [=, x = view(self), y = view(other)] { store(x, divide(x, y, mode)); });
}
ACLNN(InplaceDivMods, aclTensor* self, const aclScalar* other, int mode) {
  return plan(workspace, executor, [=, x = view(self), y = other->value] { store(x, divide(x, y, mode)); });
}

// ---- clamp, where, and three-operand forms ----
namespace {
std::optional<Scalar> optional(const aclScalar* scalar) {
  return scalar ? std::optional<Scalar>(scalar->value) : std::nullopt;
}
std::optional<Tensor> optional(const aclTensor* tensor) {
  return tensor ? std::optional<Tensor>(view(tensor)) : std::nullopt;
}
}  // namespace
ACLNN(Clamp, const aclTensor* self, const aclScalar* low, const aclScalar* high, aclTensor* out) {
  return plan(workspace, executor,
              [x = view(self), a = optional(low), b = optional(high), z = view(out)] { store(z, x.clamp(a, b)); });
}
ACLNN(ClampTensor, const aclTensor* self, const aclTensor* low, const aclTensor* high, aclTensor* out) {
  return plan(workspace, executor,
              [x = view(self), a = optional(low), b = optional(high), z = view(out)] { store(z, x.clamp(a, b)); });
}
ACLNN(SWhere, const aclTensor* condition, const aclTensor* self, const aclTensor* other, aclTensor* out) {
  return plan(workspace, executor, [c = view(condition), x = view(self), y = view(other), z = view(out)] {
    store(z, x.where(c.to(at::kBool), y));
  });
}
ACLNN(InplaceMaskedFillScalar, aclTensor* self, const aclTensor* mask, const aclScalar* value) {
  return plan(workspace, executor,
              [x = view(self), m = view(mask), v = value->value]() mutable { x.masked_fill_(m.to(at::kBool), v); });
}
ACLNN(InplaceMaskedFillTensor, aclTensor* self, const aclTensor* mask, const aclTensor* value) {
  return plan(workspace, executor, [x = view(self), m = view(mask), v = view(value)]() mutable {
    x.masked_fill_(m.to(at::kBool), v.reshape({}).to(x.scalar_type()));
  });
}
#define FUSED_WITH_VALUE(op, function)                                                                               \
  ACLNN(op, const aclTensor* self, const aclTensor* a, const aclTensor* b, const aclScalar* value, aclTensor* out) { \
    return plan(workspace, executor, [x = view(self), y = view(a), z = view(b), v = value->value, o = view(out)] {   \
      store(o, x.function(y, z, v));                                                                                 \
    });                                                                                                              \
  }                                                                                                                  \
  ACLNN(Inplace##op, aclTensor* self, const aclTensor* a, const aclTensor* b, const aclScalar* value) {              \
    return plan(workspace, executor,                                                                                 \
                [x = view(self), y = view(a), z = view(b), v = value->value] { store(x, x.function(y, z, v)); });    \
  }
FUSED_WITH_VALUE(Addcmul, addcmul)
FUSED_WITH_VALUE(Addcdiv, addcdiv)
ACLNN(Lerp, const aclTensor* self, const aclTensor* end, const aclTensor* weight, aclTensor* out) {
  return plan(workspace, executor,
              [x = view(self), y = view(end), w = view(weight), z = view(out)] { store(z, x.lerp(y, w)); });
}
ACLNN(Lerps, const aclTensor* self, const aclTensor* end, const aclScalar* weight, aclTensor* out) {
  return plan(workspace, executor,
              [x = view(self), y = view(end), w = weight->value, z = view(out)] { store(z, x.lerp(y, w)); });
}
ACLNN(InplaceLerp, aclTensor* self, const aclTensor* end, const aclTensor* weight) {
  return plan(workspace, executor, [x = view(self), y = view(end), w = view(weight)] { store(x, x.lerp(y, w)); });
}
ACLNN(InplaceLerps, aclTensor* self, const aclTensor* end, const aclScalar* weight) {
  return plan(workspace, executor, [x = view(self), y = view(end), w = weight->value] { store(x, x.lerp(y, w)); });
}
