// Legacy graph operators (aclop). torch_npu falls back to them when libopapi.so lacks an aclnn symbol: enough exists
// here to reach a readable error instead of a crash.
#include <acl/acl_op_compiler.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "runtime.h"

using fake::fail;

struct aclTensorDesc {
  aclDataType type;
  aclFormat format;
  std::vector<int64_t> dims;
};

extern "C" {
aclTensorDesc* aclCreateTensorDesc(aclDataType type, int count, const int64_t* dims, aclFormat format) {
  return new aclTensorDesc{type, format, {dims, dims + std::max(0, count)}};
}
void aclDestroyTensorDesc(const aclTensorDesc* d) { delete d; }
aclDataType aclGetTensorDescType(const aclTensorDesc* d) { return d->type; }
aclFormat aclGetTensorDescFormat(const aclTensorDesc* d) { return d->format; }
size_t aclGetTensorDescNumDims(const aclTensorDesc* d) { return d->dims.size(); }
aclError aclGetTensorDescDimV2(const aclTensorDesc* d, size_t i, int64_t* out) {
  return *out = d->dims.at(i), ACL_SUCCESS;
}
void aclSetTensorDescName(aclTensorDesc*, const char*) {}
aclError aclSetTensorFormat(aclTensorDesc*, aclFormat) { return ACL_SUCCESS; }
aclError aclSetTensorShape(aclTensorDesc*, int, const int64_t*) { return ACL_SUCCESS; }
aclError aclSetTensorPlaceMent(aclTensorDesc*, aclMemType) { return ACL_SUCCESS; }
aclDataBuffer* aclCreateDataBuffer(void*, size_t) { return reinterpret_cast<aclDataBuffer*>(new char); }
aclError aclDestroyDataBuffer(const aclDataBuffer* b) { return delete reinterpret_cast<const char*>(b), ACL_SUCCESS; }
aclopAttr* aclopCreateAttr() { return reinterpret_cast<aclopAttr*>(new char); }
void aclopDestroyAttr(const aclopAttr* a) { delete reinterpret_cast<const char*>(a); }
aclError aclopSetAttrBool(aclopAttr*, const char*, uint8_t) { return ACL_SUCCESS; }
aclError aclopSetAttrInt(aclopAttr*, const char*, int64_t) { return ACL_SUCCESS; }
aclError aclopSetAttrFloat(aclopAttr*, const char*, float) { return ACL_SUCCESS; }
aclError aclopSetAttrString(aclopAttr*, const char*, const char*) { return ACL_SUCCESS; }
aclError aclopSetAttrDataType(aclopAttr*, const char*, aclDataType) { return ACL_SUCCESS; }
aclError aclopSetAttrListInt(aclopAttr*, const char*, int, const int64_t*) { return ACL_SUCCESS; }
aclError aclopSetAttrListBool(aclopAttr*, const char*, int, const uint8_t*) { return ACL_SUCCESS; }
aclError aclopSetAttrListFloat(aclopAttr*, const char*, int, const float*) { return ACL_SUCCESS; }
aclError aclopSetAttrListListInt(aclopAttr*, const char*, int, const int*, const int64_t* const[]) {
  return ACL_SUCCESS;
}
aclError aclopCompileAndExecute(const char* op, int, const aclTensorDesc* const[], const aclDataBuffer* const[], int,
                                const aclTensorDesc* const[], aclDataBuffer* const[], const aclopAttr*, aclopEngineType,
                                aclopCompileType, const char*, aclrtStream) {
  // Printed as well: with a task queue torch_npu throws only the first such error.
  std::fprintf(stderr, "[fake CANN] missing operator: %s\n", op);
  return fail(ACL_ERROR_OP_NOT_FOUND, "no kernel for graph operator %s (its aclnn symbol is missing, too)", op);
}
}  // extern "C"
