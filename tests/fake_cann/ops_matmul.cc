// Matrix products. The real ones take fp32, fp16 and bf16 (documentation of aclnnMatmul, aclnnMm, aclnnAddmm and
// aclnnBatchMatMul); the int8_t at the end says whether fp32 may lose precision, which it does here on
// Ascend310P alone.
#include "operator.h"

namespace {
using at::Scalar;
using at::Tensor;
using fake::on_cube;
using fake::plan;
using fake::store;
using fake::view;

std::string product_limits(const aclTensor* a, const aclTensor* b, int cube_math) {
  for (const auto* t : {a, b}) {
    if (t->type != ACL_FLOAT && t->type != ACL_FLOAT16 && t->type != ACL_BF16) return "takes fp32, fp16 and bf16";
    if (t->sizes.size() > 6) return "takes at most 6 dimensions";
  }
  return a->type == b->type ? fake::cube_limits(a->type, cube_math) : "the two factors differ in type";
}

int product(uint64_t* workspace, aclOpExecutor** executor, const aclTensor* a, const aclTensor* b, aclTensor* out) {
  return plan(workspace, executor,
              [x = view(a), y = view(b), z = view(out)] { store(z, on_cube(x).matmul(on_cube(y))); });
}
}  // namespace

#define PRODUCT(op, dims, what)                                                           \
  ACLNN(op, const aclTensor* self, const aclTensor* other, aclTensor* out, int8_t cube) { \
    REQUIRE_NONE(product_limits(self, other, cube));                                      \
    REQUIRE(dims, what);                                                                  \
    return product(workspace, executor, self, other, out);                                \
  }
PRODUCT(Mm, self->sizes.size() == 2 && other->sizes.size() == 2, "two matrices")
PRODUCT(Mv, self->sizes.size() == 2 && other->sizes.size() == 1, "a matrix and a vector")
PRODUCT(BatchMatMul, self->sizes.size() == 3 && other->sizes.size() == 3, "two batches of matrices")
PRODUCT(Matmul, !self->sizes.empty() && !other->sizes.empty(), "scalars have no product")
// With a second factor in the NZ layout, which is a label here.
#define NZ_PRODUCT(op)                                                                    \
  ACLNN(op, const aclTensor* self, const aclTensor* other, aclTensor* out, int8_t cube) { \
    REQUIRE_NONE(product_limits(self, other, cube));                                      \
    REQUIRE(other->format == ACL_FORMAT_FRACTAL_NZ, "the second factor is not NZ");       \
    REQUIRE_NONE(fake::nz_limits(other));                                                 \
    return product(workspace, executor, self, other, out);                                \
  }
NZ_PRODUCT(MatmulWeightNz)
NZ_PRODUCT(BatchMatMulWeightNz)

ACLNN(Dot, const aclTensor* self, const aclTensor* other, aclTensor* out) {
  REQUIRE_NONE(product_limits(self, other, 1));
  return product(workspace, executor, self, other, out);
}

#define SUM_AND_PRODUCT(op, function)                                                                                \
  ACLNN(op, const aclTensor* self, const aclTensor* a, const aclTensor* b, const aclScalar* beta,                    \
        const aclScalar* alpha, aclTensor* out, int8_t cube) {                                                       \
    REQUIRE_NONE(product_limits(a, b, cube));                                                                        \
    return plan(workspace, executor,                                                                                 \
                [s = view(self), x = view(a), y = view(b), p = beta->value, q = alpha->value, z = view(out)] {       \
                  store(z, s.to(x.scalar_type()).function(on_cube(x), on_cube(y), p, q));                            \
                });                                                                                                  \
  }                                                                                                                  \
  ACLNN(Inplace##op, aclTensor* self, const aclTensor* a, const aclTensor* b, const aclScalar* beta,                 \
        const aclScalar* alpha, int8_t cube) {                                                                       \
    REQUIRE_NONE(product_limits(a, b, cube));                                                                        \
    return plan(workspace, executor, [s = view(self), x = view(a), y = view(b), p = beta->value, q = alpha->value] { \
      store(s, s.to(x.scalar_type()).function(on_cube(x), on_cube(y), p, q));                                        \
    });                                                                                                              \
  }
SUM_AND_PRODUCT(Addmm, addmm)
SUM_AND_PRODUCT(AddmmWeightNz, addmm)
SUM_AND_PRODUCT(Baddbmm, baddbmm)
SUM_AND_PRODUCT(Addbmm, addbmm)

ACLNN(Addmv, const aclTensor* self, const aclTensor* matrix, const aclTensor* vector, const aclScalar* alpha,
      const aclScalar* beta, aclTensor* out, int8_t cube) {
  REQUIRE_NONE(product_limits(matrix, vector, cube));
  return plan(workspace, executor,
              [s = view(self), m = view(matrix), v = view(vector), p = beta->value, q = alpha->value, z = view(out)] {
                store(z, s.addmv(on_cube(m), on_cube(v), p, q));
              });
}
ACLNN(Addr, const aclTensor* self, const aclTensor* a, const aclTensor* b, const aclScalar* beta,
      const aclScalar* alpha, aclTensor* out) {
  return plan(workspace, executor,
              [s = view(self), x = view(a), y = view(b), p = beta->value, q = alpha->value, z = view(out)] {
                store(z, s.addr(x, y, p, q));
              });
}
