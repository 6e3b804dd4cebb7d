// A graph operator ("aclop"): called by name with descriptions of tensors, buffers and attributes. What a call holds,
// as the runtime makes it and the operators of libopapi (ops_graph*.cc) read it.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "runtime.h"

// A layout of its own (format, storage) is a label here, as everywhere in the fake: data lies in the plain order of
// sizes.
struct aclTensorDesc {
  aclDataType type;
  aclFormat origin_format, format;
  std::vector<int64_t> sizes, storage;
  bool on_host = false;
};
struct aclDataBuffer {
  void* data;
  size_t size;
};
struct aclopAttr {
  using Value = std::variant<bool, int64_t, float, std::string, aclDataType, std::vector<int64_t>, std::vector<uint8_t>,
                             std::vector<float>, std::vector<std::vector<int64_t>>>;
  std::map<std::string, Value> values;
};

namespace fake {
struct GraphCall {
  const char* name;
  std::vector<const aclTensorDesc*> inputs, outputs;
  std::vector<const aclDataBuffer*> input_data, output_data;
  const aclopAttr* attributes;  // may be null
};
// The sizes that the results turned out to have, for calls that wait for them.
using Sizes = std::vector<std::vector<int64_t>>;
// Checks a call and makes its task; what it says is wrong, or nothing. `sizes` is filled by the task.
using GraphPlanner = std::string (*)(const GraphCall& call, std::shared_ptr<Sizes> sizes, Task* task);

// Called by libopapi when it is loaded. The planner says "" and leaves the task empty for a name that it does not know.
void offer_graph_operators(GraphPlanner planner);
}  // namespace fake
