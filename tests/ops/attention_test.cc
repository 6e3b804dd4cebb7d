// The backends of attention that a device has: each against float64, and whether it is the one that runs.
#include "ops/attention.h"

#include <ATen/record_function.h>
#include <gmock/gmock.h>

#include <set>

#include "device/under_test.h"
#include "ops/install.h"
#include "ops/samples.h"

namespace cairn::ops {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

const c10::Device kDevice = device_under_test();
constexpr Dtype kDtypes[] = {kF32, kBF16};

// Names of libtorch's and torch_npu's operators that have to do with attention, while one lives.
thread_local std::set<std::string>* seen = nullptr;
class Seen {
 public:
  Seen()
      : handle_(at::addThreadLocalCallback(at::RecordFunctionCallback([](const at::RecordFunction& f) {
          if (std::string(f.name()).find("attention") != std::string::npos) seen->insert(f.name());
          return std::unique_ptr<at::ObserverContext>();
        }))) {
    seen = &names;
  }
  ~Seen() { at::removeCallback(handle_); }
  Seen(const Seen&) = delete;
  Seen& operator=(const Seen&) = delete;
  std::set<std::string> names;

 private:
  at::CallbackHandle handle_;
};

struct Backends : testing::Test {
  Backends() { install_kernels(kDevice); }
  ~Backends() override { or_throw(select_attention(kDevice, attention_backends(kDevice, kBF16)[0], kBF16)); }

  static std::set<std::string> operators_of(const std::string& name) {
    or_throw(select_attention(kDevice, name, kBF16));
    install_kernels(kDevice);  // as the next model does
    const Inference no_gradients;
    const Tensor x = random({1, 40, 2, 64}, kBF16, 1).to(kDevice);
    const Seen now;
    (void)attention(x, x, x, {}, false, 0.125);
    return now.names;
  }
};

struct Heads {
  int64_t n, t, s, h, d;
};
constexpr Heads kHeads[] = {{1, 96, 96, 4, 64}, {2, 31, 63, 5, 32}, {1, 65, 65, 2, 128},
                            {2, 1, 1, 1, 16},   {1, 40, 40, 2, 24}, {1, 20, 20, 1, 512}};

TEST_F(Backends, AreTheReference) {
  for (const Dtype dtype : kDtypes)
    for (const std::string& name : attention_backends(kDevice, dtype)) {
      or_throw(select_attention(kDevice, name, dtype));
      for (const Heads& s : kHeads)
        for (const bool causal : {false, true})
          for (const bool biased : {false, true}) {
            if (causal && (s.t != s.s || biased)) continue;
            // Heads of a joint projection: queries are not contiguous.
            const Tensor q = random({s.n, s.t, 2, s.h, s.d}, dtype, 1).select(2, 1),
                         k = random({s.n, s.s, s.h, s.d}, dtype, 2), v = random({s.n, s.s, s.h, s.d}, dtype, 3),
                         bias = biased ? random({1, s.h, s.t, s.s}, kF32, 4) : Tensor();
            const double scale = 1 / std::sqrt(static_cast<double>(s.d));
            const Tensor y = on_host(attention(q.to(kDevice), k.to(kDevice), v.to(kDevice),
                                               biased ? bias.to(kDevice) : Tensor(), causal, scale));
            EXPECT_EQ(y.scalar_type(), dtype);
            EXPECT_LT(
                distance(y, reference::attention(doubled(q), doubled(k), doubled(v), doubled(bias), causal, scale)),
                2 * tolerance(dtype))
                << name << " " << s.t << "x" << s.s << "x" << s.d << " causal " << causal << " bias " << biased;
          }
    }
}

TEST_F(Backends, ThatAreNotThereAreAnErrorThatListsTheRest) {
  for (const char* name : {"sage", "sage3", "ffpa", "flash_varlen", "_flash_3", "_mindiesd_laser", "", "Native"}) {
    const auto r = select_attention(kDevice, name, kBF16);
    ASSERT_FALSE(r) << name;
    EXPECT_EQ(r.error().code, Code::kUnsupported);
    EXPECT_THAT(r.error().what, AllOf(HasSubstr("attention backend " + std::string(name) + " is not available on "),
                                      HasSubstr(" in bf16: use one of "), HasSubstr("native, ")));
    for (const std::string& other : attention_backends(kDevice, kBF16)) EXPECT_THAT(r.error().what, HasSubstr(other));
  }
}

TEST_F(Backends, OfAProcessor) {
  if (!kDevice.is_cpu()) GTEST_SKIP() << "CAIRN_TEST_DEVICE is not the processor";
  for (const Dtype dtype : kDtypes)
    EXPECT_THAT(attention_backends(kDevice, dtype), ElementsAre("native", "_native_flash", "_native_math"));
  EXPECT_THAT(operators_of("_native_flash"), ElementsAre("aten::_scaled_dot_product_flash_attention_for_cpu"));
  EXPECT_THAT(operators_of("_native_math"), ElementsAre("aten::_scaled_dot_product_attention_math"));
  EXPECT_THAT(operators_of("native"), ElementsAre());
}

TEST_F(Backends, OfAnNpu) {
  if (!kDevice.is_privateuseone()) GTEST_SKIP() << "CAIRN_TEST_DEVICE names no NPU";
  EXPECT_THAT(attention_backends(kDevice, kBF16), ElementsAre("_npu_fia", "_native_npu", "native", "_native_math"));
  EXPECT_THAT(attention_backends(kDevice, kF32), ElementsAre("native", "_native_math"));
  EXPECT_THAT(select_attention(kDevice, "_npu_fia", kF32).error().what, HasSubstr("(it does not take fp32)"));
  EXPECT_THAT(operators_of("_native_npu"), ElementsAre("npu::npu_fusion_attention"));
  EXPECT_THAT(operators_of("_npu_fia"), ElementsAre("npu::npu_fused_infer_attention_score"));
  EXPECT_THAT(operators_of("_native_math"), ElementsAre("aten::_scaled_dot_product_attention_math"));
  EXPECT_THAT(operators_of("native"), Contains("aten::scaled_dot_product_attention"));
}

}  // namespace
}  // namespace cairn::ops
