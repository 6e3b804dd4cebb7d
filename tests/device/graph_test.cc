// Graphs of a processor: what a replay does again, and what a capture refuses.
#include "device/graph.h"

#include <gmock/gmock.h>

#include "device/device.h"
#include "ops/ops.h"

namespace cairn::device {
namespace {

using testing::HasSubstr;

Tensor filled(at::IntArrayRef shape, Dtype dtype, double first, double step) {
  Tensor t = empty(shape, kF32);
  auto* p = static_cast<float*>(t.mutable_data_ptr());
  for (int64_t i = 0; i < t.numel(); ++i) p[i] = static_cast<float>(first + step * static_cast<double>(i % 37));
  return t.to(dtype);
}

ops::Weight weight(int64_t out, int64_t in, Dtype dtype) { return {filled({out, in}, dtype, -0.3, 0.02), Tensor()}; }

class Graphs : public testing::TestWithParam<Dtype> {
 protected:
  void SetUp() override {
    ops::install_cpu();
    set_threads(2);
  }
};

TEST_P(Graphs, AReplayReadsWhatIsThereNow) {
  const Inference no_gradients;
  const ops::Weight up = weight(700, 512, GetParam()), gate = weight(700, 512, GetParam()),
                    down = weight(512, 700, GetParam());
  const Tensor x = filled({1, 3, 512}, kF32, 0, 0.01), norm = filled({512}, kF32, 1, 0.001);
  const auto f = [&] {
    const Tensor y = ops::rms_norm(x, norm, 1e-6, GetParam());
    return ops::linear_add(x, ops::linear_glu(y, gate, up, ops::Activation::kSilu), down, {}, 0);
  };
  f();  // packs the weights
  GraphMemory memory(c10::DeviceType::CPU);
  Tensor y;
  const Graph graph = or_throw(Graph::capture(memory, [&] { y = f(); }));
  EXPECT_EQ(graph.kernels(), 3u);
  EXPECT_TRUE(y.equal(f()));
  for (int i = 1; i < 200; ++i) {
    x.copy_(filled({1, 3, 512}, kF32, 0.1 * i, 0.02));
    graph.replay();
    ASSERT_TRUE(y.equal(f())) << i;
  }
}
INSTANTIATE_TEST_SUITE_P(Dtypes, Graphs, testing::Values(kF32, kBF16));

TEST(Graph, ACaptureRefusesWhatNoReplayWouldDo) {
  ops::install_cpu();
  const Inference no_gradients;
  const Tensor x = filled({2, 64}, kF32, 1, 0.5);
  const auto refusal = [&](auto&& f) {
    GraphMemory memory(c10::DeviceType::CPU);
    const auto graph = Graph::capture(memory, f);
    EXPECT_FALSE(graph);
    EXPECT_EQ(graph.error().code, Code::kUnsupported);
    return graph.error().what;
  };
  Tensor y;
  EXPECT_THAT(refusal([&] { y = x * 2.0; }), HasSubstr("aten::mul"));
  EXPECT_TRUE(y.equal(x + x));  // what was computed stands
  EXPECT_THAT(refusal([&] { y = ops::rms_norm(x.to(Dtype::Double), {}, 0, kF32); }), HasSubstr("aten::"));
  EXPECT_THAT(refusal([&] { y = x.transpose(0, 1).contiguous(); }), HasSubstr("aten::clone"));
  // Packing, at a weight's first use, is done once.
  EXPECT_THAT(refusal([&] { y = ops::linear(x, weight(64, 64, kF32), ops::Activation::kNone, kF32); }),
              HasSubstr("cannot be captured"));
  GraphMemory memory(c10::DeviceType::CPU);
  const auto throws = [] { throw Failure(Error{Code::kInternal, "no"}); };
  EXPECT_THROW((void)Graph::capture(memory, throws), Failure);
  EXPECT_TRUE(Graph::capture(memory, [&] { y = ops::rms_norm(x.unsqueeze(0), {}, 0, kF32).select(0, 0); }));
}

TEST(Arena, TensorsOfASizeClassShareMemoryOneAfterTheOther) {
  Arena arena;
  void* first = nullptr;
  {
    const Arena::Use use(arena);
    const Tensor a = empty({100}, kF32);
    first = a.mutable_data_ptr();
    const Tensor b = empty({100}, kF32);
    EXPECT_NE(b.mutable_data_ptr(), first);
  }
  const int64_t bytes = arena.bytes();
  EXPECT_EQ(bytes, 1024);
  Tensor kept;
  {
    const Arena::Use use(arena);
    kept = empty({128}, kF32);
    EXPECT_EQ(empty({65}, kF32).numel(), 65);
  }
  EXPECT_EQ(arena.bytes(), bytes);
  EXPECT_EQ(Arena::current(), nullptr);
  arena = Arena();
  kept.fill_(1);  // its memory lives as long as it does
  EXPECT_EQ(kept.sum().item<float>(), 128);
}

}  // namespace
}  // namespace cairn::device
