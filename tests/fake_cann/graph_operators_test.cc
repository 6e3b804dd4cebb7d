// Graph operators, as torch_npu asks for them on Ascend310P: the tests of the plain operators again in a process that
// takes that device, and what CANN says of the device. Cases named Ascend310P run there alone.
#include <ATen/ops/rand.h>
#include <ATen/ops/tensor.h>
#include <acl/acl.h>
#include <acl/acl_op_compiler.h>

#include "operators_test.h"

namespace fake {
namespace {
int on_310p(const std::string& filter) {
  return std::system(("FAKE_CANN_SOC=Ascend310P3 " + std::string(FAKE_CANN_BED) + "/fake_cann_cases --gtest_filter='" +
                      filter + "' >&2")
                         .c_str());
}
TEST(GraphOperators, DoOnAscend310PWhatTheOthersDoElsewhere) {
  if (kOn310P) GTEST_SKIP();
  EXPECT_EQ(on_310p("Operators.*"), 0);
}
TEST(GraphOperators, KeepTheRulesOfAscend310P) {
  if (kOn310P) GTEST_SKIP();
  EXPECT_EQ(on_310p("Ascend310P.*"), 0);
}

#define ON_310P \
  if (!kOn310P) GTEST_SKIP()

// A call as torch_npu makes it; the caller destroys what describes it right after.
struct Call {
  std::vector<const aclTensorDesc*> inputs, outputs;
  std::vector<aclDataBuffer*> in, out;
  aclopAttr* attributes = aclopCreateAttr();
  void input(const Tensor& x, bool host = false) {
    auto* d = aclCreateTensorDesc(types(x), int(x.dim()), x.sizes().data(), ACL_FORMAT_ND);
    if (host) aclSetTensorPlaceMent(d, ACL_MEMTYPE_HOST);
    inputs.push_back(d);
    in.push_back(aclCreateDataBuffer(x.data_ptr(), x.nbytes()));
  }
  void output(const Tensor& x) {
    outputs.push_back(aclCreateTensorDesc(types(x), int(x.dim()), x.sizes().data(), ACL_FORMAT_ND));
    out.push_back(aclCreateDataBuffer(x.data_ptr(), x.nbytes()));
  }
  aclError run(const char* name, aclrtStream stream) {
    const std::vector<const aclDataBuffer*> data(in.begin(), in.end());
    const auto error = aclopCompileAndExecute(name, int(inputs.size()), inputs.data(), data.data(), int(outputs.size()),
                                              outputs.data(), out.data(), attributes, ACL_ENGINE_SYS, ACL_COMPILE_SYS,
                                              nullptr, stream);
    for (const auto* list : {&inputs, &outputs}) {
      for (const auto* d : *list) aclDestroyTensorDesc(d);
    }
    for (const auto* list : {&in, &out}) {
      for (const auto* b : *list) aclDestroyDataBuffer(b);
    }
    aclopDestroyAttr(attributes);
    return error;
  }
  static aclDataType types(const Tensor& x) {
    switch (x.scalar_type()) {
      case at::kFloat:
        return ACL_FLOAT;
      case at::kHalf:
        return ACL_FLOAT16;
      case at::kBFloat16:
        return ACL_BF16;
      case at::kLong:
        return ACL_INT64;
      default:
        return ACL_DT_UNDEFINED;
    }
  }
};
Tensor synced(const Tensor& x) {
  at::accelerator::synchronizeDevice(0);
  return x;
}

TEST(Ascend310P, AttributesAndHostInputsOfACallMayGoBeforeItsKernelRuns) {
  ON_310P;
  aclrtStream stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), 0);
  const auto x = at::rand({4, 3}), on = synced(x.to(kNpu)), got = synced(room({2, 3}));
  const Fault late("delay_us", "20000");
  {
    auto rows = at::tensor({3, 1}, at::kLong), axis = at::tensor({0}, at::kLong);
    Call call;
    call.input(on);
    call.input(rows, true);
    call.input(axis, true);
    call.output(got);
    aclopSetAttrInt(call.attributes, "batch_dims", 0);
    ASSERT_EQ(call.run("GatherV2", stream), 0);
    rows.fill_(0);
    axis.fill_(1);
  }
  ASSERT_EQ(aclrtSynchronizeStream(stream), 0);
  expect_close(got, x.index_select(0, at::tensor({3, 1}, at::kLong)), "GatherV2", 0);
  EXPECT_EQ(aclrtDestroyStream(stream), 0);
}
TEST(Ascend310P, CallsThatAreWrongAreRefused) {
  ON_310P;
  aclrtStream stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), 0);
  const auto x = synced(at::rand({4, 4}).to(kNpu)), y = synced(room({4, 4}));
  const auto call = [&](const char* name, std::initializer_list<Tensor> inputs, const Tensor& out) {
    Call c;
    for (const auto& t : inputs) c.input(t);
    c.output(out);
    return c.run(name, stream);
  };
  EXPECT_EQ(call("Add", {x, x}, y), 0);
  EXPECT_NE(call("Add", {x}, y), 0) << "an input is missing";
  EXPECT_NE(call("NoSuchOperator", {x}, y), 0);
  EXPECT_NE(call("Add", {at::rand({4, 4}), x}, y), 0) << "host memory that does not say so";
  const auto bf16 = synced(room({4, 4}, at::kBFloat16));
  EXPECT_NE(call("Add", {bf16, bf16}, bf16), 0) << "bf16";
  EXPECT_NE(call("MatMul", {x, synced(room({4, 4}, at::kHalf))}, y), 0) << "factors of two types";
  EXPECT_EQ(aclrtSynchronizeStream(stream), 0);
  EXPECT_EQ(call("Add", {x, x}, synced(room({2, 4}))), 0);
  EXPECT_NE(aclrtSynchronizeStream(stream), 0) << "an output of another size is found by the kernel";
  set("clear", "");
  EXPECT_EQ(aclrtDestroyStream(stream), 0);
}
TEST(Ascend310P, MatricesOfFp32AreMultipliedInFp16) {
  ON_310P;
  const auto x = at::rand({8, 8}).add(1.0 / 4096), exact = x.mm(x);
  const auto got = x.to(kNpu).mm(x.to(kNpu)).cpu();
  EXPECT_FALSE(got.allclose(exact, 1e-6, 1e-6));
  const auto half = x.to(at::kHalf).to(at::kFloat);
  expect_close(got, half.mm(half), "mm", 1e-6);
}
TEST(Ascend310P, LacksWhatItsDocumentationDoesNotName) {
  ON_310P;
  const auto q = at::rand({1, 16, 1, 16}).to(at::kHalf).to(kNpu);
  EXPECT_REFUSED("FusedInferAttentionScore",
                 call("npu::npu_fused_infer_attention_score",
                      {{"query", q}, {"key", q}, {"value", q}, {"num_heads", 1}, {"input_layout", "BSND"}}));
  EXPECT_REFUSED("FlashAttention",
                 call("npu::npu_fusion_attention",
                      {{"query", q}, {"key", q}, {"value", q}, {"head_num", 1}, {"input_layout", "BSND"}}));
  aclrtStream stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), 0);
  EXPECT_NE(aclmdlRICaptureBegin(stream, ACL_MODEL_RI_CAPTURE_MODE_GLOBAL), 0);
  EXPECT_EQ(aclrtDestroyStream(stream), 0);
}
}  // namespace
}  // namespace fake
