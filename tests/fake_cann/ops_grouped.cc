// npu_grouped_matmul: each group of rows (or of the reduced dimension) has its own weight. Tables and scenes of its
// documentation: fp16, bf16 and fp32; int8 by int8 with scales; fp16 or bf16 by int8 with antiquant scales.
#include <ATen/ops/gelu.h>
#include <ATen/ops/silu.h>

#include <algorithm>

#include "operator.h"

namespace {
using at::Tensor;
using fake::plan;
using fake::store;
using fake::view;
using fake::views;

struct Grouped {
  std::vector<Tensor> x, weight, bias, scale, anti_scale, anti_offset, token_scale, out;
  Tensor group_list;
  int64_t split, type, list_type, activation;

  Tensor of(const std::vector<Tensor>& list, int64_t e) const {
    if (list.empty()) return {};
    if (list.size() > 1) return list[e];
    return weight.size() == 1 && weight[0].dim() == 3 ? list[0][e] : list[0];
  }
  Tensor activated(const Tensor& y) const {
    switch (activation) {
      case 1:
        return y.relu();
      case 2:
        return at::gelu(y, "tanh");
      case 4:
        return y.mul(y.mul(1.702).sigmoid());
      case 5:
        return at::silu(y);
      default:
        return y;
    }
  }
  // One group's rows by one weight; `tokens` are the scales of these rows.
  Tensor one(const Tensor& rows, int64_t e, const Tensor& tokens) const {
    const auto w = of(weight, e), b = of(bias, e), s = of(scale, e);
    if (rows.scalar_type() == at::kChar) {
      auto y = rows.to(at::kDouble).matmul(w.to(at::kDouble));
      const bool whole = b.defined() && b.scalar_type() == at::kInt;
      if (whole) y = y.add(b);
      if (s.defined()) {
        // 64 bits hold a float in their lower half, as npu_trans_quant_param makes them
        const bool word = s.scalar_type() == at::kLong || s.scalar_type() == at::kUInt64;
        y = y.mul(word ? s.contiguous().view(at::kInt).view({-1, 2}).select(1, 0).contiguous().view(at::kFloat)
                       : s.to(at::kFloat));
      }
      if (tokens.defined()) y = y.mul(tokens.unsqueeze(-1));
      if (b.defined() && !whole) y = y.add(b);
      return activated(y);
    }
    auto factor = w.to(at::kFloat);
    if (w.scalar_type() == at::kChar) {
      if (const auto o = of(anti_offset, e); o.defined()) factor = factor.add(o.to(at::kFloat));
      factor = factor.mul(of(anti_scale, e).to(at::kFloat));
    }
    auto y = rows.to(at::kFloat).matmul(factor);
    return b.defined() ? y.add(b.to(at::kFloat)) : y;
  }
  void put(const Tensor& target, const Tensor& y) const {
    store(target, target.scalar_type() == at::kChar ? y.round().clamp(-128, 127) : y);
  }
  // (group, size) in order.
  std::vector<std::pair<int64_t, int64_t>> sizes() const {
    std::vector<std::pair<int64_t, int64_t>> result;
    int64_t before = 0;
    for (int64_t i = 0; i < group_list.size(0); ++i) {
      if (list_type == 2) {
        result.emplace_back(group_list[i][0].item<int64_t>(), group_list[i][1].item<int64_t>());
        continue;
      }
      const auto n = group_list[i].item<int64_t>();
      result.emplace_back(i, list_type == 0 ? n - before : n);
      before = n;
    }
    for (const auto& [e, n] : result) TORCH_CHECK(n >= 0, "group_list holds a group of negative size");
    return result;
  }
  void operator()() const {
    const auto tokens = [&](int64_t i) { return token_scale.empty() ? Tensor() : token_scale[i]; };
    if (!group_list.defined()) {  // a weight for each x, or their results in one tensor
      int64_t begin = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const auto y = one(x[i], i, tokens(i));
        put(out.size() > 1 || x.size() == 1 ? out[i] : out[0].narrow(0, begin, x[i].size(0)), y);
        begin += x[i].size(0);
      }
      return;
    }
    int64_t begin = 0, index = 0;
    for (const auto& [e, n] : sizes()) {
      if (type == 2) {
        TORCH_CHECK(begin + n <= x[0].size(1), "group_list ends past the reduced dimension");
        const auto y = x[0].narrow(1, begin, n).to(at::kFloat).matmul(weight[0].narrow(0, begin, n).to(at::kFloat));
        put(out.size() > 1 ? out[e] : out[0][e], y);
      } else if (x.size() > 1) {
        TORCH_CHECK(n == x[index].size(0), "group_list differs from the rows of x");
        put(out.size() > 1 ? out[index] : out[0].narrow(0, begin, n), one(x[index], e, tokens(index)));
      } else {
        // Rows after the last group have no weight: their results are left alone, as on the device.
        TORCH_CHECK(begin + n <= x[0].size(0), "group_list ends past the rows of x");
        const auto scales = tokens(0);
        const auto y = one(x[0].narrow(0, begin, n), e, scales.defined() ? scales.narrow(0, begin, n) : scales);
        put(out.size() > 1 ? out[index] : out[0].narrow(0, begin, n), y);
      }
      begin += n, ++index;
    }
  }
};

bool empty(const aclTensorList* list) { return !list || list->value.empty(); }
aclDataType type_of(const aclTensorList* list) { return list->value[0]->type; }
bool any(aclDataType type, std::initializer_list<aclDataType> types) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

struct Lists {
  const aclTensorList *x, *weight, *bias, *scale, *offset, *anti_scale, *anti_offset, *token_scale;
  const aclTensor* group_list;
  const aclTensorList* out;
};
std::string type_limits(const Lists& l) {
  const auto x = type_of(l.x), w = type_of(l.weight), y = type_of(l.out);
  const auto bias = [&](std::initializer_list<aclDataType> types) {
    return empty(l.bias) || any(type_of(l.bias), types);
  };
  if (!empty(l.offset)) return "offset is not supported";
  if (x == ACL_INT8) {
    if (w != ACL_INT8) return "int8 goes with int8 weights (int4 has no fake)";
    if (!bias({ACL_INT32, ACL_BF16, ACL_FLOAT16, ACL_FLOAT})) return "an int8 product takes an int32 bias";
    if (y == ACL_INT32) return "";
    if (empty(l.scale)) return "int8 needs a scale";
    const auto s = type_of(l.scale);
    if (!empty(l.token_scale) && type_of(l.token_scale) != ACL_FLOAT) return "per_token_scale is fp32";
    if (y == ACL_INT8) {
      return any(s, {ACL_INT64, ACL_UINT64}) && empty(l.token_scale) ? "" : "int8 results take a packed int64 scale";
    }
    if (y == ACL_BF16) return any(s, {ACL_BF16, ACL_FLOAT}) ? "" : "bf16 results take a bf16 or fp32 scale";
    if (y == ACL_FLOAT16) return s == ACL_FLOAT ? "" : "fp16 results take an fp32 scale";
    return "int8 products give int8, int32, bf16 or fp16";
  }
  if (!any(x, {ACL_FLOAT, ACL_FLOAT16, ACL_BF16})) return "takes fp32, fp16, bf16 and int8";
  if (!empty(l.scale) || !empty(l.token_scale)) return "scales belong to int8";
  if (y != x) return "the result has the type of x";
  if (!bias({x == ACL_FLOAT16 ? ACL_FLOAT16 : ACL_FLOAT})) return "the bias is fp16 for fp16, else fp32";
  if (w == ACL_INT8) {
    if (x == ACL_FLOAT) return "fp32 does not go with int8 weights";
    if (empty(l.anti_scale) || type_of(l.anti_scale) != x) return "int8 weights need antiquant_scale of the type of x";
    return empty(l.anti_offset) || type_of(l.anti_offset) == x ? "" : "antiquant_offset has the type of x";
  }
  if (w != x) return "x and weight differ in type";
  if (x == ACL_FLOAT && (l.x->value.size() > 1 || l.weight->value.size() > 1)) return "fp32 takes single tensors";
  return "";
}
std::string shape_limits(const Lists& l, int64_t split, int64_t type, int64_t list_type) {
  const auto nx = l.x->value.size(), nw = l.weight->value.size();
  if (nx > 128 || nw > 128) return "lists of at most 128 tensors";
  if (split < 0 || split > 3) return "split_item is 0 to 3";
  if (type != -1 && type != 0 && type != 2) return "group_type is -1, 0 or 2";
  if (list_type < 0 || list_type > 2) return "group_list_type is 0 to 2";
  if (list_type == 2 && (type_of(l.x) != ACL_INT8 || type != 0))
    return "group_list_type 2 goes with int8 and group_type 0";
  for (const auto* list : {l.x, l.weight}) {
    for (const auto* t : list->value) {
      if (t->sizes.back() >= 65536) return "last dimensions are below 65536";
    }
  }
  if (type == -1)
    return l.group_list ? "group_type -1 takes no group_list" : split > 1 ? "group_type -1: split_item 0 or 1" : "";
  if (split < 2) return "group_type 0 and 2: split_item 2 or 3";
  if (!l.group_list && nx == 1) return "group_list is needed";
  if (l.group_list && l.group_list->type != ACL_INT64) return "group_list is int64";
  if (l.group_list && l.group_list->sizes.size() != (list_type == 2 ? 2U : 1U)) return "group_list has another shape";
  const auto& w = *l.weight->value[0];
  if (type == 0 && nx == 1 && nw == 1 && w.sizes.size() != 3) return "a single weight is [groups, k, n]";
  const int64_t groups = nw == 1 && w.sizes.size() == 3 ? w.sizes[0] : int64_t(nw);
  if (type == 0 && l.group_list && list_type < 2 && l.group_list->sizes[0] != groups)
    return "group_list differs from the weights in length";
  return "";
}

int grouped(const char* function, uint64_t* workspace, aclOpExecutor** executor, const Lists& l, int64_t split,
            int64_t type, int64_t list_type, int64_t activation, bool nz) {
  std::string why = type_limits(l);
  if (why.empty()) why = shape_limits(l, split, type, list_type);
  if (why.empty() && (activation < 0 || activation > 5 || activation == 3)) why = "act_type is 0, 1, 2, 4 or 5";
  if (why.empty() && activation != 0 && empty(l.token_scale)) why = "an activation goes with per_token_scale";
  if (why.empty() && (l.weight->value[0]->format == ACL_FORMAT_FRACTAL_NZ) != nz) why = "the weight's layout";
  if (!why.empty()) return fake::refuse(function, why);
  return plan(
      workspace, executor,
      Grouped{views(l.x), views(l.weight), views(l.bias), views(l.scale), views(l.anti_scale), views(l.anti_offset),
              views(l.token_scale), views(l.out), view(l.group_list), split, type, list_type, activation});
}
}  // namespace

#define GROUPED_INPUTS                                                                                             \
  const aclTensorList *x, const aclTensorList *weight, const aclTensorList *bias, const aclTensorList *scale,      \
      const aclTensorList *offset, const aclTensorList *anti_scale, const aclTensorList *anti_offset,              \
      const aclTensorList *token_scale, const aclTensor *group_list, const aclTensorList *, const aclTensorList *, \
      const aclTensorList *, int64_t split, int64_t type, int64_t list_type, int64_t activation
#define GROUPED_OUTPUTS const aclTensorList *out, const aclTensorList *, const aclTensorList *
#define GROUPED_CALL(nz)                                                                                               \
  return grouped(__func__, workspace, executor,                                                                        \
                 {x, weight, bias, scale, offset, anti_scale, anti_offset, token_scale, group_list, out}, split, type, \
                 list_type, activation, nz)
ACLNN(GroupedMatmulV4, GROUPED_INPUTS, GROUPED_OUTPUTS) { GROUPED_CALL(false); }
ACLNN(GroupedMatmulV5, GROUPED_INPUTS, const aclIntArray*, GROUPED_OUTPUTS) { GROUPED_CALL(false); }
ACLNN(GroupedMatmulWeightNz, GROUPED_INPUTS, const aclIntArray*, int64_t, GROUPED_OUTPUTS) { GROUPED_CALL(true); }
