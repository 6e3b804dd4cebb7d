// Products of bf16 matrices on AMX, the matrix unit of Intel's server processors: tiles of 16 rows of 64 bytes, of
// which two (32 inputs of 16 rows, 32 inputs of 16 columns) are multiplied and added to a third by one instruction. The
// panels of packed.h already have the order that it wants. The sums of an element take the same order whatever rows are
// beside it: blocks of 32 inputs in turn, and the inputs that are left over after all blocks, in the order of tile.h.
#pragma once
#include "ops/cpu/tile.h"

#if defined(__AMX_BF16__)
namespace cairn::ops::cpu::CAIRN_ISA {

// One stretch of a sum: rows of `a` are a_pitch values apart, and meet `lanes` lanes of a panel.
struct Stretch {
  const bf16* a;
  int64_t a_pitch;
  const uint32_t* b;
  int64_t lanes;
};

// The shapes of this thread's tiles, while it lives. Other code on the thread may have set its own before.
class Tiles {
 public:
  Tiles() = default;
  ~Tiles() {
    if (rows_) _tile_release();
  }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  // For blocks of `rows` rows, at most 32: tiles 0 to 3 are sums. Up to 16 rows 4 is the left factor and 5 to 7 are
  // right ones; above, 4 and 5 are the halves of the left factor, and so are 0, 1 and 2, 3 of the sums. Factors have
  // `lanes` lanes, at most 16.
  void shape(int rows, int lanes = 16) {
    if (rows == rows_ && lanes == lanes_) return;
    rows_ = rows;
    lanes_ = lanes;
    struct alignas(64) {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    const auto upper = static_cast<uint8_t>(rows < 16 ? rows : 16), lower = static_cast<uint8_t>(rows - upper);
    for (int i = 0; i < 8; ++i) {
      const bool right = lower ? i >= 6 : i >= 5, low = lower && (i == 2 || i == 3 || i == 5);
      const bool left = i == 4 || (lower && i == 5);
      config.bytes[i] = left ? static_cast<uint16_t>(4 * lanes) : 64;
      config.rows[i] = right ? static_cast<uint8_t>(lanes) : low ? lower : upper;
    }
    asm volatile("" ::"m"(config));  // the instruction does not tell the compiler what it reads
    _tile_loadconfig(&config);
  }

 private:
  int rows_ = 0, lanes_ = 0;
};

// Blocks of sums, two tiles of rows by two or one of columns, or one by four or one. `start` of start_pitch 0 is one
// row for all rows. ahead.lines cache lines are asked for at every block of inputs.
#define CAIRN_EACH_BLOCK(...)                                                                              \
  for (int i = 0; i < count; ++i) {                                                                        \
    const char* a = reinterpret_cast<const char*>(s[i].a);                                                 \
    const uint32_t* b = s[i].b + column;                                                                   \
    const int64_t a_bytes = s[i].a_pitch * 2;                                                              \
    for (int64_t k = 0; k + 16 <= s[i].lanes; k += 16, a += 64, b += 16 * pitch) {                         \
      __VA_ARGS__                                                                                          \
      for (int64_t j = 0; j < ahead.lines; j += 2, ahead.data += 32) __builtin_prefetch(ahead.data, 0, 2); \
    }                                                                                                      \
  }

inline void two_by_two(const Stretch* s, int count, int64_t pitch, int64_t column, const float* start,
                       int64_t start_bytes, float* y, int64_t y_bytes, Ahead& ahead) {
  if (start) {
    const char* from = reinterpret_cast<const char*>(start + column);
    _tile_loadd(0, from, start_bytes);
    _tile_loadd(1, from + 64, start_bytes);
    _tile_loadd(2, from + 16 * start_bytes, start_bytes);
    _tile_loadd(3, from + 16 * start_bytes + 64, start_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const int64_t b_bytes = pitch * 4;
  CAIRN_EACH_BLOCK(_tile_loadd(4, a, a_bytes); _tile_loadd(6, b, b_bytes); _tile_dpbf16ps(0, 4, 6);
                   _tile_loadd(5, a + 16 * a_bytes, a_bytes); _tile_dpbf16ps(2, 5, 6); _tile_loadd(7, b + 16, b_bytes);
                   _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(3, 5, 7);)
  char* to = reinterpret_cast<char*>(y + column);
  _tile_stored(0, to, y_bytes);
  _tile_stored(1, to + 64, y_bytes);
  _tile_stored(2, to + 16 * y_bytes, y_bytes);
  _tile_stored(3, to + 16 * y_bytes + 64, y_bytes);
}

inline void two_by_one(const Stretch* s, int count, int64_t pitch, int64_t column, const float* start,
                       int64_t start_bytes, float* y, int64_t y_bytes, Ahead& ahead) {
  if (start) {
    const char* from = reinterpret_cast<const char*>(start + column);
    _tile_loadd(0, from, start_bytes);
    _tile_loadd(2, from + 16 * start_bytes, start_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(2);
  }
  const int64_t b_bytes = pitch * 4;
  CAIRN_EACH_BLOCK(_tile_loadd(4, a, a_bytes); _tile_loadd(6, b, b_bytes); _tile_dpbf16ps(0, 4, 6);
                   _tile_loadd(5, a + 16 * a_bytes, a_bytes); _tile_dpbf16ps(2, 5, 6);)
  char* to = reinterpret_cast<char*>(y + column);
  _tile_stored(0, to, y_bytes);
  _tile_stored(2, to + 16 * y_bytes, y_bytes);
}

inline void one_by_four(const Stretch* s, int count, int64_t pitch, int64_t column, const float* start,
                        int64_t start_bytes, float* y, int64_t y_bytes, Ahead& ahead) {
  if (start) {
    const char* from = reinterpret_cast<const char*>(start + column);
    _tile_loadd(0, from, start_bytes);
    _tile_loadd(1, from + 64, start_bytes);
    _tile_loadd(2, from + 128, start_bytes);
    _tile_loadd(3, from + 192, start_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const int64_t b_bytes = pitch * 4;
  CAIRN_EACH_BLOCK(_tile_loadd(4, a, a_bytes); _tile_loadd(5, b, b_bytes); _tile_dpbf16ps(0, 4, 5);
                   _tile_loadd(6, b + 16, b_bytes); _tile_dpbf16ps(1, 4, 6); _tile_loadd(7, b + 32, b_bytes);
                   _tile_dpbf16ps(2, 4, 7); _tile_loadd(5, b + 48, b_bytes); _tile_dpbf16ps(3, 4, 5);)
  char* to = reinterpret_cast<char*>(y + column);
  _tile_stored(0, to, y_bytes);
  _tile_stored(1, to + 64, y_bytes);
  _tile_stored(2, to + 128, y_bytes);
  _tile_stored(3, to + 192, y_bytes);
}

inline void one_by_one(const Stretch* s, int count, int64_t pitch, int64_t column, const float* start,
                       int64_t start_bytes, float* y, int64_t y_bytes, Ahead& ahead) {
  if (start) {
    _tile_loadd(0, start + column, start_bytes);
  } else {
    _tile_zero(0);
  }
  const int64_t b_bytes = pitch * 4;
  CAIRN_EACH_BLOCK(_tile_loadd(4, a, a_bytes); _tile_loadd(5, b, b_bytes); _tile_dpbf16ps(0, 4, 5);)
  _tile_stored(0, y + column, y_bytes);
}
#undef CAIRN_EACH_BLOCK

// The inputs past the last block of 32, for R rows from `row` on.
template <int R, int C>
inline void add_rest(const Stretch* s, int count, int row, int64_t pitch, int64_t column, float* y, int64_t y_pitch) {
  f32v acc[R][C];
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) acc[r][c] = load(y + (row + r) * y_pitch + column + c * kLanes);
  Ahead none;
  for (int i = 0; i < count; ++i) {
    const int64_t done = s[i].lanes / 16 * 16;
    const bf16* a[R];
    for (int r = 0; r < R; ++r) a[r] = s[i].a + (row + r) * s[i].a_pitch + 2 * done;
    tile<PairLane, R, C>(a, s[i].b + done * pitch + column, pitch, s[i].lanes - done, acc, none);
  }
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) store(y + (row + r) * y_pitch + column + c * kLanes, acc[r][c]);
}

inline void add_rests(const Stretch* s, int count, int rows, int64_t pitch, int64_t columns, float* y,
                      int64_t y_pitch) {
  bool rest = false;
  for (int i = 0; i < count; ++i) rest |= s[i].lanes % 16 != 0;
  if (!rest) return;
  for (int64_t column = 0; column < columns; column += kLanes) {
    int row = 0;
    for (; row + 8 <= rows; row += 8) add_rest<8, 1>(s, count, row, pitch, column, y, y_pitch);
    for (; row < rows; ++row) add_rest<1, 1>(s, count, row, pitch, column, y, y_pitch);
  }
}

// The blocks of one or two rows without the unit, which loads tiles slower than registers where they come from memory.
// The bits are the unit's: in a block it sums the first and the second values of pairs apart, from zero.
template <int R, int C>
inline void few_blocks(const Stretch* s, int count, int64_t pitch, int64_t column, const float* start,
                       int64_t start_pitch, float* y, int64_t y_pitch, Ahead& ahead) {
  f32v acc[R][C];
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) acc[r][c] = start ? load(start + r * start_pitch + column + c * kLanes) : f32v{};
  for (int i = 0; i < count; ++i) {
    const uint32_t* b = s[i].b + column;
    for (int64_t k = 0; k + 16 <= s[i].lanes; k += 16) {
      f32v even[R][C] = {}, odd[R][C] = {};
#pragma GCC unroll 16
      for (int64_t j = 0; j < 16; ++j, b += pitch) {
        u32v w[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          w[c] = load_as<u32v>(b + c * kLanes);
          if (j * C + c < ahead.lines) __builtin_prefetch(ahead.data + (j * C + c) * 16, 0, 2);
        }
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) {
          const u32v x = splat_lane(s[i].a + r * s[i].a_pitch + 2 * (k + j));
          const f32v first = (f32v)(x << 16), second = (f32v)(x & 0xffff0000u);
#pragma GCC unroll 4
          for (int c = 0; c < C; ++c) {
            even[r][c] += first * (f32v)(w[c] << 16);
            odd[r][c] += second * (f32v)(w[c] & 0xffff0000u);
          }
        }
      }
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) acc[r][c] += even[r][c] + odd[r][c];
      ahead.data += 16 * ahead.lines;
    }
  }
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) store(y + r * y_pitch + column + c * kLanes, acc[r][c]);
}

template <int R>
inline void few(const Stretch* s, int count, int64_t pitch, int64_t columns, const float* start, int64_t start_pitch,
                float* y, int64_t y_pitch, Ahead& ahead) {
  int64_t column = 0;
  for (; column + 64 <= columns; column += 64)
    few_blocks<R, 4>(s, count, pitch, column, start, start_pitch, y, y_pitch, ahead);
  for (; column < columns; column += 16)
    few_blocks<R, 1>(s, count, pitch, column, start, start_pitch, y, y_pitch, ahead);
}

// y (rows, y_pitch) = start + the sum of `count` stretches, for `columns` columns, a multiple of 16. Lanes of the
// panels are `pitch` apart. At most 32 rows. `start` may be y.
inline void multiply(Tiles& tiles, const Stretch* s, int count, int rows, int64_t pitch, int64_t columns,
                     const float* start, int64_t start_pitch, float* y, int64_t y_pitch, Ahead ahead) {
  if (rows <= 2) {
    if (rows == 1)
      few<1>(s, count, pitch, columns, start, start_pitch, y, y_pitch, ahead);
    else
      few<2>(s, count, pitch, columns, start, start_pitch, y, y_pitch, ahead);
    return add_rests(s, count, rows, pitch, columns, y, y_pitch);
  }
  asm volatile("" ::: "memory");  // the loads of tiles do not tell the compiler what they read
  tiles.shape(rows);
  const int64_t start_bytes = start_pitch * 4, y_bytes = y_pitch * 4;
  int64_t column = 0;
  if (rows > 16) {
    for (; column + 32 <= columns; column += 32)
      two_by_two(s, count, pitch, column, start, start_bytes, y, y_bytes, ahead);
    if (column < columns) two_by_one(s, count, pitch, column, start, start_bytes, y, y_bytes, ahead);
  } else {
    for (; column + 64 <= columns; column += 64)
      one_by_four(s, count, pitch, column, start, start_bytes, y, y_bytes, ahead);
    for (; column < columns; column += 16) one_by_one(s, count, pitch, column, start, start_bytes, y, y_bytes, ahead);
  }
  add_rests(s, count, rows, pitch, columns, y, y_pitch);
}

}  // namespace cairn::ops::cpu::CAIRN_ISA
#endif
