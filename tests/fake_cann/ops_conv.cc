// Convolutions.
#include <ATen/ops/convolution.h>

#include "operator.h"

using fake::ints;
using fake::plan;
using fake::store;
using fake::view;

ACLNN(Convolution, const aclTensor* input, const aclTensor* weight, const aclTensor* bias, const aclIntArray* stride,
      const aclIntArray* padding, const aclIntArray* dilation, bool transposed, const aclIntArray* output_padding,
      int64_t groups, aclTensor* out, int8_t cube) {
  // aclnnConvolution's documentation: fp32, fp16, bf16, the same for input and weight, 1 to 3 spatial dimensions.
  REQUIRE(input->type == ACL_FLOAT || input->type == ACL_FLOAT16 || input->type == ACL_BF16,
          "takes fp32, fp16 and bf16");
  REQUIRE(input->type == weight->type, "input and weight differ in type");
  REQUIRE_NONE(fake::cube_limits(input->type, cube));
  REQUIRE(input->sizes.size() >= 3 && input->sizes.size() <= 5, "takes 3 to 5 dimensions");
  return plan(workspace, executor,
              [=, x = view(input), w = view(weight), b = view(bias), s = ints(stride), p = ints(padding),
               d = ints(dilation), o = ints(output_padding), y = view(out)] {
                const auto offset = b.defined() ? std::optional(b.to(x.scalar_type())) : std::nullopt;
                store(y, at::convolution(fake::on_cube(x), fake::on_cube(w), offset, s, p, d, transposed, o, groups));
              });
}
ACLNN(ConvDepthwise2d, const aclTensor* input, const aclTensor* weight, const aclIntArray*, const aclTensor* bias,
      const aclIntArray* stride, const aclIntArray* padding, const aclIntArray* dilation, aclTensor* out, int8_t cube) {
  const aclIntArray none{{0, 0}};
  return aclnnConvolutionGetWorkspaceSize(input, weight, bias, stride, padding, dilation, false, &none,
                                          input->sizes.at(1), out, cube, workspace, executor);
}
