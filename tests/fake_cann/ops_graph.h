// What the graph operators share. One is a line of a table: its name, how many inputs it takes, and what it computes,
// which is stored into its outputs. Inputs, attributes and their defaults are those of CANN's operator prototypes.
#pragma once
#include "graph_operator.h"
#include "operator.h"

namespace fake {
struct Graph {
  std::vector<at::Tensor> in, out;  // undefined where an optional one is absent
  aclopAttr attributes;

  template <class T>
  T get(const char* name, T otherwise) const {
    const auto found = attributes.values.find(name);
    return found == attributes.values.end() ? otherwise : std::get<T>(found->second);
  }
  bool flag(const char* name, bool otherwise = false) const { return get<bool>(name, otherwise); }
  int64_t number(const char* name, int64_t otherwise) const { return get<int64_t>(name, otherwise); }
  double real(const char* name, double otherwise) const { return get<float>(name, float(otherwise)); }
  std::string text(const char* name, const char* otherwise) const { return get<std::string>(name, otherwise); }
  std::vector<int64_t> list(const char* name) const { return get<std::vector<int64_t>>(name, {}); }
  // An input that holds numbers (axes, sizes).
  std::vector<int64_t> numbers(size_t i) const;
  at::Scalar scalar(size_t i) const { return in.at(i).item(); }
  bool has(size_t i) const { return i < in.size() && in[i].defined(); }
};

using Tensors = std::vector<at::Tensor>;
struct GraphOperator {
  size_t least, most;  // inputs
  Tensors (*compute)(const Graph&);
  bool cube = false;  // multiplies matrices: fp32, fp16 or int32, all of one type
};
using GraphOperators = std::map<std::string, GraphOperator>;
constexpr size_t kAny = 1000;

// The tables, one a file.
const GraphOperators& graph_elementwise();
const GraphOperators& graph_shape();
const GraphOperators& graph_compute();
}  // namespace fake

#define CUBE(name, least, most, ...)                                                         \
  {                                                                                          \
    name, {                                                                                  \
      least, most, [](const fake::Graph& g) -> fake::Tensors { return {__VA_ARGS__}; }, true \
    }                                                                                        \
  }
#define GRAPH(name, least, most, ...)                                                  \
  {                                                                                    \
    name, {                                                                            \
      least, most, [](const fake::Graph& g) -> fake::Tensors { return {__VA_ARGS__}; } \
    }                                                                                  \
  }
