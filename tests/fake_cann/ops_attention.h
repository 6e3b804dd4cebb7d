// Attention over one sequence, and the layouts in which the fused operators take it.
#pragma once
#include <string>
#include <vector>

#include "operator.h"

namespace fake {

// A letter for each dimension of a layout: Batch, Sequence, Hidden (heads and head size), N heads, D head size, T
// tokens.
struct Shape {
  int64_t batch = 1, tokens = 0, heads = 0, head_size = 0;
};
// Whether `layout` is one that a tensor of these sizes can have.
bool fits(const std::string& layout, const std::vector<int64_t>& sizes);
Shape shape_of(const std::string& layout, const std::vector<int64_t>& sizes, int64_t heads);
// Tokens [begin, begin + n) of sequence b as a view [n, heads, head size]. Packed layouts (TND, NTD) have no batch.
at::Tensor rows(const at::Tensor& x, const std::string& layout, int64_t b, int64_t begin, int64_t n, int64_t heads);
inline bool packed(const std::string& layout) { return layout == "TND" || layout == "NTD"; }

// Which keys a query sees. In modes 2 to 4 the given mask is the compressed one: 2048 x 2048, ones above the diagonal.
struct Sparsity {
  int64_t mode = 0;  // 0 mask and band, 1 mask, 2 causal from the top left, 3 causal to the bottom right, 4 band
  int64_t before = INT64_MAX, after = INT64_MAX;
  at::Tensor mask;             // true: not seen
  bool row_for_batch = false;  // a mask of two dimensions is [batch, keys]

  bool compressed() const { return mode >= 2 && mode <= 4; }
  // [1 or heads, n_q, n_kv], or undefined where all is seen.
  at::Tensor hidden(int64_t b, int64_t n_q, int64_t n_kv) const;
};
// What is wrong with a mask's shape; `takes_rows` where [batch, keys] is allowed, too.
std::string mask_limits(const aclTensor* mask, int64_t mode, const Shape& query, int64_t keys, bool packed);

struct Attended {
  at::Tensor out, max, sum;  // [heads, n, head size], [heads, n, 1], [heads, n, 1]
};
// q, k and v are [tokens, heads, head size] of any type; heads of k and v are shared by groups of query heads. A row
// that sees nothing is zero. `bias` is added to the scaled scores; `sink` is a logit per head that takes part in the
// sum only.
Attended attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& hidden,
                const at::Tensor& bias, double scale, const at::Tensor& sink = {});

// Lengths from running totals.
std::vector<int64_t> lengths(const std::vector<int64_t>& totals);
// Empty, or what is wrong with a list of running totals that should end at `tokens`.
std::string totals_limits(const std::vector<int64_t>& totals, int64_t tokens, const char* name);

}  // namespace fake
