// The two products of attention over blocks of keys and values, on the matrix unit of amx.h. As there, an element's
// sums take the same order whatever rows are beside it.
#pragma once
#include "ops/cpu/amx.h"

#if defined(__AMX_BF16__)
namespace cairn::ops::cpu::CAIRN_ISA {

// What both products go over: the panels of the blocks of keys [begin, end), where panel(key) is that of the block
// which begins with `key`.
template <class Panel>
struct Blocks {
  int64_t begin, end, size;  // size: keys of a block
  Panel panel;
};

// y[r][key] = a[r] times the panel's column for `key`, for whole blocks. Rows of `a` have `lanes` lanes.
template <int R, int N, class Panel>
inline void few_scores(const bf16* a, int64_t a_pitch, int64_t lanes, const Blocks<Panel>& blocks, int64_t key,
                       float* y, int64_t y_pitch) {
  const uint32_t* b[N];
  for (int c = 0; c < N; ++c) {
    const int64_t at = key + c * kLanes, inside = at % blocks.size;
    b[c] = blocks.panel(at - inside) + inside;
  }
  f32v acc[R][N] = {};
  int64_t k = 0;
  for (; k + 16 <= lanes; k += 16) {
    f32v even[R][N] = {}, odd[R][N] = {};
#pragma GCC unroll 16
    for (int64_t j = k; j < k + 16; ++j) {
      u32v w[N];
#pragma GCC unroll 4
      for (int c = 0; c < N; ++c) w[c] = load_as<u32v>(b[c] + j * blocks.size);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) {
        const u32v x = splat_lane(a + r * a_pitch + 2 * j);
#pragma GCC unroll 4
        for (int c = 0; c < N; ++c) {
          even[r][c] += (f32v)(x << 16) * (f32v)(w[c] << 16);
          odd[r][c] += (f32v)(x & 0xffff0000u) * (f32v)(w[c] & 0xffff0000u);
        }
      }
    }
    for (int r = 0; r < R; ++r)
      for (int c = 0; c < N; ++c) acc[r][c] += even[r][c] + odd[r][c];
  }
  const bf16* rows[R];
  for (int r = 0; r < R; ++r) rows[r] = a + r * a_pitch;
  for (; k < lanes; ++k) {
    u32v w[N];
    for (int c = 0; c < N; ++c) w[c] = load_as<u32v>(b[c] + k * blocks.size);
    multiply_lane<PairLane, R, N>(rows, k, w, acc);
  }
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < N; ++c) store(y + r * y_pitch + key + c * kLanes, acc[r][c]);
}

template <class Panel>
inline void scores(Tiles& tiles, int rows, const bf16* a, int64_t a_pitch, int64_t lanes, const Blocks<Panel>& blocks,
                   float* y, int64_t y_pitch) {
  int64_t key = blocks.begin;
  const int64_t end = (blocks.end + kLanes - 1) / kLanes * kLanes;
  if (rows <= 2) {
    const auto some = [&]<int N>() {
      if (rows == 1)
        few_scores<1, N>(a, a_pitch, lanes, blocks, key, y, y_pitch);
      else
        few_scores<2, N>(a, a_pitch, lanes, blocks, key, y, y_pitch);
      key += N * kLanes;
    };
    while (key + 4 * kLanes <= end) some.template operator()<4>();
    while (key < end) some.template operator()<1>();
    return;
  }
  for (; key < end; key += blocks.size) {
    const Stretch all{a, a_pitch, blocks.panel(key), lanes};
    multiply(tiles, &all, 1, rows, blocks.size, lesser(blocks.size, end - key), nullptr, 0, y + key, y_pitch, {});
  }
}

// Sums of two tiles of columns, and of one or two tiles of rows, over all blocks.
template <bool kLow, bool kWide, class Panel>
inline void weighed(const bf16* a, int64_t a_pitch, int lanes, const Blocks<Panel>& blocks, int64_t width,
                    int64_t column, float* y) {
  const int64_t a_bytes = a_pitch * 2, b_bytes = width * 4, y_bytes = width * 4;
  _tile_zero(0);
  if constexpr (kWide) _tile_zero(1);
  if constexpr (kLow) _tile_zero(2);
  if constexpr (kLow && kWide) _tile_zero(3);
  for (int64_t key = blocks.begin; key < blocks.end; key += blocks.size) {
    const uint32_t* b = blocks.panel(key) + column;
    asm volatile("" ::: "memory");  // which may have been written just now
    for (int64_t k = 0; k < blocks.size; k += 2 * lanes, b += lanes * width) {
      const bf16* w = a + key + k;
      _tile_loadd(4, w, a_bytes);
      _tile_loadd(6, b, b_bytes);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kLow) {
        _tile_loadd(5, w + 16 * a_pitch, a_bytes);
        _tile_dpbf16ps(2, 5, 6);
      }
      if constexpr (kWide) {
        _tile_loadd(7, b + 16, b_bytes);
        _tile_dpbf16ps(1, 4, 7);
        if constexpr (kLow) _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
  float* to = y + column;
  _tile_stored(0, to, y_bytes);
  if constexpr (kWide) _tile_stored(1, to + 16, y_bytes);
  if constexpr (kLow) _tile_stored(2, to + 16 * width, y_bytes);
  if constexpr (kLow && kWide) _tile_stored(3, to + 16 * width + 16, y_bytes);
}

template <int R, int C, class Panel>
inline void few_weighed(const bf16* a, int64_t a_pitch, int lanes, const Blocks<Panel>& blocks, int64_t width,
                        int64_t column, float* y) {
  f32v acc[R][C] = {};
  for (int64_t key = blocks.begin; key < blocks.end; key += blocks.size) {
    const uint32_t* b = blocks.panel(key) + column;
    for (int64_t k = key; k < key + blocks.size; k += 2 * lanes) {
      f32v even[R][C] = {}, odd[R][C] = {};
      for (int j = 0; j < lanes; ++j, b += width) {
        u32v w[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) w[c] = load_as<u32v>(b + c * kLanes);
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) {
          const u32v x = splat_lane(a + r * a_pitch + k + 2 * j);
#pragma GCC unroll 4
          for (int c = 0; c < C; ++c) {
            even[r][c] += (f32v)(x << 16) * (f32v)(w[c] << 16);
            odd[r][c] += (f32v)(x & 0xffff0000u) * (f32v)(w[c] & 0xffff0000u);
          }
        }
      }
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) acc[r][c] += even[r][c] + odd[r][c];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) store(y + r * width + column + c * kLanes, acc[r][c]);
}

// y (rows, width) = sums of the values of all keys times their weights: a[r][key].
template <class Panel>
inline void weigh(Tiles& tiles, int rows, const bf16* a, int64_t a_pitch, const Blocks<Panel>& blocks, int64_t width,
                  float* y) {
  const int lanes = blocks.size % 32 == 0 ? 16 : 8;
  int64_t column = 0;
  if (rows <= 2) {
    const auto some = [&]<int C>() {
      if (rows == 1)
        few_weighed<1, C>(a, a_pitch, lanes, blocks, width, column, y);
      else
        few_weighed<2, C>(a, a_pitch, lanes, blocks, width, column, y);
      column += C * kLanes;
    };
    while (column + 4 * kLanes <= width) some.template operator()<4>();
    while (column < width) some.template operator()<1>();
    return;
  }
  asm volatile("" ::: "memory");
  tiles.shape(rows, lanes);
  const auto some = [&]<bool kWide>() {
    if (rows > 16)
      weighed<true, kWide>(a, a_pitch, lanes, blocks, width, column, y);
    else
      weighed<false, kWide>(a, a_pitch, lanes, blocks, width, column, y);
    column += kWide ? 32 : 16;
  };
  while (column + 32 <= width) some.template operator()<true>();
  if (column < width) some.template operator()<false>();
}

}  // namespace cairn::ops::cpu::CAIRN_ISA
#endif
