// Descriptors, and what every operator uses.
#include <ATen/ops/from_blob.h>

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstring>

#include "operator.h"

namespace fake {

at::ScalarType scalar_type(aclDataType type) {
  switch (type) {
    case ACL_FLOAT:
      return at::kFloat;
    case ACL_FLOAT16:
      return at::kHalf;
    case ACL_BF16:
      return at::kBFloat16;
    case ACL_DOUBLE:
      return at::kDouble;
    case ACL_INT8:
      return at::kChar;
    case ACL_UINT8:
      return at::kByte;
    case ACL_INT16:
      return at::kShort;
    case ACL_INT32:
      return at::kInt;
    case ACL_INT64:
      return at::kLong;
    case ACL_BOOL:
      return at::kBool;
    case ACL_UINT32:
      return at::kUInt32;
    case ACL_UINT64:
      return at::kUInt64;
    case ACL_COMPLEX64:
      return at::kComplexFloat;
    case ACL_COMPLEX128:
      return at::kComplexDouble;
    default:
      TORCH_CHECK(false, "fake CANN: data type ", int(type));
      return at::kByte;
  }
}

namespace {
// A kernel reads only memory of its own device; torch_npu does not look at every argument.
void check_memory(const void* data) {
  aclrtPtrAttributes attributes;
  int32_t device = 0;
  TORCH_CHECK(aclrtPointerGetAttributes(data, &attributes) == ACL_SUCCESS && aclrtGetDevice(&device) == ACL_SUCCESS);
  TORCH_CHECK(attributes.location.type == ACL_MEM_LOCATION_TYPE_DEVICE, "fake CANN: an operator was given host memory");
  TORCH_CHECK(int32_t(attributes.location.id) == device, "fake CANN: an operator on device ", device,
              " was given memory of device ", attributes.location.id);
}
}  // namespace

at::Tensor view(const aclTensor* tensor) {
  if (!tensor) return {};
  TORCH_CHECK(tensor->type != ACL_BF16 || !is_310p(), "fake CANN: Ascend310P has no bfloat16");
  const auto type = scalar_type(tensor->type);
  auto* data = static_cast<char*>(tensor->storage) + tensor->offset * int64_t(c10::elementSize(type));
  const bool empty = std::find(tensor->sizes.begin(), tensor->sizes.end(), 0) != tensor->sizes.end();
  if (!empty) check_memory(data);
  return at::from_blob(data, tensor->sizes, tensor->strides, at::TensorOptions(type));
}

std::vector<at::Tensor> views(const aclTensorList* list) {
  std::vector<at::Tensor> result;
  if (list) {
    for (const auto* tensor : list->value) result.push_back(view(tensor));
  }
  return result;
}

std::vector<int64_t> ints(const aclIntArray* array) { return array ? array->value : std::vector<int64_t>{}; }

void store(const at::Tensor& out, const at::Tensor& result) { out.copy_(result); }

int64_t nz_lane(aclDataType type) { return 32 / int64_t(c10::elementSize(scalar_type(type))); }

std::string nz_limits(const aclTensor* tensor) {
  const auto& sizes = tensor->sizes;
  if (tensor->type != ACL_FLOAT16 && tensor->type != ACL_BF16 && tensor->type != ACL_INT8)
    return "NZ: fp16, bf16, int8";
  if (sizes.size() != 2 && sizes.size() != 3) return "NZ takes 2 or 3 dimensions";
  // A transposed view of a weight is as good as the weight.
  const int64_t rows = sizes[sizes.size() - 2], columns = sizes.back(), lane = nz_lane(tensor->type);
  const bool turned = tensor->strides[sizes.size() - 2] == 1 && columns > 1;
  if ((turned ? columns : rows) % 16 != 0 || (turned ? rows : columns) % lane != 0) {
    return "NZ takes rows that are a multiple of 16 and columns of 32 bytes";
  }
  return "";
}

at::Tensor on_cube(const at::Tensor& x) {
  return is_310p() && x.scalar_type() == at::kFloat ? x.to(at::kHalf).to(at::kFloat) : x;
}
std::string cube_limits(aclDataType type, int cube_math) {
  return is_310p() && type == ACL_FLOAT && cube_math == 0 ? "Ascend310P multiplies no fp32" : "";
}

int refuse(const char* function, const std::string& why) {
  std::string name = function;
  const auto end = name.find("GetWorkspaceSize");
  return fail(ACL_ERROR_INVALID_PARAM, "%s: %s", name.substr(0, end).c_str(), why.c_str());
}

namespace {
constexpr uint64_t kWorkspace = 512;
}

int plan(uint64_t* workspace, aclOpExecutor** executor, Task task) {
  *workspace = kWorkspace;
  *executor = new aclOpExecutor{std::move(task)};
  return ACL_SUCCESS;
}

int launch(const void* workspace, uint64_t size, aclOpExecutor* executor, const char* name, aclrtStream stream) {
  if (!executor) return fail(ACL_ERROR_INVALID_PARAM, "%s without its executor", name);
  auto task = std::move(executor->task);
  delete executor;
  if (!workspace || size < kWorkspace) return fail(ACL_ERROR_INVALID_PARAM, "%s without its workspace", name);
  return enqueue(stream, name, in_inference(std::move(task)));
}

Task in_inference(Task task) {
  return [kernel = std::move(task)] {
    const c10::InferenceMode inference;
    kernel();
  };
}

int map(uint64_t* workspace, aclOpExecutor** executor, const aclTensor* self, aclTensor* out, OfTensor f) {
  return plan(workspace, executor, [f, x = view(self), y = view(out)] { store(y, f(x)); });
}

int map(uint64_t* workspace, aclOpExecutor** executor, const aclTensor* self, const aclTensor* other, aclTensor* out,
        OfTensors f) {
  return plan(workspace, executor, [f, x = view(self), y = view(other), z = view(out)] { store(z, f(x, y)); });
}

int map(uint64_t* workspace, aclOpExecutor** executor, const aclTensor* self, const aclScalar* other, aclTensor* out,
        OfScalar f) {
  return plan(workspace, executor, [f, x = view(self), s = other->value, z = view(out)] { store(z, f(x, s)); });
}

}  // namespace fake

extern "C" {
aclTensor* aclCreateTensor(const int64_t* sizes, uint64_t dims, aclDataType type, const int64_t* strides,
                           int64_t offset, aclFormat format, const int64_t*, uint64_t, void* data) {
  return new aclTensor{{sizes, sizes + dims}, {strides, strides + dims}, offset, type, format, data};
}
aclScalar* aclCreateScalar(void* value, aclDataType type) {
  return new aclScalar{at::from_blob(value, {}, at::TensorOptions(fake::scalar_type(type))).item()};
}
aclIntArray* aclCreateIntArray(const int64_t* v, uint64_t n) { return new aclIntArray{{v, v + n}}; }
aclFloatArray* aclCreateFloatArray(const float* v, uint64_t n) { return new aclFloatArray{{v, v + n}}; }
aclBoolArray* aclCreateBoolArray(const bool* v, uint64_t n) { return new aclBoolArray{{v, v + n}}; }
aclTensorList* aclCreateTensorList(const aclTensor* const* v, uint64_t n) { return new aclTensorList{{v, v + n}}; }
aclScalarList* aclCreateScalarList(const aclScalar* const* v, uint64_t n) { return new aclScalarList{{v, v + n}}; }

int aclDestroyTensor(const aclTensor* p) { return delete p, 0; }
int aclDestroyScalar(const aclScalar* p) { return delete p, 0; }
int aclDestroyIntArray(const aclIntArray* p) { return delete p, 0; }
int aclDestroyFloatArray(const aclFloatArray* p) { return delete p, 0; }
int aclDestroyBoolArray(const aclBoolArray* p) { return delete p, 0; }
int aclDestroyTensorList(const aclTensorList* p) {  // owns its tensors
  for (const auto* t : p->value) delete t;
  return delete p, 0;
}
int aclDestroyScalarList(const aclScalarList* p) {
  for (const auto* s : p->value) delete s;
  return delete p, 0;
}

// In CANN this one is in libnnopbase.so: an executor that is planned and never launched (a question for a workspace).
int aclDestroyAclOpExecutor(aclOpExecutor* p) { return delete p, 0; }

// The shape of a result whose size the operator finds out (nonzero); the caller frees it with delete[].
int aclGetViewShape(const aclTensor* tensor, int64_t** dims, uint64_t* count) {
  *count = tensor->sizes.size();
  *dims = new int64_t[*count];
  std::memcpy(*dims, tensor->sizes.data(), *count * sizeof(int64_t));
  return ACL_SUCCESS;
}
}  // extern "C"
