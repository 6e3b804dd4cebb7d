// Calls of graph operators: finds them, checks what they are given, and stores their results.
#include <ATen/ops/from_blob.h>

#include "ops_graph.h"

namespace fake {
namespace {
const GraphOperator* find(const std::string& name) {
  for (const auto* table : {&graph_elementwise(), &graph_shape(), &graph_compute()}) {
    if (const auto found = table->find(name); found != table->end()) return &found->second;
  }
  return nullptr;
}

bool present(const aclTensorDesc* d) { return d && d->type != ACL_DT_UNDEFINED; }

at::Tensor tensor(const aclTensorDesc* d, const aclDataBuffer* b) {
  if (!present(d)) return {};
  const auto options = at::TensorOptions(scalar_type(d->type));
  if (d->on_host) return at::from_blob(b->data, d->sizes, options).clone();  // the caller's, and gone after the call
  std::vector<int64_t> strides(d->sizes.size(), 1);
  for (size_t i = strides.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<int64_t>(1, d->sizes[i]);
  const aclTensor described{d->sizes, strides, 0, d->type, d->format, b->data};
  return view(&described);
}

std::string limits(const GraphCall& call, const GraphOperator& op) {
  if (call.inputs.size() < op.least || call.inputs.size() > op.most)
    return "takes " + std::to_string(op.least) + " to " + std::to_string(op.most) + " inputs";
  if (op.cube) {
    const auto type = call.inputs[0]->type;
    if (type != ACL_FLOAT && type != ACL_FLOAT16 && type != ACL_INT32) return "takes fp32, fp16 and int32";
    if (call.inputs[1]->type != type) return "the two factors differ in type";
  }
  const auto holds = [](const std::vector<const aclTensorDesc*>& described,
                        const std::vector<const aclDataBuffer*>& data) {
    for (size_t i = 0; i < described.size(); ++i) {
      if (!present(described[i])) continue;
      size_t bytes = c10::elementSize(scalar_type(described[i]->type));
      for (auto n : described[i]->sizes) bytes *= size_t(n);
      if (data[i]->size < bytes) return false;
    }
    return true;
  };
  if (!holds(call.inputs, call.input_data) || !holds(call.outputs, call.output_data))
    return "a buffer is smaller than its tensor";
  return "";
}

void keep(const at::Tensor& out, const at::Tensor& result, std::vector<int64_t>* found) {
  if (!out.defined() || !result.defined()) return;
  if (found) {  // at the front of what the caller has room for
    *found = result.sizes().vec();
    store(out.view(-1).narrow(0, 0, result.numel()), result.reshape(-1));
    return;
  }
  TORCH_CHECK(out.numel() == result.numel(), "the result has the sizes ", result.sizes(), ", and the output ",
              out.sizes());
  store(out, result.reshape(out.sizes()));
}

std::string plan_graph(const GraphCall& call, std::shared_ptr<Sizes> sizes, Task* task) {
  const auto* op = find(call.name);
  if (!op) return "";
  if (const std::string why = limits(call, *op); !why.empty()) return why;
  Graph graph;
  try {
    for (size_t i = 0; i < call.inputs.size(); ++i) graph.in.push_back(tensor(call.inputs[i], call.input_data[i]));
    for (size_t i = 0; i < call.outputs.size(); ++i) graph.out.push_back(tensor(call.outputs[i], call.output_data[i]));
  } catch (const std::exception& e) { return e.what(); }
  if (call.attributes) graph.attributes = *call.attributes;
  *task = in_inference([g = std::move(graph), op, sizes] {
    const auto results = op->compute(g);
    if (sizes) sizes->resize(g.out.size());
    for (size_t i = 0; i < g.out.size() && i < results.size(); ++i)
      keep(g.out[i], results[i], sizes ? &(*sizes)[i] : nullptr);
  });
  return "";
}

[[maybe_unused]] const bool offered = (offer_graph_operators(plan_graph), true);
}  // namespace

std::vector<int64_t> Graph::numbers(size_t i) const {
  const auto values = in.at(i).to(at::kLong).reshape(-1).contiguous();
  return {values.const_data_ptr<int64_t>(), values.const_data_ptr<int64_t>() + values.numel()};
}
}  // namespace fake
