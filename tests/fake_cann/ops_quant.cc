// Quantisation, and products of quantised matrices; grouped products, too.
#include <ATen/ops/from_blob.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>

#include <cstring>

#include "operator.h"

namespace {
using at::Tensor;
using fake::plan;
using fake::store;
using fake::view;
using fake::views;

bool is_float(aclDataType t) { return t == ACL_FLOAT || t == ACL_FLOAT16 || t == ACL_BF16; }
bool is_half(aclDataType t) { return t == ACL_FLOAT16 || t == ACL_BF16; }
bool given(const aclTensor* t) {
  if (!t) return false;
  for (int64_t n : t->sizes) {
    if (n == 0) return false;  // an empty tensor stands for none
  }
  return true;
}
Tensor if_given(const aclTensor* t) { return given(t) ? view(t) : Tensor(); }

// Round half to even, then into the range of the result's type.
Tensor rounded(const Tensor& x, const Tensor& out) {
  const auto type = out.scalar_type();
  const double low = type == at::kByte ? 0 : type == at::kChar ? -128 : -2147483648.0;
  const double high = type == at::kByte ? 255 : type == at::kChar ? 127 : 2147483647.0;
  return x.round().clamp(low, high);
}
}  // namespace

// ---- npu_dynamic_quant: one scale a row; fp16 and bf16 to int8 ----
namespace {
int dynamic_quant(const char* function, uint64_t* workspace, aclOpExecutor** executor, const aclTensor* x,
                  const aclTensor* smooth, const aclTensor* group, aclTensor* y, aclTensor* scale, aclTensor* offset) {
  const auto refused = [&](const char* why) { return fake::refuse(function, why); };
  if (!is_half(x->type)) return refused("takes fp16 and bf16");
  if (x->sizes.size() < 2) return refused("takes 2 dimensions or more");
  if (y->type != ACL_INT8) return refused("only int8 results have a fake");
  if (smooth && (smooth->type != x->type || smooth->sizes.back() != x->sizes.back())) {
    return refused("smooth_scales has the type and the last dimension of x");
  }
  if (group &&
      (group->type != ACL_INT32 || !smooth || smooth->sizes.size() != 2 || group->sizes[0] != smooth->sizes[0])) {
    return refused("group_index is int32, one entry for each row of smooth_scales");
  }
  if (smooth && !group && smooth->sizes.size() != 1) return refused("smooth_scales without groups has one dimension");
  return plan(workspace, executor,
              [input = view(x), s = view(smooth), g = view(group), out = view(y), to = view(scale),
               shift = offset ? view(offset) : Tensor()] {
                auto f = input.to(at::kFloat).flatten(0, -2);
                if (s.defined()) {
                  auto rows = s.to(at::kFloat);
                  if (g.defined()) {
                    auto counts = g.to(at::kLong);
                    counts = counts.diff(1, -1, at::zeros({1}, at::kLong));
                    TORCH_CHECK(counts.sum().item<int64_t>() == f.size(0),
                                "group_index does not end at the number of rows");
                    rows = rows.repeat_interleave(counts, 0);
                  }
                  f = f.mul(rows);
                }
                Tensor step, y;
                if (shift.defined()) {
                  step = f.amax(-1).sub(f.amin(-1)).div(255);
                  const auto zero = f.amax(-1).div(step.clamp_min(1e-30)).neg().add(127);
                  y = f.div(step.clamp_min(1e-30).unsqueeze(-1)).add(zero.unsqueeze(-1));
                  store(shift, zero.view(shift.sizes()));
                } else {
                  step = f.abs().amax(-1).div(127);
                  y = f.div(step.clamp_min(1e-30).unsqueeze(-1));
                }
                store(to, step.view(to.sizes()));
                store(out, rounded(y, out).view(out.sizes()));
              });
}
}  // namespace
ACLNN(DynamicQuant, const aclTensor* x, const aclTensor* smooth, aclTensor* y, aclTensor* scale) {
  NOT_ON_310P;
  return dynamic_quant(__func__, workspace, executor, x, smooth, nullptr, y, scale, nullptr);
}
ACLNN(DynamicQuantV2, const aclTensor* x, const aclTensor* smooth, const aclTensor* group, aclDataType, aclTensor* y,
      aclTensor* scale, aclTensor* offset) {
  NOT_ON_310P;
  return dynamic_quant(__func__, workspace, executor, x, smooth, group, y, scale, offset);
}

// ---- npu_quantize, npu_anti_quant ----
namespace {
Tensor along(const Tensor& t, int64_t axis, int64_t dims) {
  if (t.dim() != 1 || t.numel() == 1) return t;
  std::vector<int64_t> shape(dims, 1);
  shape[axis] = t.numel();
  return t.view(shape);
}
}  // namespace
ACLNN(Quantize, const aclTensor* x, const aclTensor* scales, const aclTensor* zero, aclDataType type, int64_t axis,
      aclTensor* y) {
  REQUIRE(is_float(x->type), "takes fp32, fp16 and bf16");
  REQUIRE(scales->type == ACL_FLOAT || scales->type == ACL_BF16, "scales are fp32 or bf16");
  REQUIRE(
      !zero || zero->type == ACL_INT8 || zero->type == ACL_UINT8 || zero->type == ACL_INT32 || zero->type == ACL_BF16,
      "zero points are int8, uint8, int32 or bf16");
  REQUIRE(type == ACL_INT8 || type == ACL_UINT8 || type == ACL_INT32, "the result is int8, uint8 or int32");
  const int64_t dims = x->sizes.size(), at = axis < 0 ? axis + dims : axis;
  REQUIRE(at >= 0 && at < dims && (scales->sizes[0] == 1 || scales->sizes[0] == x->sizes[at]), "scales fit no axis");
  return plan(workspace, executor, [=, f = view(x), s = view(scales), z = view(zero), out = view(y)] {
    auto value = f.to(at::kFloat).div(along(s.to(at::kFloat), at, dims));
    if (z.defined()) value = value.add(along(z.to(at::kFloat), at, dims));
    store(out, rounded(value, out));
  });
}
ACLNN(AscendQuantV3, const aclTensor* x, const aclTensor* scale, const aclTensor* offset, bool, const char*,
      aclDataType type, int64_t axis, aclTensor* y) {
  REQUIRE(is_float(x->type), "takes fp32, fp16 and bf16");
  REQUIRE(scale->type == x->type && (!offset || offset->type == x->type), "scale and offset have the type of x");
  REQUIRE(type == ACL_INT8, "only int8 results have a fake");
  REQUIRE(axis == -1 || axis == -2, "axis is -1 or -2");
  const int64_t dims = x->sizes.size(), at = dims + axis;
  REQUIRE(at >= 0 && (scale->sizes.size() != 1 || scale->sizes[0] == 1 || scale->sizes[0] == x->sizes[at]),
          "scale does not fit the axis");
  return plan(workspace, executor, [=, f = view(x), s = view(scale), o = view(offset), out = view(y)] {
    auto value = f.to(at::kFloat).mul(along(s.to(at::kFloat), at, dims));
    if (o.defined()) value = value.add(along(o.to(at::kFloat), at, dims));
    store(out, rounded(value, out));
  });
}
ACLNN(AscendAntiQuant, const aclTensor* x, const aclTensor* scale, const aclTensor* offset, aclDataType type, bool,
      aclTensor* y) {
  REQUIRE(x->type == ACL_INT8, "int8 has a fake");
  REQUIRE(scale->type == ACL_FLOAT || scale->type == ACL_BF16, "scale is fp32 or bf16");
  REQUIRE(scale->sizes.size() == 1 && (scale->sizes[0] == 1 || scale->sizes[0] == x->sizes.back()),
          "scale has one entry, or one for each of the last dimension");
  REQUIRE(!offset || (offset->type == scale->type && offset->sizes == scale->sizes), "offset is like scale");
  REQUIRE(is_half(type), "the result is fp16 or bf16");
  return plan(workspace, executor, [i = view(x), s = view(scale), o = view(offset), out = view(y)] {
    auto value = i.to(at::kFloat);
    if (o.defined()) value = value.add(o.to(at::kFloat));
    store(out, value.mul(s.to(at::kFloat)));
  });
}

// ---- npu_trans_quant_param: scale and offset in 64 bits, as the unit behind the product takes them: the upper 19 bits
// of a float, 9 bits of an offset from bit 37, and bit 46 set.
namespace {
Tensor packed(const Tensor& scale, const Tensor& offset, int64_t n) {
  auto result = at::zeros({n}, at::kLong);
  const auto s = scale.to(at::kFloat).contiguous(), o = offset.defined() ? offset.to(at::kFloat).contiguous() : offset;
  for (int64_t i = 0; i < n; ++i) {
    const float value = s.numel() == 1 ? s.item<float>() : s[i].item<float>();
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    uint64_t word = (bits & 0xFFFFE000U) | (1ULL << 46);
    if (o.defined()) {
      const auto shift = int64_t(o.numel() == 1 ? o.item<float>() : o[i].item<float>());
      word |= (uint64_t(shift) & 0x1FF) << 37;
    }
    result[i] = int64_t(word);
  }
  return result;
}
struct Scales {
  Tensor scale, offset;  // fp32
};
Scales unpacked(const Tensor& words) {
  const auto low = words.contiguous().view(at::kInt).view({-1, 2}).select(1, 0).contiguous();
  auto offset = words.flatten().bitwise_right_shift(37).bitwise_and(0x1FF);
  offset = offset.sub(offset.ge(256).mul(512));
  return {low.view(at::kFloat).view(words.sizes()), offset.to(at::kFloat).view(words.sizes())};
}
Scales scales_of(const Tensor& t) {
  if (t.scalar_type() == at::kLong || t.scalar_type() == at::kUInt64) return unpacked(t);
  return {t.to(at::kFloat), {}};
}
// Products of int8 are exact in doubles.
Tensor product(const Tensor& a, const Tensor& b) { return a.to(at::kDouble).matmul(b.to(at::kDouble)); }
}  // namespace
ACLNN(TransQuantParamV2, const aclTensor* scale, const aclTensor* offset, aclTensor* out) {
  REQUIRE(scale->type == ACL_FLOAT && (!given(offset) || offset->type == ACL_FLOAT), "scale and offset are fp32");
  REQUIRE(scale->sizes.size() <= 2, "at most 2 dimensions");
  return plan(workspace, executor, [s = view(scale), o = if_given(offset), y = view(out)] {
    store(y, packed(s.flatten(), o.defined() ? o.flatten() : o, y.numel()).view(y.sizes()));
  });
}

// ---- npu_quant_matmul; the allowed combinations of types are table 2 of its documentation ----
namespace {
std::string quant_limits(const aclTensor* x1, const aclTensor* x2, const aclTensor* token, const aclTensor* scale,
                         const aclTensor* offset, const aclTensor* bias, aclDataType out) {
  if (x1->type != ACL_INT8 || x2->type != ACL_INT8) return "x1 and x2 are int8 (int4 has no fake)";
  const auto &a = x1->sizes, &b = x2->sizes;
  if (a.size() < 2 || a.size() > 6 || b.size() < 2 || b.size() > 6) return "x1 and x2 have 2 to 6 dimensions";
  if (a.back() != b[b.size() - 2]) return "x1 and x2 do not fit";
  if (a.back() > 65535 || b.back() > 65535) return "the last dimensions are at most 65535";
  const int64_t n = b.back(), m = a[a.size() - 2];
  if (!given(scale) || scale->sizes.size() != 1 || (scale->sizes[0] != 1 && scale->sizes[0] != n)) {
    return "scale is [1] or [n]";
  }
  if (token && (token->type != ACL_FLOAT || token->sizes != std::vector<int64_t>{m}))
    return "pertoken_scale is fp32 [m]";
  if (bias && !(bias->sizes == std::vector<int64_t>{n} || bias->sizes.size() == 3))
    return "bias is [n] or [batch, 1, n]";
  const bool wide = scale->type == ACL_FLOAT || scale->type == ACL_BF16;
  const bool word = scale->type == ACL_INT64 || scale->type == ACL_UINT64;
  const bool whole = !bias || bias->type == ACL_INT32;
  const bool any_bias = whole || bias->type == ACL_FLOAT || bias->type == ACL_BF16 || bias->type == ACL_FLOAT16;
  if (offset && out != ACL_INT8) return "an offset belongs to int8 results";
  switch (out) {
    case ACL_INT8:
      return (word && whole && !token) ? "" : "int8: a packed scale, an int32 bias, no pertoken_scale";
    case ACL_FLOAT16:
      if (token) return scale->type == ACL_FLOAT && any_bias ? "" : "fp16 with pertoken_scale: an fp32 scale";
      return word && whole ? "" : "fp16 without pertoken_scale: a packed scale and an int32 bias";
    case ACL_BF16:
      return wide && any_bias ? "" : "bf16: an fp32 or bf16 scale";
    case ACL_INT32:
      return wide && whole && !token ? "" : "int32: an int32 bias, no pertoken_scale";
    default:
      return "the result is int8, fp16, bf16 or int32";
  }
}
int quant_matmul(const char* function, uint64_t* workspace, aclOpExecutor** executor, const aclTensor* x1,
                 const aclTensor* x2, const aclTensor* token, const aclTensor* scale, const aclTensor* offset,
                 const aclTensor* bias, bool transposed, int64_t groups, aclTensor* out) {
  const auto* tokens = given(token) ? token : nullptr;
  const auto* shift = given(offset) ? offset : nullptr;
  const auto* added = given(bias) ? bias : nullptr;
  const auto why = transposed || groups ? "the fake has no transposed flags and no groups"
                                        : quant_limits(x1, x2, tokens, scale, shift, added, out->type);
  if (!why.empty()) return fake::refuse(function, why);
  return plan(workspace, executor,
              [a = view(x1), b = view(x2), t = tokens ? view(tokens) : Tensor(), s = view(scale),
               o = shift ? view(shift) : Tensor(), c = added ? view(added) : Tensor(), y = view(out)] {
                auto sum = product(a, b);
                const bool whole = c.defined() && c.scalar_type() == at::kInt;
                if (whole) sum = sum.add(c);
                if (y.scalar_type() == at::kInt) return store(y, sum);
                const auto by = scales_of(s);
                sum = sum.mul(by.scale);
                if (t.defined()) sum = sum.mul(t.unsqueeze(-1));
                if (c.defined() && !whole) sum = sum.add(c);
                if (y.scalar_type() != at::kChar) return store(y, sum);
                if (o.defined()) sum = sum.add(o);  // a packed scale holds it once more
                if (!o.defined() && by.offset.defined()) sum = sum.add(by.offset);
                store(y, rounded(sum, y));
              });
}
}  // namespace
#define QUANT_MATMUL                                                                                           \
  const aclTensor *x1, const aclTensor *x2, const aclTensor *token, const aclTensor *scale, const aclTensor *, \
      const aclTensor *, const aclTensor *offset, const aclTensor *, const aclTensor *bias, bool t1, bool t2,  \
      int64_t groups, aclTensor *out
ACLNN(QuantMatmulV5, QUANT_MATMUL) {
  REQUIRE(x2->format != ACL_FORMAT_FRACTAL_NZ, "x2 is NZ");
  return quant_matmul(__func__, workspace, executor, x1, x2, token, scale, offset, bias, t1 || t2, groups, out);
}
ACLNN(QuantMatmulWeightNz, QUANT_MATMUL) {
  REQUIRE(x2->format == ACL_FORMAT_FRACTAL_NZ, "x2 is not NZ");
  REQUIRE_NONE(fake::nz_limits(x2));
  return quant_matmul(__func__, workspace, executor, x1, x2, token, scale, offset, bias, t1 || t2, groups, out);
}

// ---- npu_weight_quant_batchmatmul: fp16 or bf16 by int8 with a scale for each column ----
ACLNN(WeightQuantBatchMatmulV2, const aclTensor* x, const aclTensor* weight, const aclTensor* scale,
      const aclTensor* offset, const aclTensor* quant_scale, const aclTensor* quant_offset, const aclTensor* bias,
      int groups, aclTensor* out) {
  REQUIRE(is_half(x->type) && weight->type == ACL_INT8, "x is fp16 or bf16, weight int8 (int4 has no fake)");
  REQUIRE(groups == 0 && !given(quant_scale) && !given(quant_offset), "groups and quantised results have no fake");
  REQUIRE(x->sizes.size() == 2 && weight->sizes.size() == 2 && x->sizes[1] == weight->sizes[0],
          "two matrices that fit");
  REQUIRE(scale->type == x->type && (!given(offset) || offset->type == x->type), "scale and offset have the type of x");
  int64_t count = 1;
  for (int64_t n : scale->sizes) count *= n;
  REQUIRE(count == 1 || count == weight->sizes[1], "one scale, or one for each column");
  REQUIRE(!given(bias) || bias->type == (x->type == ACL_BF16 ? ACL_FLOAT : ACL_FLOAT16),
          "bias: fp16, or fp32 for bf16");
  return plan(
      workspace, executor,
      [a = view(x), w = view(weight), s = view(scale), o = if_given(offset), c = if_given(bias), y = view(out)] {
        auto factor = w.to(at::kFloat);
        if (o.defined()) factor = factor.add(o.to(at::kFloat));
        const auto product = a.to(at::kFloat).matmul(factor.mul(s.to(at::kFloat)));
        store(y, c.defined() ? product.add(c.to(at::kFloat)) : product);
      });
}
