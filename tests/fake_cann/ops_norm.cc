// Normalisations and gated activations. The fused ones compute in fp32, as the real ones do.
#include <ATen/ops/gelu.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/native_group_norm.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/silu.h>

#include "operator.h"

namespace {
using at::Tensor;
using fake::ints;
using fake::plan;
using fake::store;
using fake::view;

std::optional<Tensor> optional(const aclTensor* tensor) {
  return tensor ? std::optional<Tensor>(view(tensor)) : std::nullopt;
}
bool is_float(const aclTensor* t) { return t->type == ACL_FLOAT || t->type == ACL_FLOAT16 || t->type == ACL_BF16; }
constexpr const char* kFloats = "takes fp32, fp16 and bf16";

void store_if(const Tensor& out, const Tensor& result) {
  if (out.defined() && out.numel()) store(out, result.reshape(out.sizes()));
}

struct Normed {
  Tensor y, rstd;
};
// Over as many last dimensions as gamma has; gemma's weight is an offset from one.
Normed rms_norm(const Tensor& x, const Tensor& gamma, double epsilon, bool offset = false) {
  std::vector<int64_t> dims;
  for (int64_t d = x.dim() - gamma.dim(); d < x.dim(); ++d) dims.push_back(d);
  const auto f = x.to(at::kFloat);
  const auto rstd = f.square().mean(dims, true).add(epsilon).rsqrt();
  const auto weight = gamma.to(at::kFloat);
  return {f.mul(rstd).mul(offset ? weight.add(1) : weight), rstd};
}
// npu_rms_norm's documentation: fp32, fp16, bf16; gamma's shape is x's last dimensions; gamma may be fp32 for a half x.
std::string rms_norm_limits(const aclTensor* x, const aclTensor* gamma) {
  if (!is_float(x) || !is_float(gamma)) return kFloats;
  if (gamma->type != x->type && (gamma->type != ACL_FLOAT || fake::is_310p()))
    return fake::is_310p() ? "gamma has the type of x" : "gamma has the type of x, or fp32";
  if (gamma->sizes.empty() || gamma->sizes.size() > x->sizes.size() ||
      !std::equal(gamma->sizes.rbegin(), gamma->sizes.rend(), x->sizes.rbegin())) {
    return "gamma's shape is not that of x's last dimensions";
  }
  if (fake::is_310p() && x->sizes.back() * (x->type == ACL_FLOAT ? 4 : 2) < 32) return "a row is less than 32 bytes";
  return "";
}
}  // namespace

ACLNN(LayerNorm, const aclTensor* self, const aclIntArray* shape, const aclTensor* weight, const aclTensor* bias,
      double epsilon, aclTensor* out, aclTensor* mean, aclTensor* rstd) {
  REQUIRE(is_float(self), kFloats);
  return plan(
      workspace, executor,
      [=, x = view(self), s = ints(shape), w = optional(weight), b = optional(bias), y = view(out), m = view(mean),
       r = view(rstd)] {
        if (x.numel() == 0) return;
        const auto widened = [](const std::optional<Tensor>& t) { return t ? std::optional(t->to(at::kFloat)) : t; };
        const auto [value, mu, inverse] = at::native_layer_norm(x.to(at::kFloat), s, widened(w), widened(b), epsilon);
        store(y, value);
        store_if(m, mu);
        store_if(r, inverse);
      });
}
ACLNN(FastLayerNorm, const aclTensor* self, const aclIntArray* shape, const aclTensor* weight, const aclTensor* bias,
      double epsilon, aclTensor* out, aclTensor* mean, aclTensor* rstd) {
  return aclnnLayerNormGetWorkspaceSize(self, shape, weight, bias, epsilon, out, mean, rstd, workspace, executor);
}
ACLNN(GroupNorm, const aclTensor* self, const aclTensor* weight, const aclTensor* bias, int64_t n, int64_t c,
      int64_t area, int64_t group, double epsilon, aclTensor* out, aclTensor* mean, aclTensor* rstd) {
  REQUIRE(is_float(self), kFloats);
  REQUIRE(group > 0 && c % group == 0, "the groups do not divide the channels");
  return plan(
      workspace, executor,
      [=, x = view(self), w = optional(weight), b = optional(bias), y = view(out), m = view(mean), r = view(rstd)] {
        const auto [value, mu, inverse] = at::native_group_norm(x.contiguous(), w, b, n, c, area, group, epsilon);
        store(y, value);
        store_if(m, mu);
        store_if(r, inverse);
      });
}
ACLNN(BatchNorm, const aclTensor* self, const aclTensor* weight, const aclTensor* bias, const aclTensor* running_mean,
      const aclTensor* running_var, bool training, double momentum, double epsilon, aclTensor* out, aclTensor* mean,
      aclTensor* rstd) {
  REQUIRE(is_float(self), kFloats);
  return plan(workspace, executor,
              [=, x = view(self), w = optional(weight), b = optional(bias), rm = optional(running_mean),
               rv = optional(running_var), y = view(out), m = view(mean), r = view(rstd)] {
                const auto [value, mu, inverse] = at::native_batch_norm(x, w, b, rm, rv, training, momentum, epsilon);
                store(y, value);
                if (training) store_if(m, mu), store_if(r, inverse);
              });
}

// ---- root mean square ----
ACLNN(RmsNorm, const aclTensor* self, const aclTensor* gamma, double epsilon, aclTensor* out, aclTensor* rstd) {
  REQUIRE_NONE(rms_norm_limits(self, gamma));
  return plan(workspace, executor, [=, x = view(self), g = view(gamma), y = view(out), r = view(rstd)] {
    const auto normed = rms_norm(x, g, epsilon);
    store(y, normed.y);
    store_if(r, normed.rstd);
  });
}
ACLNN(GemmaRmsNorm, const aclTensor* self, const aclTensor* gamma, double epsilon, aclTensor* out, aclTensor* rstd) {
  REQUIRE_NONE(rms_norm_limits(self, gamma));
  return plan(workspace, executor, [=, x = view(self), g = view(gamma), y = view(out), r = view(rstd)] {
    const auto normed = rms_norm(x, g, epsilon, true);
    store(y, normed.y);
    store_if(r, normed.rstd);
  });
}
ACLNN(AddRmsNorm, const aclTensor* x1, const aclTensor* x2, const aclTensor* gamma, double epsilon, aclTensor* out,
      aclTensor* rstd, aclTensor* sum) {
  REQUIRE_NONE(rms_norm_limits(x1, gamma));
  REQUIRE(x1->type == x2->type && x1->sizes == x2->sizes, "x1 and x2 differ in type or shape");
  return plan(workspace, executor,
              [=, a = view(x1), b = view(x2), g = view(gamma), y = view(out), r = view(rstd), s = view(sum)] {
                const auto total = a.to(at::kFloat).add(b.to(at::kFloat));
                const auto normed = rms_norm(total, g, epsilon);
                store(y, normed.y);
                store_if(r, normed.rstd);
                store(s, total);
              });
}
ACLNN(InplaceAddRmsNorm, aclTensor* x1, aclTensor* x2, const aclTensor* gamma, double epsilon, aclTensor* rstd) {
  return aclnnAddRmsNormGetWorkspaceSize(x1, x2, gamma, epsilon, x1, rstd, x2, workspace, executor);
}

// ---- gated activations: the first half is activated ----
ACLNN(SwiGlu, const aclTensor* self, int64_t dim, aclTensor* out) {
  REQUIRE(is_float(self), kFloats);
  const int64_t rank = self->sizes.size();
  REQUIRE(dim >= -rank && dim < rank && self->sizes[dim < 0 ? dim + rank : dim] % 2 == 0,
          "the dimension to split is odd");
  // aclnnSwiGlu's documentation: nothing that is not aligned to 64 bytes there.
  REQUIRE(!fake::is_310p() || self->sizes.back() * (self->type == ACL_FLOAT ? 4 : 2) % 128 == 0,
          "a half is no multiple of 64 bytes");
  return plan(workspace, executor, [=, x = view(self), y = view(out)] {
    const auto half = x.to(at::kFloat).chunk(2, dim);
    store(y, at::silu(half[0]).mul(half[1]));
  });
}
ACLNN(GeGluV3, const aclTensor* self, int64_t dim, int64_t approximate, bool activate_left, aclTensor* out,
      aclTensor* gelu) {
  REQUIRE(is_float(self), kFloats);
  return plan(workspace, executor, [=, x = view(self), y = view(out), g = view(gelu)] {
    const auto half = x.to(at::kFloat).chunk(2, dim);
    const auto active = at::gelu(half[activate_left ? 0 : 1], approximate ? "tanh" : "none");
    store(y, active.mul(half[activate_left ? 1 : 0]));
    store_if(g, active);
  });
}
