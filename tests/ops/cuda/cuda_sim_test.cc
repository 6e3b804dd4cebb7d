// The simulation itself: what it must notice.
#include "ops/cuda/cuda_sim.h"

#include <gtest/gtest.h>

#include <vector>

namespace {

TEST(CudaSim, BlocksThreadsAndBarriers) {
  std::vector<int> out(2 * 64);
  cuda_sim::launch(dim3(2), dim3(64), 64 * sizeof(int), [&] {
    auto* shared = static_cast<int*>(cuda_sim::dynamic_shared());
    shared[threadIdx.x] = static_cast<int>(threadIdx.x + 100 * blockIdx.x);
    __syncthreads();
    out[blockIdx.x * 64 + threadIdx.x] = shared[63 - threadIdx.x];
  });
  EXPECT_EQ(out[0], 63);
  EXPECT_EQ(out[127], 100);
}

TEST(CudaSim, CollectivesOfWarps) {
  std::vector<int> sums(64), next(64);
  unsigned odd = 0;
  cuda_sim::launch(dim3(1), dim3(64), 0, [&] {
    int v = static_cast<int>(threadIdx.x);
    for (int i = 16; i > 0; i /= 2) v += __shfl_xor_sync(~0u, v, i);
    sums[threadIdx.x] = v;
    next[threadIdx.x] = __shfl_down_sync(~0u, static_cast<int>(threadIdx.x), 1);
    const unsigned bits = __ballot_sync(~0u, threadIdx.x % 2);
    if (threadIdx.x == 5) odd = bits;
  });
  EXPECT_EQ(sums[3], 31 * 16);
  EXPECT_EQ(sums[40], 31 * 16 + 32 * 32);
  EXPECT_EQ(next[30], 31);
  EXPECT_EQ(next[31], 31);
  EXPECT_EQ(odd, 0xaaaaaaaau);
}

TEST(CudaSim, NoticesBarriersThatNotAllReach) {
  EXPECT_THROW(cuda_sim::launch(dim3(1), dim3(32), 0,
                                [] {
                                  if (threadIdx.x < 31) __syncthreads();
                                }),
               CudaSimError);
  const auto two_barriers = [] {
    if (threadIdx.x < 32) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  };
  EXPECT_THROW(cuda_sim::launch(dim3(1), dim3(64), 0, two_barriers), CudaSimError);
  EXPECT_THROW(cuda_sim::launch(dim3(1), dim3(32), 0,
                                [] {
                                  if (threadIdx.x) __shfl_sync(~0u, 1, 0);
                                }),
               CudaSimError);
}

TEST(CudaSim, NoticesSizesThatNoGpuTakes) {
  EXPECT_THROW(cuda_sim::launch(dim3(1), dim3(2048), 0, [] {}), CudaSimError);
  EXPECT_THROW(cuda_sim::launch(dim3(0), dim3(32), 0, [] {}), CudaSimError);
  EXPECT_THROW(cuda_sim::launch(dim3(1, 70000), dim3(32), 0, [] {}), CudaSimError);
  EXPECT_THROW(cuda_sim::launch(dim3(1), dim3(32), 300 << 10, [] {}), CudaSimError);
}

TEST(CudaSim, MissingBarriersShow) {
  int wrong = 0;
  for (int i = 0; i < 8; ++i) {
    int shared = 0, got = -1;
    cuda_sim::launch(dim3(1), dim3(32), 0, [&] {
      if (threadIdx.x == 31) shared = 1;
      if (threadIdx.x == 0) got = shared;
    });
    wrong += got != 1;
  }
  EXPECT_GT(wrong, 0);
  EXPECT_LT(wrong, 8);
}

TEST(CudaSim, HalfAndBfloatRoundToEven) {
  EXPECT_EQ(__float2half_rn(1.0f).bits, 0x3c00);
  EXPECT_EQ(__float2half_rn(65504.0f).bits, 0x7bff);
  EXPECT_EQ(__float2half_rn(65520.0f).bits, 0x7c00);
  EXPECT_EQ(__float2half_rn(0x1p-24f).bits, 1);
  EXPECT_EQ(__float2half_rn(0x1p-25f).bits, 0);
  EXPECT_EQ(__float2half_rn(1.0f + 0x1p-11f).bits, 0x3c00);
  EXPECT_EQ(__float2half_rn(1.0f + 3 * 0x1p-11f).bits, 0x3c02);
  for (int bits = 0; bits < 0x10000; ++bits) {
    const auto b = static_cast<uint16_t>(bits);
    EXPECT_TRUE((bits & 0x7c00) == 0x7c00 || __float2half_rn(__half2float({b})).bits == b);
    EXPECT_TRUE((bits & 0x7f80) == 0x7f80 || __float2bfloat16_rn(__bfloat162float({b})).bits == b);
  }
}

TEST(CudaSim, TensorCoreProductOfFragments) {
  // A (16, 16) and B (16, 8) of small whole numbers, dealt to lanes as the instruction wants them.
  const auto a = [](int r, int k) { return static_cast<float>((r * 3 + k * 5) % 7 - 3); };
  const auto b = [](int k, int n) { return static_cast<float>((k * 2 + n * 3) % 5 - 2); };
  const auto pair = [](float low, float high) {
    return uint32_t{__float2bfloat16_rn(low).bits} | uint32_t{__float2bfloat16_rn(high).bits} << 16;
  };
  std::vector<float> out(128);
  cuda_sim::launch(dim3(1), dim3(32), 0, [&] {
    const int g = cuda_sim::lane() / 4, t = cuda_sim::lane() % 4 * 2;
    uint32_t x[4], y[2];
    for (int i = 0; i < 4; ++i) {
      const int r = g + i % 2 * 8, k = t + i / 2 * 8;
      x[i] = pair(a(r, k), a(r, k + 1));
    }
    for (int i = 0; i < 2; ++i) y[i] = pair(b(t + 8 * i, g), b(t + 8 * i + 1, g));
    float c[4] = {};
    cuda_sim::mma_16816(
        c, x, y, [](uint16_t bits) { return __bfloat162float({bits}); }, 1);
    for (int i = 0; i < 4; ++i) out[static_cast<size_t>((g + i / 2 * 8) * 8 + t + i % 2)] = c[i];
  });
  for (int r = 0; r < 16; ++r)
    for (int n = 0; n < 8; ++n) {
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += a(r, k) * b(k, n);
      EXPECT_EQ(out[static_cast<size_t>(r * 8 + n)], sum);
    }
}

}  // namespace
