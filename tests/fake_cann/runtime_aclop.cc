// Graph operators ("aclop"), which torch_npu calls where an operator has no aclnn form or is to be compiled for its
// shapes (jit_compile, the default on Ascend310P): descriptions, buffers, attributes and the call. The operators
// themselves are in libopapi, since this library has no torch.
#include <acl/acl_op_compiler.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "graph_operator.h"

namespace fake {
namespace {
std::atomic<GraphPlanner> graph_planner{nullptr};

GraphPlanner planner() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (!graph_planner) (void)::dlopen("libopapi.so", RTLD_NOW | RTLD_GLOBAL);
  });
  return graph_planner;
}

template <class T>
std::vector<T> listed(T const* values, int count) {
  return {values, values + std::max(0, count)};
}

aclError launch(const GraphCall& call, const std::shared_ptr<Sizes>& sizes, aclrtStream stream) {
  Task task;
  if (const auto plan = planner()) {
    if (const std::string why = plan(call, sizes, &task); !why.empty())
      return fail(ACL_ERROR_INVALID_PARAM, "%s: %s", call.name, why.c_str());
  }
  if (task) return enqueue(stream, call.name, std::move(task));
  // Printed as well: with a task queue torch_npu throws only the first such error.
  std::fprintf(stderr, "[fake CANN] missing operator: %s\n", call.name);
  return fail(ACL_ERROR_OP_NOT_FOUND, "no kernel for graph operator %s", call.name);
}

template <class T>
aclError set(aclopAttr* attributes, const char* name, T value) {
  attributes->values[name] = std::move(value);
  return ACL_SUCCESS;
}
}  // namespace

void offer_graph_operators(GraphPlanner planner) { graph_planner = planner; }
}  // namespace fake

using fake::listed;
using fake::set;

extern "C" {
aclTensorDesc* aclCreateTensorDesc(aclDataType type, int count, const int64_t* dims, aclFormat format) {
  return new aclTensorDesc{type, format, format, listed(dims, count), listed(dims, count)};
}
void aclDestroyTensorDesc(const aclTensorDesc* d) { delete d; }
aclDataType aclGetTensorDescType(const aclTensorDesc* d) { return d->type; }
aclFormat aclGetTensorDescFormat(const aclTensorDesc* d) { return d->origin_format; }
size_t aclGetTensorDescNumDims(const aclTensorDesc* d) { return d->sizes.size(); }
aclError aclGetTensorDescDimV2(const aclTensorDesc* d, size_t i, int64_t* out) {
  return *out = d->sizes.at(i), ACL_SUCCESS;
}
void aclSetTensorDescName(aclTensorDesc*, const char*) {}
aclError aclSetTensorFormat(aclTensorDesc* d, aclFormat format) { return d->format = format, ACL_SUCCESS; }
aclError aclSetTensorShape(aclTensorDesc* d, int count, const int64_t* dims) {
  return d->storage = listed(dims, count), ACL_SUCCESS;
}
aclError aclSetTensorPlaceMent(aclTensorDesc* d, aclMemType where) {
  return d->on_host = where != ACL_MEMTYPE_DEVICE, ACL_SUCCESS;
}
aclDataBuffer* aclCreateDataBuffer(void* data, size_t size) { return new aclDataBuffer{data, size}; }
aclError aclDestroyDataBuffer(const aclDataBuffer* b) { return delete b, ACL_SUCCESS; }

aclopAttr* aclopCreateAttr() { return new aclopAttr; }
void aclopDestroyAttr(const aclopAttr* a) { delete a; }
aclError aclopSetAttrBool(aclopAttr* a, const char* name, uint8_t value) { return set(a, name, value != 0); }
aclError aclopSetAttrInt(aclopAttr* a, const char* name, int64_t value) { return set(a, name, value); }
aclError aclopSetAttrFloat(aclopAttr* a, const char* name, float value) { return set(a, name, value); }
aclError aclopSetAttrString(aclopAttr* a, const char* name, const char* value) {
  return set(a, name, std::string(value));
}
aclError aclopSetAttrDataType(aclopAttr* a, const char* name, aclDataType value) { return set(a, name, value); }
aclError aclopSetAttrListInt(aclopAttr* a, const char* name, int count, const int64_t* values) {
  return set(a, name, listed(values, count));
}
aclError aclopSetAttrListBool(aclopAttr* a, const char* name, int count, const uint8_t* values) {
  return set(a, name, listed(values, count));
}
aclError aclopSetAttrListFloat(aclopAttr* a, const char* name, int count, const float* values) {
  return set(a, name, listed(values, count));
}
aclError aclopSetAttrListListInt(aclopAttr* a, const char* name, int count, const int* counts,
                                 const int64_t* const values[]) {
  std::vector<std::vector<int64_t>> lists;
  for (int i = 0; i < count; ++i) lists.push_back(listed(values[i], counts[i]));
  return set(a, name, std::move(lists));
}

aclError aclopCompileAndExecute(const char* op, int inputs, const aclTensorDesc* const input_desc[],
                                const aclDataBuffer* const input_data[], int outputs,
                                const aclTensorDesc* const output_desc[], aclDataBuffer* const output_data[],
                                const aclopAttr* attributes, aclopEngineType, aclopCompileType, const char*,
                                aclrtStream stream) {
  return fake::launch({op,
                       listed(input_desc, inputs),
                       listed(output_desc, outputs),
                       listed(input_data, inputs),
                       {output_data, output_data + outputs},
                       attributes},
                      nullptr, stream);
}
// The same, and waits, for operators whose results have sizes that they find out: these are in the descriptions then.
aclError aclopCompileAndExecuteV2(const char* op, int inputs, aclTensorDesc* input_desc[], aclDataBuffer* input_data[],
                                  int outputs, aclTensorDesc* output_desc[], aclDataBuffer* output_data[],
                                  aclopAttr* attributes, aclopEngineType, aclopCompileType, const char*,
                                  aclrtStream stream) {
  const auto sizes = std::make_shared<fake::Sizes>();
  const fake::GraphCall call{op,
                             {input_desc, input_desc + inputs},
                             {output_desc, output_desc + outputs},
                             {input_data, input_data + inputs},
                             {output_data, output_data + outputs},
                             attributes};
  if (const auto error = fake::launch(call, sizes, stream)) return error;
  if (const auto error = aclrtSynchronizeStream(stream)) return error;
  for (size_t i = 0; i < sizes->size(); ++i) output_desc[i]->sizes = (*sizes)[i];
  return ACL_SUCCESS;
}
}  // extern "C"
