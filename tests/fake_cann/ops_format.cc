// Changes of layout. Data stays in its plain order here: NZ (tiles of 16 rows by 32 bytes) is a label of the storage
// that the operators for NZ weights ask for. torch_npu calls these from CANN 9.1 on; before, the graph operator
// Identity.
#include <algorithm>

#include "operator.h"

namespace {
using fake::map;

std::string cast_limits(const aclTensor* src, int format) {
  if (format != ACL_FORMAT_FRACTAL_NZ && format != ACL_FORMAT_ND) return "to NZ or ND only";
  return format == ACL_FORMAT_ND ? "" : fake::nz_limits(src);
}
}  // namespace

// The sizes of the storage of the result, for the caller to free with delete[], and its layout.
extern "C" int aclnnNpuFormatCastCalculateSizeAndFormat(const aclTensor* src, int format, int, int64_t** sizes,
                                                        uint64_t* count, int* out_format) {
  REQUIRE_NONE(cast_limits(src, format));
  auto shape = src->sizes;
  if (format == ACL_FORMAT_FRACTAL_NZ) {
    const int64_t rows = shape[shape.size() - 2], columns = shape.back(), lane = fake::nz_lane(src->type);
    shape.resize(shape.size() - 2);
    for (int64_t n : {columns / lane, rows / 16, int64_t(16), lane}) shape.push_back(n);
  }
  *count = shape.size();
  *sizes = new int64_t[*count];
  std::copy(shape.begin(), shape.end(), *sizes);
  *out_format = format;
  return ACL_SUCCESS;
}
ACLNN(NpuFormatCast, const aclTensor* src, aclTensor* dst) {
  REQUIRE(src->sizes == dst->sizes && src->type == dst->type, "source and destination differ");
  return map(workspace, executor, src, dst, [](const at::Tensor& x) { return x; });
}
