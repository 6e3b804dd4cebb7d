// The register tile that products and attention are made of: a few rows times some columns of a panel, the sums of one
// element always in the order of the lanes. So a result depends neither on the rows beside it nor on the blocking.
#pragma once
#include "ops/cpu/simd.h"

namespace cairn::ops::cpu::CAIRN_ISA {

// How one lane of a panel meets its inputs.
struct SingleLane {  // one fp32 value
  using Input = float;
  static constexpr int kValues = 1;
};
struct PairLane {  // two bf16 values, inputs bf16: one instruction
  using Input = bf16;
  static constexpr int kValues = 2;
};
struct WidePairLane {  // two bf16 values, inputs fp32: for processors without that instruction
  using Input = float;
  static constexpr int kValues = 2;
};
struct MatrixLane : PairLane {};  // the same in blocks, on a matrix unit: amx.h
// How bf16 tensors are multiplied here, and the type that their inputs need.
using Bf16Lane = std::conditional_t<kHasMatrix, MatrixLane, std::conditional_t<kHasBf16, PairLane, WidePairLane>>;

// Rows that are multiplied together.
template <class L>
inline constexpr int kBlockRows = std::is_same_v<L, MatrixLane> ? 32 : 6;

// Columns per tile: 6 x 4 accumulators of the 32 registers of AVX-512 and ARM, 6 x 2 of the 16 that others have. A
// single row takes all columns of a panel that registers allow, since there it is the latency of the sums that limits.
template <int R>
inline constexpr int kTileVectors = kLanes == 16       ? 4
                                    : R == 1           ? 8
                                    : kRegisters == 32 ? 4
                                                       : 2;

// Memory that is needed soon: `lines` cache lines of it are asked for at every fourth lane, and `data` moves on.
struct Ahead {
  const uint32_t* data = nullptr;
  int64_t lines = 0;
};

// acc[r][c] += lane `lane` of a[r] times w[c].
template <class L, int R, int C>
[[gnu::always_inline]] inline void multiply_lane(const typename L::Input* const (&a)[R], int64_t lane,
                                                 const u32v (&w)[C], f32v (&acc)[R][C]) {
  if constexpr (std::is_same_v<L, PairLane>) {
#if defined(__AVX512BF16__)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const u32v x = splat_lane(a[r] + 2 * lane);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[r][c] = (f32v)_mm512_dpbf16_ps((__m512)acc[r][c], (__m512bh)x, (__m512bh)w[c]);
    }
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto x = (bfloat16x8_t)splat_lane(a[r] + 2 * lane);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[r][c] = (f32v)vbfdotq_f32((float32x4_t)acc[r][c], (bfloat16x8_t)w[c], x);
    }
#endif
  } else {
#pragma GCC unroll 2
    for (int half = 0; half < L::kValues; ++half) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const f32v x = (f32v)splat_lane(a[r] + L::kValues * lane + half);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
          const u32v value = L::kValues == 1 ? w[c] : half ? w[c] & 0xffff0000u : w[c] << 16;
          acc[r][c] += x * (f32v)value;
        }
      }
    }
  }
}

template <class L, int R, int C>
[[gnu::always_inline]] inline void step(const typename L::Input* const (&a)[R], int64_t lane, const uint32_t* b,
                                        f32v (&acc)[R][C]) {
  u32v w[C];
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) w[c] = load_as<u32v>(b + kLanes * c);
  multiply_lane<L, R, C>(a, lane, w, acc);
}

// acc[r][c] += sum over `lanes` lanes of a[r] and the panel b, whose lanes are `pitch` apart.
template <class L, int R, int C>
[[gnu::always_inline]] inline void tile(const typename L::Input* const (&a)[R], const uint32_t* b, int64_t pitch,
                                        int64_t lanes, f32v (&acc)[R][C], Ahead& ahead) {
  int64_t k = 0;
  for (; k + 4 <= lanes; k += 4) {
    for (int64_t i = 0; i < ahead.lines; ++i, ahead.data += 16) __builtin_prefetch(ahead.data, 0, 2);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j, b += pitch) step<L, R, C>(a, k + j, b, acc);
  }
  for (; k < lanes; ++k, b += pitch) step<L, R, C>(a, k, b, acc);
}

}  // namespace cairn::ops::cpu::CAIRN_ISA
