// Graph operators that make, move, join, repeat, read and write by index.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/upsample_nearest2d.h>

#include "ops_graph.h"

namespace fake {
namespace {
using at::Tensor;

// Memory seen with sizes, strides and an offset from the three inputs that follow it.
Tensor strided(const Graph& g, size_t i) {
  return g.in[i].view(-1).as_strided(g.numbers(i + 1), g.numbers(i + 2), g.numbers(i + 3).at(0));
}
Tensors view_copy(const Graph& g) {  // writes to its first input, which is its output
  strided(g, 0).copy_(strided(g, 4));
  return {};
}

Tensor strided_slice(const Graph& g) {
  for (const char* mask : {"ellipsis_mask", "new_axis_mask"}) TORCH_CHECK(g.number(mask, 0) == 0, mask);
  const auto begin = g.numbers(1), end = g.numbers(2), stride = g.numbers(3);
  const auto set = [&](const char* mask, size_t d) { return (g.number(mask, 0) >> d & 1) != 0; };
  Tensor x = g.in[0];
  for (size_t d = 0; d < begin.size(); ++d) {
    const bool one = set("shrink_axis_mask", d);
    x = x.slice(int64_t(d), set("begin_mask", d) && !one ? 0 : begin[d],
                one ? begin[d] + 1 : (set("end_mask", d) ? x.size(int64_t(d)) : end[d]), stride[d]);
  }
  return x;  // of as many elements as with the dimensions of one that shrinking drops
}

Tensor slice(const Graph& g) {
  const auto offset = g.numbers(1), size = g.numbers(2);
  Tensor x = g.in[0];
  for (size_t d = 0; d < offset.size(); ++d)
    x = x.narrow(int64_t(d), offset[d], size[d] < 0 ? x.size(int64_t(d)) - offset[d] : size[d]);
  return x;
}

Tensor gather_v2(const Graph& g) {
  TORCH_CHECK(g.number("batch_dims", 0) == 0, "batch_dims");
  const int64_t dim = g.numbers(2).at(0);
  const auto index = g.in[1].to(at::kLong);
  auto sizes = g.in[0].sizes().vec();
  const int64_t at = dim < 0 ? dim + int64_t(sizes.size()) : dim;
  sizes.erase(sizes.begin() + at);
  sizes.insert(sizes.begin() + at, index.sizes().begin(), index.sizes().end());
  return g.in[0].index_select(at, index.reshape(-1)).reshape(sizes);
}

Tensor repeat_interleave(const Graph& g) {
  const auto axis = g.number("axis", 1000);
  const auto x = axis == 1000 ? g.in[0].reshape(-1) : g.in[0];
  const auto count = g.in[1].to(at::kLong).reshape(-1).expand({x.size(axis == 1000 ? 0 : axis)});
  return x.repeat_interleave(count.contiguous(), axis == 1000 ? 0 : axis);
}

Tensor scatter_elements(const Graph& g) {
  const auto how = g.text("reduction", "none");
  const auto dim = g.number("axis", 0);
  const auto index = g.in[1].to(at::kLong);
  if (how == "none") return g.in[0].scatter(dim, index, g.in[2]);
  TORCH_CHECK(how == "add", "reduction ", how);
  return g.in[0].scatter_add(dim, index, g.in[2]);
}

// Inputs: self, values, which dimensions have an index, strides that say the same, and the indices.
Tensors index_put(const Graph& g) {
  c10::List<std::optional<Tensor>> indices;
  size_t next = 4;
  for (int64_t has : g.numbers(2)) {
    indices.push_back(has && next < g.in.size() ? std::optional(g.in[next].to(at::kLong)) : std::nullopt);
    next += has ? 1 : 0;
  }
  return {g.in[0].index_put(indices, g.in[1], g.flag("accumulate"))};
}
// Inputs: self, which dimensions have an index, strides that say the same, and the indices.
Tensors index(const Graph& g) {
  c10::List<std::optional<Tensor>> indices;
  size_t next = 3;
  for (int64_t has : g.numbers(1)) {
    const bool given = has && next < g.in.size();
    const auto at = given ? g.in[next] : Tensor();
    indices.push_back(given ? std::optional(at.scalar_type() == at::kBool ? at : at.to(at::kLong)) : std::nullopt);
    next += has ? 1 : 0;
  }
  return {g.in[0].index(indices)};
}

// Pairs of what to put before and after, from the first dimension on.
Tensor pad(const Graph& g, double value) {
  TORCH_CHECK(g.text("mode", "constant") == "constant", "mode ", g.text("mode", ""));
  const auto widths = g.numbers(1);
  std::vector<int64_t> from_last;
  for (size_t d = widths.size() / 2; d-- > 0;) from_last.insert(from_last.end(), {widths[2 * d], widths[2 * d + 1]});
  return at::constant_pad_nd(g.in[0], from_last, value);
}

Tensor range(const Graph& g) {
  const auto count = g.out.at(0).numel();
  if (c10::isIntegralType(g.out[0].scalar_type(), false))
    return at::arange(count, at::kLong).mul(g.scalar(2)).add(g.scalar(0));
  return at::arange(count, at::kDouble).mul(g.scalar(2)).add(g.scalar(0));
}

Tensor one_hot(const Graph& g) {
  TORCH_CHECK(g.number("axis", -1) == -1, "only the last axis");
  const auto chosen = at::one_hot(g.in[0].to(at::kLong), g.numbers(1).at(0)).to(at::kBool);
  return g.in[2].where(chosen, g.in[3]);
}

Tensor resize_nearest(const Graph& g) {
  TORCH_CHECK(!g.flag("align_corners") && !g.flag("half_pixel_centers"), "only plain nearest");
  return at::upsample_nearest2d(g.in[0], g.numbers(1));
}
}  // namespace

const GraphOperators& graph_shape() {
  static const GraphOperators operators{
      GRAPH("Fill", 2, 2, g.in[1].reshape({}).expand(g.numbers(0))),
      GRAPH("Range", 3, 3, range(g)),
      GRAPH("LinSpace", 3, 3, at::linspace(g.scalar(0), g.scalar(1), g.numbers(2).at(0))),
      GRAPH("Eye", 0, 0, at::eye(g.number("num_rows", 0), g.number("num_columns", 0))),
      GRAPH("OneHot", 4, 4, one_hot(g)),
      GRAPH("AsStrided", 4, 4, strided(g, 0)),
      {"ViewCopy", {8, 8, view_copy}},
      GRAPH("Transpose", 2, 2, g.in[0].permute(g.numbers(1))),
      GRAPH("BroadcastTo", 2, 2, g.in[0].expand(g.numbers(1))),
      GRAPH("Tile", 2, 2, g.in[0].repeat(g.numbers(1))),
      GRAPH("Slice", 3, 3, slice(g)),
      GRAPH("StridedSlice", 4, 4, strided_slice(g)),
      GRAPH("ReverseV2", 2, 2, g.in[0].flip(g.numbers(1))),
      GRAPH("Roll", 1, 1, g.in[0].roll(g.list("shifts"), g.list("dims"))),
      GRAPH("ConcatD", 1, kAny, at::cat(g.in, g.number("concat_dim", 0))),
      GRAPH("Pack", 1, kAny, at::stack(g.in, g.number("axis", 0))),
      GRAPH("Tril", 1, 1, g.in[0].tril(g.number("diagonal", 0))),
      GRAPH("Triu", 1, 1, g.in[0].triu(g.number("diagonal", 0))),
      GRAPH("Pad", 2, 2, pad(g, 0)),
      GRAPH("PadV3", 3, 3, pad(g, g.in[2].item<double>())),
      GRAPH("GatherV2", 3, 3, gather_v2(g)),
      GRAPH("GatherElements", 2, 2, g.in[0].gather(g.number("dim", 0), g.in[1].to(at::kLong))),
      GRAPH("ScatterElements", 3, 3, scatter_elements(g)),
      GRAPH("InplaceIndexAdd", 4, 4,
            g.in[0].index_add(g.number("axis", 0), g.in[1].to(at::kLong), g.in[2], g.scalar(3))),
      GRAPH("RepeatInterleave", 2, 2, repeat_interleave(g)),
      {"Index", {3, kAny, index}},
      {"IndexPutV2", {4, kAny, index_put}},
      GRAPH("MaskedScatter", 3, 3, g.in[0].masked_scatter(g.in[1].to(at::kBool), g.in[2])),
      GRAPH("MaskedSelect", 2, 2, g.in[0].masked_select(g.in[1].to(at::kBool))),
      GRAPH("NonZero", 1, 1, g.flag("transpose") ? g.in[0].nonzero().t() : g.in[0].nonzero()),
      GRAPH("ResizeNearestNeighborV2", 2, 2, resize_nearest(g)),
  };
  return operators;
}
}  // namespace fake
