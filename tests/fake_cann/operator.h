// What the operators of the fake libopapi share. Every operator has two C symbols, as in CANN:
//   aclnnXGetWorkspaceSize(arguments..., uint64_t* workspace, aclOpExecutor** executor)
//   aclnnX(void* workspace, uint64_t size, aclOpExecutor* executor, aclrtStream stream)
// The first checks the arguments and makes a closure over CPU views of the "device" memory, the second puts it on the
// stream. Kernels are ATen calls. torch_npu derives an operator's C signature from the types of the arguments where
// it is called, so a wrong width or order here goes unnoticed by the compiler: test with arguments that are no
// defaults.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "runtime.h"

struct aclTensor {
  std::vector<int64_t> sizes, strides;
  int64_t offset;  // in elements, from the start of the storage
  aclDataType type;
  aclFormat format;
  void* storage;
};
struct aclScalar {
  at::Scalar value;
};
struct aclIntArray {
  std::vector<int64_t> value;
};
struct aclFloatArray {
  std::vector<float> value;
};
struct aclBoolArray {
  std::vector<uint8_t> value;
};
struct aclTensorList {
  std::vector<const aclTensor*> value;
};
struct aclScalarList {
  std::vector<const aclScalar*> value;
};
struct aclOpExecutor {
  fake::Task task;
};

namespace fake {

at::ScalarType scalar_type(aclDataType type);

// A CPU tensor over the same memory; undefined for a null pointer. The caller destroys the descriptor right after the
// launch, so closures hold views and never descriptors.
at::Tensor view(const aclTensor* tensor);
std::vector<at::Tensor> views(const aclTensorList* list);
std::vector<int64_t> ints(const aclIntArray* array);

// Puts `result` where the caller wants it: writes through strides and converts to the type of `out`.
void store(const at::Tensor& out, const at::Tensor& result);

// NZ holds matrices, alone or in a batch, whose rows are a multiple of 16 and whose columns are one of 32 bytes: the
// documentation of npu_format_cast and of the operators with NZ weights (fp16, bf16 and int8; fp32 is not taken).
int64_t nz_lane(aclDataType type);
std::string nz_limits(const aclTensor* tensor);

// As the cube unit of this device multiplies it: that of Ascend310P has no fp32, and is given fp16 (documentation of
// aclnnMm, cubeMathType; allow_fp32_to_fp16 for graph operators).
at::Tensor on_cube(const at::Tensor& x);
std::string cube_limits(aclDataType type, int cube_math);

// Refuses a call whose real operator documents that it cannot do it. `function` is __func__ of the first symbol.
int refuse(const char* function, const std::string& why);

// First half of an operator: keeps the closure. The workspace is asked for only to see that the caller provides it.
int plan(uint64_t* workspace, aclOpExecutor** executor, Task task);
// Second half: launches it.
int launch(const void* workspace, uint64_t size, aclOpExecutor* executor, const char* name, aclrtStream stream);

// The caller may be in inference mode, whose views only such threads may write to.
Task in_inference(Task task);

// Forms that many operators have; a function pointer keeps them cheap to compile.
using OfTensor = at::Tensor (*)(const at::Tensor&);
using OfTensors = at::Tensor (*)(const at::Tensor&, const at::Tensor&);
using OfScalar = at::Tensor (*)(const at::Tensor&, const at::Scalar&);
int map(uint64_t* workspace, aclOpExecutor** executor, const aclTensor* self, aclTensor* out, OfTensor f);
int map(uint64_t* workspace, aclOpExecutor** executor, const aclTensor* self, const aclTensor* other, aclTensor* out,
        OfTensors f);
int map(uint64_t* workspace, aclOpExecutor** executor, const aclTensor* self, const aclScalar* other, aclTensor* out,
        OfScalar f);

inline bool is(const at::Tensor& x, std::initializer_list<at::ScalarType> types) {
  for (auto type : types) {
    if (x.scalar_type() == type) return true;
  }
  return false;
}

}  // namespace fake

#define ACLNN_LAUNCH(op)                                                                             \
  extern "C" int aclnn##op(void* workspace, uint64_t size, aclOpExecutor* executor, aclrtStream s) { \
    return fake::launch(workspace, size, executor, "aclnn" #op, s);                                  \
  }

// ACLNN(Name, parameters...) { ... return plan(workspace, executor, closure); }
#define ACLNN(op, ...) \
  ACLNN_LAUNCH(op)     \
  extern "C" int aclnn##op##GetWorkspaceSize(__VA_ARGS__, uint64_t* workspace, aclOpExecutor** executor)

#define REQUIRE(condition, why) \
  if (!(condition)) return fake::refuse(__func__, why)

// For operators whose documentation does not name Atlas inference products among those that have it.
#define NOT_ON_310P REQUIRE(!fake::is_310p(), "Ascend310P does not have it")

// For checks that a helper makes: an empty text is agreement.
#define REQUIRE_NONE(text) \
  if (const std::string why = (text); !why.empty()) return fake::refuse(__func__, why)
