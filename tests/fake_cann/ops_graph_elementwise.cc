// Graph operators that make one result element from one element of each input.
#include <ATen/ops/elu.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/hardswish.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/mish.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/xlogy.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "ops_graph.h"

namespace fake {
namespace {
using at::Tensor;

// Base -1 stands for e.
Tensor logarithm(const Graph& g) {
  const auto x = g.in[0].to(at::kFloat).mul(g.real("scale", 1)).add(g.real("shift", 0)).log();
  const double base = g.real("base", -1);
  return base > 0 ? x.div(std::log(base)) : x;
}

#define UNARY(name, expression) GRAPH(name, 1, 1, [](const Tensor& x) -> Tensor { return expression; }(g.in[0]))
#define BINARY(name, expression) \
  GRAPH(name, 2, 2, [](const Tensor& x, const Tensor& y) -> Tensor { return expression; }(g.in[0], g.in[1]))
}  // namespace

const GraphOperators& graph_elementwise() {
  static const GraphOperators operators{
      UNARY("Identity", x),
      UNARY("TensorMove", x),
      UNARY("Cast", x),
      UNARY("ZerosLike", at::zeros_like(x)),
      UNARY("OnesLike", at::ones_like(x)),
      UNARY("Abs", x.abs()),
      UNARY("Neg", x.neg()),
      UNARY("Sign", x.sign()),
      UNARY("Round", x.round()),
      UNARY("Trunc", x.trunc()),
      UNARY("Floor", x.floor()),
      UNARY("Ceil", x.ceil()),
      UNARY("Sqrt", x.sqrt()),
      UNARY("Rsqrt", x.rsqrt()),
      UNARY("Reciprocal", x.reciprocal()),
      UNARY("Square", x.square()),
      UNARY("Exp", x.exp()),
      UNARY("Expm1", x.expm1()),
      UNARY("Log1p", x.log1p()),
      UNARY("Sin", x.sin()),
      UNARY("Cos", x.cos()),
      UNARY("Tan", x.tan()),
      UNARY("Sinh", x.sinh()),
      UNARY("Cosh", x.cosh()),
      UNARY("Tanh", x.tanh()),
      UNARY("Asin", x.asin()),
      UNARY("Acos", x.acos()),
      UNARY("Atan", x.atan()),
      UNARY("Erf", x.erf()),
      UNARY("Erfc", x.erfc()),
      UNARY("Erfinv", x.erfinv()),
      UNARY("Sigmoid", x.sigmoid()),
      UNARY("Relu", x.relu()),
      UNARY("Gelu", at::gelu(x, "tanh")),
      UNARY("FastGelu", x.mul(x.mul(1.702).sigmoid())),
      UNARY("HardSwish", at::hardswish(x)),
      UNARY("Mish", at::mish(x)),
      UNARY("LogSigmoid", at::log_sigmoid(x)),
      UNARY("IsFinite", x.isfinite()),
      UNARY("LogicalNot", x.logical_not()),
      UNARY("Invert", x.bitwise_not()),
      GRAPH("Log", 1, 1, logarithm(g)),
      GRAPH("Swish", 1, 1, g.in[0].mul(g.in[0].mul(g.real("scale", 1)).sigmoid())),
      GRAPH("LeakyRelu", 1, 1, at::leaky_relu(g.in[0], g.real("negative_slope", 0))),
      GRAPH("Elu", 1, 1, at::elu(g.in[0], g.real("alpha", 1), g.real("scale", 1), g.real("input_scale", 1))),
      GRAPH("SoftplusV2", 1, 1, at::softplus(g.in[0], g.real("beta", 1), g.real("threshold", 20))),
      GRAPH("NanToNum", 1, 1, g.in[0].nan_to_num(g.real("nan", 0), g.real("posinf", 0), g.real("neginf", 0))),

      BINARY("Add", x.add(y)),
      BINARY("Sub", x.sub(y)),
      BINARY("Mul", x.mul(y)),
      BINARY("RealDiv", x.div(y)),
      BINARY("FloorDiv", x.floor_divide(y)),
      BINARY("FloorMod", x.remainder(y)),
      BINARY("Mod", x.fmod(y)),
      BINARY("Pow", x.pow(y)),
      BINARY("Atan2", x.atan2(y)),
      BINARY("Xlogy", at::xlogy(x, y)),
      BINARY("Maximum", x.maximum(y)),
      BINARY("Minimum", x.minimum(y)),
      BINARY("Equal", x.eq(y)),
      BINARY("NotEqual", x.ne(y)),
      BINARY("Less", x.lt(y)),
      BINARY("LessEqual", x.le(y)),
      BINARY("Greater", x.gt(y)),
      BINARY("GreaterEqual", x.ge(y)),
      BINARY("LogicalAnd", x.logical_and(y)),
      BINARY("LogicalOr", x.logical_or(y)),
      BINARY("BitwiseAnd", x.bitwise_and(y)),
      BINARY("BitwiseOr", x.bitwise_or(y)),
      BINARY("BitwiseXor", x.bitwise_xor(y)),
      BINARY("LeftShift", x.bitwise_left_shift(y)),
      BINARY("RightShift", x.bitwise_right_shift(y)),
      GRAPH("TensorEqual", 2, 2, at::full({}, g.in[0].equal(g.in[1]), at::kBool)),
      GRAPH("AxpyV2", 3, 3, g.in[0].add(g.in[1].mul(g.in[2]))),
      GRAPH("ClipByValue", 3, 3, g.in[0].maximum(g.in[1]).minimum(g.in[2])),
      GRAPH("ClipByValueV2", 3, 3, g.in[0].maximum(g.in[1]).minimum(g.in[2])),
      GRAPH("Select", 3, 3, g.in[1].where(g.in[0].to(at::kBool), g.in[2])),
      GRAPH("SelectV2", 3, 3, g.in[1].where(g.in[0].to(at::kBool), g.in[2])),
      GRAPH("Addcmul", 4, 4, g.in[0].addcmul(g.in[1], g.in[2], g.scalar(3))),
      GRAPH("Addcdiv", 4, 4, g.in[0].addcdiv(g.in[1], g.in[2], g.scalar(3))),
      GRAPH("Lerp", 3, 3, g.in[0].lerp(g.in[1], g.in[2])),
      GRAPH("MaskedFill", 3, 3, g.in[2].to(g.in[0].scalar_type()).where(g.in[1].to(at::kBool), g.in[0])),
  };
  return operators;
}
}  // namespace fake
