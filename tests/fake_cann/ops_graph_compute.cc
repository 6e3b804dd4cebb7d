// Graph operators that compute over dimensions: products, convolutions, norms, reductions, sorting, random numbers.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/multinomial.h>
#include <ATen/ops/native_group_norm.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/randperm.h>

#include "ops_graph.h"

namespace fake {
namespace {
using at::Tensor;

Tensor product(const Graph& g, const char* turn_first, const char* turn_second) {
  const auto a = g.flag(turn_first) ? g.in[0].transpose(-2, -1) : g.in[0];
  const auto b = g.flag(turn_second) ? g.in[1].transpose(-2, -1) : g.in[1];
  const auto result = on_cube(a).matmul(on_cube(b));
  return g.has(2) ? result.add(g.in[2]) : result;
}

// Strides and dilations are of all dimensions, pads of those that are convolved.
Tensor convolve(const Graph& g, const char* layout) {
  TORCH_CHECK(g.text("data_format", "") == layout, "only ", layout);
  const int64_t dims = g.in[0].dim() - 2;
  const auto spatial = [&](const char* name) {
    const auto all = g.list(name);
    return all.empty() ? std::vector<int64_t>(size_t(dims), 1) : std::vector<int64_t>{all.end() - dims, all.end()};
  };
  std::vector<int64_t> padding;
  const auto pads = g.list("pads");  // before and after, of each dimension
  for (int64_t d = 0; d < dims; ++d) {
    TORCH_CHECK(int64_t(pads.size()) == 2 * dims && pads[2 * d] == pads[2 * d + 1], "pads differ between sides");
    padding.push_back(pads[2 * d]);
  }
  const auto bias = g.has(2) ? std::optional(g.in[2].to(g.in[0].scalar_type())) : std::nullopt;
  return at::convolution(on_cube(g.in[0]), on_cube(g.in[1]), bias, spatial("strides"), padding, spatial("dilations"),
                         false, std::vector<int64_t>(size_t(dims), 0), g.number("groups", 1));
}

Tensors layer_norm(const Graph& g, bool inverse) {
  const auto x = g.in[0].to(at::kFloat);
  const int64_t begin = g.number("begin_norm_axis", 0);
  const std::vector<int64_t> shape(x.sizes().begin() + (begin < 0 ? begin + x.dim() : begin), x.sizes().end());
  const auto [y, mean, rstd] = at::native_layer_norm(x, shape, g.in[1].to(at::kFloat).reshape(shape),
                                                     g.in[2].to(at::kFloat).reshape(shape), g.real("epsilon", 1e-7));
  return {y, mean, inverse ? rstd : rstd.pow(-2).sub(g.real("epsilon", 1e-7))};
}

Tensors group_norm(const Graph& g) {
  const auto x = g.in[0].to(at::kFloat);
  const double epsilon = g.real("eps", 1e-5);
  const int64_t n = x.size(0), c = x.size(1), area = x.numel() / std::max<int64_t>(1, n * c);
  const auto [y, mean, rstd] = at::native_group_norm(x, g.in[1].to(at::kFloat), g.in[2].to(at::kFloat), n, c, area,
                                                     g.number("num_groups", 1), epsilon);
  return {y, mean, rstd.pow(-2).sub(epsilon)};
}

Tensors rms_norm(const Graph& g) {
  std::vector<int64_t> dims;
  for (int64_t d = g.in[0].dim() - g.in[1].dim(); d < g.in[0].dim(); ++d) dims.push_back(d);
  const auto x = g.in[0].to(at::kFloat);
  const auto rstd = x.square().mean(dims, true).add(g.real("epsilon", 1e-6)).rsqrt();
  return {x.mul(rstd).mul(g.in[1].to(at::kFloat)), rstd};
}

// The halves of the last dimension are the two parts of a number that is turned.
Tensor rotary(const Graph& g) {
  const auto half = g.in[0].to(at::kFloat).chunk(2, -1);
  const auto turned = at::cat({half[1].neg(), half[0]}, -1);
  return g.in[0].to(at::kFloat).mul(g.in[1].to(at::kFloat)).add(turned.mul(g.in[2].to(at::kFloat)));
}

Tensor softmax(const Graph& g) {
  const auto axes = g.list("axes");
  TORCH_CHECK(axes.size() <= 1, "softmax over several axes");
  return g.in[0].softmax(axes.empty() ? -1 : axes[0], at::kFloat);
}
Tensor log_softmax(const Graph& g) {
  const auto axes = g.list("axes");
  TORCH_CHECK(axes.size() <= 1, "softmax over several axes");
  return g.in[0].log_softmax(axes.empty() ? -1 : axes[0], at::kFloat);
}

// All dimensions where no axis is given.
std::vector<int64_t> axes(const Graph& g, const std::vector<int64_t>& given) {
  auto all = given;
  for (int64_t d = 0; given.empty() && d < g.in[0].dim(); ++d) all.push_back(d);
  return all;
}
using Over = Tensor (*)(const Tensor&, at::IntArrayRef, bool);
Tensor reduce(const Graph& g, Over f) {
  return f(g.in[0], axes(g, g.has(1) ? g.numbers(1) : g.list("axes")), g.flag("keep_dims"));
}
Tensor deviation(const Graph& g) {  // the mean is given, and is what these would find
  const auto dims = axes(g, g.list("dim"));
  const auto x = g.in[0].to(at::kFloat);
  const int64_t correction = g.number("correction", g.flag("unbiased", true) ? 1 : 0);
  const auto var = x.var(at::OptionalIntArrayRef(dims), at::Scalar(correction), g.flag("keepdim"));
  if (g.flag("invert")) return var.add(g.real("epsilon", 1e-3)).rsqrt();
  return g.flag("if_std", true) ? var.sqrt() : var;
}
Tensor product_over(Tensor x, at::IntArrayRef dims, bool keep) {
  for (size_t i = dims.size(); i-- > 0;) x = x.prod(dims[i], keep, x.scalar_type());
  return x;
}

Tensors top(const Graph& g, bool largest) {  // where it is, and what it is
  const auto dim = g.number("dimension", 0);
  const auto keep = g.flag("keep_dims");
  const auto [value, index] = largest ? g.in[0].max(dim, keep) : g.in[0].min(dim, keep);
  return {index, value};
}
Tensors top_k(const Graph& g) {
  const auto [value, index] =
      g.in[0].topk(g.numbers(1).at(0), g.number("dim", -1), g.flag("largest", true), g.flag("sorted", true));
  return {value, index};
}
Tensors sort(const Graph& g) {
  const auto [value, index] = g.in[0].sort(std::optional<bool>(true), g.number("axis", -1), g.flag("descending"));
  return {value, index};
}

at::Generator generator(int64_t key, int64_t counter) {
  return at::make_generator<at::CPUGeneratorImpl>(uint64_t(key) * 0x9E3779B97F4A7C15ULL + uint64_t(counter));
}
at::Generator stateless(const Graph& g) {
  const auto counter = g.numbers(2);
  return generator(g.numbers(1).at(0), counter.back() ? counter.back() : counter.at(0));
}
Tensor uniform(const Graph& g) {  // never 1, in fp16 either
  const auto x = at::empty(g.numbers(0)).uniform_(0, 1, std::optional(stateless(g)));
  return g.out.at(0).scalar_type() == at::kHalf ? x.mul(2048).floor().div(2048) : x;
}
Tensor normal(const Graph& g) { return at::empty(g.numbers(0)).normal_(0, 1, std::optional(stateless(g))); }
Tensor bernoulli(const Graph& g) {
  const auto random = std::optional(generator(g.numbers(2).at(0), g.numbers(3).at(0)));
  return at::empty(g.numbers(0)).bernoulli_(g.in[1].to(at::kFloat).expand(g.numbers(0)), random);
}
Tensor choose(const Graph& g) {
  return at::multinomial(g.in[0].to(at::kFloat), g.number("numsamples", 1), g.flag("replacement"),
                         std::optional(generator(g.numbers(1).at(0), g.numbers(2).at(0))));
}
Tensor shuffle(const Graph& g) {
  return at::randperm(g.numbers(0).at(0), std::optional(generator(g.numbers(1).at(0), g.numbers(2).at(0))));
}

#define REDUCE(name, expression) \
  GRAPH(name, 1, 2, reduce(g, [](const Tensor& x, at::IntArrayRef dims, bool keep) -> Tensor { return expression; }))
}  // namespace

const GraphOperators& graph_compute() {
  static const GraphOperators operators{
      CUBE("MatMul", 2, 3, product(g, "transpose_x1", "transpose_x2")),
      CUBE("MatMulV2", 2, 4, product(g, "transpose_x1", "transpose_x2")),
      CUBE("BatchMatMul", 2, 3, product(g, "adj_x1", "adj_x2")),
      GRAPH("Dot", 2, 2, on_cube(g.in[0]).dot(on_cube(g.in[1]))),
      CUBE("Conv2D", 2, 4, convolve(g, "NCHW")),
      CUBE("Conv3D", 2, 4, convolve(g, "NCDHW")),
      {"LayerNorm", {3, 3, [](const Graph& g) { return layer_norm(g, false); }}},
      {"LayerNormV3", {3, 3, [](const Graph& g) { return layer_norm(g, true); }}},
      {"GroupNorm", {3, 3, group_norm}},
      {"RmsNorm", {2, 2, rms_norm}},
      GRAPH("RotaryMul", 3, 3, rotary(g)),
      GRAPH("SoftmaxV2", 1, 1, softmax(g)),
      GRAPH("LogSoftmaxV2", 1, 1, log_softmax(g)),
      REDUCE("ReduceSum", x.sum(dims, keep)),
      REDUCE("ReduceSumD", x.sum(dims, keep)),
      REDUCE("ReduceMean", x.mean(dims, keep)),
      REDUCE("ReduceMeanD", x.mean(dims, keep)),
      REDUCE("ReduceMax", x.amax(dims, keep)),
      REDUCE("ReduceMin", x.amin(dims, keep)),
      REDUCE("ReduceLogSumExp", x.logsumexp(dims, keep)),
      REDUCE("ReduceAll", x.all(at::OptionalIntArrayRef(dims), keep)),
      REDUCE("ReduceAny", x.any(at::OptionalIntArrayRef(dims), keep)),
      REDUCE("ReduceProd", product_over(x, dims, keep)),
      GRAPH("ReduceStdWithMean", 2, 2, deviation(g)),
      GRAPH("ReduceStdV2Update", 2, 2, deviation(g)),
      GRAPH("LpNormReduceV2", 1, 1,
            at::linalg_vector_norm(g.in[0], g.real("p", 2), g.list("axes"), g.flag("keepdim")).pow(g.real("p", 2))),
      GRAPH("LpNormUpdateV2", 1, 1, g.in[0].pow(1 / g.real("p", 2))),
      GRAPH("ArgMaxV2", 2, 2, g.in[0].argmax(g.numbers(1).at(0), g.flag("keep_dims"))),
      GRAPH("ArgMin", 2, 2, g.in[0].argmin(g.numbers(1).at(0), g.flag("keep_dims"))),
      {"ArgMaxWithValue", {1, 1, [](const Graph& g) { return top(g, true); }}},
      {"ArgMinWithValue", {1, 1, [](const Graph& g) { return top(g, false); }}},
      {"TopKV2", {2, 2, top_k}},
      {"Sort", {1, 1, sort}},
      GRAPH("Cumsum", 2, 2, g.in[0].cumsum(g.numbers(1).at(0))),
      GRAPH("Cumprod", 2, 2, g.in[0].cumprod(g.numbers(1).at(0))),
      GRAPH("StatelessRandomUniformV2", 4, 4, uniform(g)),
      GRAPH("StatelessRandomNormalV2", 4, 4, normal(g)),
      GRAPH("StatelessBernoulli", 4, 4, bernoulli(g)),
      GRAPH("MultinomialWithReplacement", 3, 3, choose(g)),
      GRAPH("StatelessRandperm", 3, 3, shuffle(g)),
  };
  return operators;
}
}  // namespace fake
