// Attention over whole sequences: npu_fusion_attention, to which scaled_dot_product_attention goes, too.
#include "ops_attention.h"

#include <ATen/ops/arange.h>

#include <algorithm>
#include <limits>

namespace fake {

bool fits(const std::string& layout, const std::vector<int64_t>& sizes) {
  static const char* const known[] = {"BSH", "SBH", "BSND", "BNSD", "NBSD", "TND", "NTD"};
  return sizes.size() == layout.size() &&
         std::any_of(std::begin(known), std::end(known), [&](const char* k) { return layout == k; });
}

Shape shape_of(const std::string& layout, const std::vector<int64_t>& sizes, int64_t heads) {
  Shape s;
  s.heads = heads;
  for (size_t i = 0; i < layout.size(); ++i) {
    switch (layout[i]) {
      case 'B':
        s.batch = sizes[i];
        break;
      case 'S':
      case 'T':
        s.tokens = sizes[i];
        break;
      case 'N':
        s.heads = sizes[i];
        break;
      case 'D':
        s.head_size = sizes[i];
        break;
      default:
        s.head_size = heads ? sizes[i] / heads : 0;
        break;
    }
  }
  return s;
}

at::Tensor rows(const at::Tensor& x, const std::string& layout, int64_t b, int64_t begin, int64_t n, int64_t heads) {
  if (layout == "BSH") return x[b].narrow(0, begin, n).unflatten(-1, {heads, -1});
  if (layout == "SBH") return x.select(1, b).narrow(0, begin, n).unflatten(-1, {heads, -1});
  if (layout == "BSND") return x[b].narrow(0, begin, n);
  if (layout == "BNSD") return x[b].transpose(0, 1).narrow(0, begin, n);
  if (layout == "NBSD") return x.select(1, b).transpose(0, 1).narrow(0, begin, n);
  if (layout == "TND") return x.narrow(0, begin, n);
  return x.transpose(0, 1).narrow(0, begin, n);
}

at::Tensor Sparsity::hidden(int64_t b, int64_t n_q, int64_t n_kv) const {
  if (!mask.defined()) return {};
  const auto i = at::arange(n_q).unsqueeze(1), j = at::arange(n_kv).unsqueeze(0);
  const int64_t corner = n_kv - n_q;
  if (compressed()) {
    const auto square = mask.reshape({mask.size(-2), mask.size(-1)});
    const auto at = [&](int64_t row, int64_t column) { return square[row][column].item<bool>(); };
    TORCH_CHECK(at(0, 1) && at(0, 2047) && at(2046, 2047) && !at(0, 0) && !at(1, 0) && !at(2047, 0) && !at(2047, 2047),
                "the mask of sparse modes 2 to 4 holds ones above the diagonal and zeros elsewhere");
  }
  const auto distance = j.sub(i);  // of a key after its query
  const auto band = [&](int64_t shift) {
    const int64_t most = std::numeric_limits<int32_t>::max();
    return distance.sub(shift).gt(std::min(after, most)).logical_or(distance.sub(shift).lt(-std::min(before, most)));
  };
  switch (mode) {
    case 2:
      return distance.gt(0).unsqueeze(0);
    case 3:
      return distance.gt(corner).unsqueeze(0);
    case 4:
      return band(corner).unsqueeze(0);
    default:
      break;
  }
  at::Tensor own = mask.to(at::kBool);
  if (own.dim() == 2 && row_for_batch) own = own[b].unsqueeze(0);
  if (own.dim() == 4) own = own[own.size(0) == 1 ? 0 : b];
  if (own.dim() == 3 && mask.dim() == 3) own = own[own.size(0) == 1 ? 0 : b];
  if (own.dim() == 2) own = own.unsqueeze(0);
  own = own.narrow(1, 0, n_q).narrow(2, 0, n_kv);
  return mode == 0 ? own.logical_or(band(0).unsqueeze(0)) : own;
}

std::string mask_limits(const aclTensor* mask, int64_t mode, const Shape& query, int64_t keys, bool packed) {
  if (mode < 0 || mode > 4) return "sparse_mode is 0 to 4";
  if (!mask) return mode == 1 ? "sparse_mode 1 needs a mask" : "";
  if (mask->type != ACL_BOOL && mask->type != ACL_INT8 && mask->type != ACL_UINT8) return "the mask is bool or 8 bits";
  const auto& s = mask->sizes;
  const size_t rank = s.size();
  if (rank < 2 || rank > 4) return "the mask has 2 to 4 dimensions";
  if (mode >= 2) {
    const bool one = std::all_of(s.begin(), s.end() - 2, [](int64_t n) { return n == 1; });
    return one && s[rank - 2] == 2048 && s[rank - 1] == 2048 ? "" : "sparse modes 2 to 4 take a mask of 2048 x 2048";
  }
  if (rank == 2 && query.tokens == 1 && !packed)
    return s[0] >= query.batch && s[1] >= keys ? "" : "the mask is too small";
  if (rank > 2 && s[0] != 1 && s[0] != query.batch) return "the mask's first dimension is 1 or the batch";
  if (rank == 4 && s[1] != 1 && s[1] != query.heads) return "the mask's second dimension is 1 or the heads";
  if (!packed && s[rank - 2] < query.tokens) return "the mask has fewer rows than there are queries";
  return s[rank - 1] < keys ? "the mask has fewer columns than there are keys" : "";
}

Attended attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& hidden,
                const at::Tensor& bias, double scale, const at::Tensor& sink) {
  const auto by_head = [](const at::Tensor& x) { return x.to(at::kFloat).transpose(0, 1); };
  const int64_t group = q.size(1) / std::max<int64_t>(k.size(1), 1);
  const auto keys = by_head(k).repeat_interleave(group, 0), values = by_head(v).repeat_interleave(group, 0);
  auto score = by_head(q).matmul(keys.transpose(1, 2)).mul(scale);
  if (bias.defined()) score = score.add(bias.to(at::kFloat));
  if (hidden.defined()) score = score.masked_fill(hidden, -std::numeric_limits<float>::infinity());
  if (score.size(2) == 0) {
    const auto none = score.new_zeros({score.size(0), score.size(1), 1});
    return {score.new_zeros({score.size(0), score.size(1), v.size(2)}), none, none};
  }
  const auto max = score.amax(2, true).clamp_min(std::numeric_limits<float>::lowest());
  const auto weight = score.sub(max).exp();
  auto sum = weight.sum(2, true);
  if (sink.defined()) sum = sum.add(sink.to(at::kFloat).view({-1, 1, 1}).sub(max).exp());
  return {weight.matmul(values).div(sum.clamp_min(1e-30)), max, sum};
}

std::vector<int64_t> lengths(const std::vector<int64_t>& totals) {
  std::vector<int64_t> result;
  int64_t before = 0;
  for (int64_t t : totals) result.push_back(t - before), before = t;
  return result;
}

std::string totals_limits(const std::vector<int64_t>& totals, int64_t tokens, const char* name) {
  const std::string list = name;
  if (totals.empty()) return list + " is needed where the layout has no batch";
  if (totals.front() < 0 || !std::is_sorted(totals.begin(), totals.end())) return list + " holds running totals";
  return totals.back() == tokens ? "" : list + " does not end at the number of tokens";
}

}  // namespace fake

namespace {
using at::Tensor;
using namespace fake;

struct Fusion {
  Tensor query, key, value, bias, out, max, sum;
  Sparsity sparsity;
  std::vector<int64_t> q_lengths, kv_lengths;
  std::string layout;
  int64_t heads, kv_heads;
  double scale;

  void operator()() const {
    int64_t q_begin = 0, kv_begin = 0;
    for (size_t b = 0; b < q_lengths.size(); ++b) {
      const int64_t n_q = q_lengths[b], n_kv = kv_lengths[b];
      Tensor own_bias;
      if (bias.defined()) own_bias = bias[bias.size(0) == 1 ? 0 : int64_t(b)].mul(scale);
      const auto result =
          attend(rows(query, layout, b, q_begin, n_q, heads), rows(key, layout, b, kv_begin, n_kv, kv_heads),
                 rows(value, layout, b, kv_begin, n_kv, kv_heads), sparsity.hidden(b, n_q, n_kv), own_bias, scale);
      rows(out, layout, b, q_begin, n_q, heads).copy_(result.out.transpose(0, 1));
      // The statistics stand eight times in their last dimension.
      const auto place = [&](const Tensor& all) {
        return packed(layout) ? all.narrow(0, q_begin, n_q).transpose(0, 1) : all[b];
      };
      place(max).copy_(result.max.expand({heads, n_q, 8}));
      place(sum).copy_(result.sum.expand({heads, n_q, 8}));
      if (packed(layout)) q_begin += n_q, kv_begin += n_kv;
    }
  }
};

// npu_fusion_attention's documentation: fp16, bf16 or fp32, all the same; as many key heads as divide the query's, at
// most 256 in training (sdpa allows 2048); head sizes to 768, the values' not above the keys'.
std::string fusion_limits(const aclTensor* q, const aclTensor* k, const aclTensor* v, const Shape& query,
                          const Shape& key, const Shape& value, double keep_prob) {
  if (q->type != ACL_FLOAT16 && q->type != ACL_BF16 && q->type != ACL_FLOAT) return "takes fp16, bf16 and fp32";
  if (k->type != q->type || v->type != q->type) return "query, key and value differ in type";
  if (key.heads == 0 || query.heads % key.heads != 0) return "the key's heads do not divide the query's";
  if (query.heads > 2048) return "at most 2048 heads";
  if (query.head_size != key.head_size || value.head_size > key.head_size) return "head sizes: Dq = Dk >= Dv";
  if (query.head_size < 1 || query.head_size > 768) return "head sizes are 1 to 768";
  if (query.batch != key.batch || key.batch != value.batch || key.tokens != value.tokens)
    return "batches or keys differ";
  return keep_prob == 1 ? "" : "the fake has no dropout";
}
}  // namespace

#define FUSION_TENSORS                                                                         \
  const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *bias, \
      const aclTensor *drop_mask, const aclTensor *padding_mask, const aclTensor *mask, const aclIntArray *prefix
#define FUSION_NUMBERS                                                                                            \
  double scale, double keep_prob, int64_t before, int64_t after, int64_t heads, const char *layout_name, int64_t, \
      int64_t mode

namespace {
int fusion(const char* function, uint64_t* workspace, aclOpExecutor** executor, FUSION_TENSORS,
           const aclIntArray* q_totals, const aclIntArray* kv_totals, FUSION_NUMBERS, aclTensor* max, aclTensor* sum,
           aclTensor* out) {
  const std::string layout = layout_name;
  const auto refused = [&](const std::string& why) { return refuse(function, why); };
  if (padding_mask) return refused("padding_mask is not supported");
  if (!ints(prefix).empty()) return refused("the fake has no prefix");
  if (drop_mask && !drop_mask->sizes.empty() && drop_mask->sizes[0] > 0) return refused("the fake has no dropout");
  if (!fits(layout, query->sizes) || !fits(layout, key->sizes) || layout == "NTD") return refused("unknown layout");
  const auto q = shape_of(layout, query->sizes, heads);
  // BSH names only the query's heads; the head size is the same.
  const int64_t named = layout.back() == 'H' && q.head_size ? key->sizes[2] / q.head_size : heads;
  const auto k = shape_of(layout, key->sizes, named), v = shape_of(layout, value->sizes, named);
  if (auto why = fusion_limits(query, key, value, q, k, v, keep_prob); !why.empty()) return refused(why);
  if (q.heads != heads) return refused("head_num is not the query's number of heads");
  if (bias && (bias->type != query->type || bias->sizes.size() != 4))
    return refused("pse: the query's type, 4 dimensions");
  std::vector<int64_t> q_lengths(q.batch, q.tokens), kv_lengths(q.batch, k.tokens);
  if (packed(layout)) {
    for (const auto& why : {totals_limits(ints(q_totals), q.tokens, "actual_seq_qlen"),
                            totals_limits(ints(kv_totals), k.tokens, "actual_seq_kvlen")}) {
      if (!why.empty()) return refused(why);
    }
    q_lengths = lengths(ints(q_totals)), kv_lengths = lengths(ints(kv_totals));
    if (q_lengths.size() != kv_lengths.size()) return refused("the two lists of totals differ in length");
  }
  const auto longest = [](const std::vector<int64_t>& n) {
    return n.empty() ? 0 : *std::max_element(n.begin(), n.end());
  };
  if (mask) {
    Shape rows_of_mask = q;
    rows_of_mask.tokens = longest(q_lengths);
    const bool two = mask->sizes.size() == 2;
    if (auto why = mask_limits(mask, mode, rows_of_mask, longest(kv_lengths), two); !why.empty()) return refused(why);
    if (two && mode < 2 && mask->sizes[0] < rows_of_mask.tokens) return refused("the mask has fewer rows than queries");
  }
  Sparsity sparsity{mode, before, after, view(mask), false};
  return plan(workspace, executor,
              Fusion{view(query), view(key), view(value), view(bias), view(out), view(max), view(sum), sparsity,
                     q_lengths, kv_lengths, layout, heads, k.heads, scale});
}
}  // namespace

ACLNN(FlashAttentionScore, FUSION_TENSORS, FUSION_NUMBERS, aclTensor* max, aclTensor* sum, aclTensor*, aclTensor* out) {
  NOT_ON_310P;
  return fusion(__func__, workspace, executor, query, key, value, bias, drop_mask, padding_mask, mask, prefix, nullptr,
                nullptr, scale, keep_prob, before, after, heads, layout_name, 0, mode, max, sum, out);
}
ACLNN(FlashAttentionVarLenScore, FUSION_TENSORS, const aclIntArray* q_totals, const aclIntArray* kv_totals,
      FUSION_NUMBERS, aclTensor* max, aclTensor* sum, aclTensor*, aclTensor* out) {
  NOT_ON_310P;
  return fusion(__func__, workspace, executor, query, key, value, bias, drop_mask, padding_mask, mask, prefix, q_totals,
                kv_totals, scale, keep_prob, before, after, heads, layout_name, 0, mode, max, sum, out);
}
