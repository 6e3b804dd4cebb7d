// Convolutions from the register tile. A tile of the picture is normalised into a scratch with a border of zeros; there
// the taps of one row of a filter are one contiguous run, and neighbouring output pixels are rows of a matrix whose
// leading dimension is the number of channels. So a convolution is one product per row of the filter, added up.
#include "ops/cpu/conv.h"

#include "ops/cpu/amx.h"
#include "ops/cpu/tables.h"
#include "ops/cpu/tile.h"

namespace cairn::ops::cpu::CAIRN_ISA {
namespace {

// Bytes of normalised input that a worker keeps at hand: a part of the second-level cache, beside a panel of weights.
constexpr int64_t kTileBytes = 256 << 10;
constexpr int64_t kFewestRows = 4;  // of outputs; fewer would norm their borders too often

struct Range {
  int64_t from, to;
};
Range share(int64_t n, Worker w) { return {n * w.id / w.count, n * (w.id + 1) / w.count}; }
int64_t divided(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <int V>
void add_row(const float* x, int64_t pixels, int64_t channels, int64_t lanes, const float* pivot, double* sums) {
  f32v s[V] = {}, q[V] = {}, first[V];
  for (int v = 0; v < V; ++v) first[v] = load(pivot + v * kLanes, lanes - v * kLanes);
  for (int64_t i = 0; i < pixels; ++i, x += channels)
    for (int v = 0; v < V; ++v) {
      const f32v d = load(x + v * kLanes, lanes - v * kLanes) - first[v];
      s[v] += d;
      q[v] += d * d;
    }
  for (int v = 0; v < V; ++v)
    for (int64_t i = 0; i < kLanes && v * kLanes + i < lanes; ++i) {
      sums[v * kLanes + i] += static_cast<double>(s[v][i]);
      sums[channels + v * kLanes + i] += static_cast<double>(q[v][i]);
    }
}

// `count` pixels of x, normalised, to pixels of `pitch` values.
template <class T, bool Affinely, bool Silu>
void fill(const float* x, int64_t count, int64_t channels, const float* scale, const float* shift, T* to,
          int64_t pitch) {
  const int64_t whole = channels / kLanes * kLanes;
  for (int64_t i = 0; i < count; ++i, x += channels, to += pitch) {
    const auto value = [&](f32v v, int64_t c, int64_t n) {
      if constexpr (Affinely) v = v * load(scale + c, n) + load(shift + c, n);
      if constexpr (Silu) v = silu(v);
      return v;
    };
    for (int64_t c = 0; c < whole; c += kLanes) store(to + c, value(load(x + c), c, kLanes));
    if (whole < channels)
      store(to + whole, value(load(x + whole, channels - whole), whole, channels - whole), channels - whole);
    for (int64_t c = channels; c < pitch; ++c) to[c] = T{};
  }
}

template <class T>
void fill(const Picture& x, const Affine& a, int64_t n, int64_t y, int64_t left, int64_t count, T* to, int64_t pitch) {
  const float* from = x.row(n, y) + left * x.channels;
  if (!a.scale) return fill<T, false, false>(from, count, x.channels, nullptr, nullptr, to, pitch);
  const float *scale = a.scale + n * x.channels, *shift = a.shift + n * x.channels;
  if (a.silu) return fill<T, true, true>(from, count, x.channels, scale, shift, to, pitch);
  fill<T, true, false>(from, count, x.channels, scale, shift, to, pitch);
}

// The outputs of one tile: pixels [top, top + rows) x [left, left + columns) of picture n, and its scratch.
template <class Input>
struct Tile {
  int64_t n, top, left, rows, columns;
  Input* scratch;
  int64_t row_pitch;
};

// How a convolution is cut into tiles.
struct Plan {
  Plan(const Convolution& c, int64_t value_bytes, int64_t block, int workers) : conv(c), filter(c.filters[0]) {
    const bool doubling = c.filter_count > 1;
    step = doubling ? 2 : 1;
    reach_y = filter.height + step - 1;
    reach_x = filter.width + step - 1;
    height = c.out_height / step;
    width = c.out_width / step;
    const auto bytes = [&](int64_t h, int64_t w) {
      return ((h - 1) * c.stride + reach_y) * ((w - 1) * c.stride + reach_x) * filter.pitch * value_bytes;
    };
    rows = lesser(kFewestRows, height);
    columns = width;
    while (columns > 2 * block && bytes(rows, columns) > kTileBytes) columns = divided(columns / 2, block) * block;
    while (rows < height && bytes(rows + 1, columns) <= kTileBytes) ++rows;
    across = divided(width, columns);
    down = divided(height, rows);
    while (c.x.batches * across * down % workers && down < height) ++down;
    rows = divided(height, down);
    down = divided(height, rows);
    scratch_bytes = bytes(rows, columns);
  }
  int64_t tiles() const { return conv.x.batches * across * down; }

  const Convolution& conv;
  const Filter& filter;
  int64_t step, reach_y, reach_x, height, width;  // step: outputs per pixel of the grid, along a side
  int64_t rows, columns, across, down, scratch_bytes;
};

template <class Input>
void prepare(const Plan& plan, const Tile<Input>& t) {
  const Convolution& c = plan.conv;
  const int64_t pitch = plan.filter.pitch, wide = (t.columns - 1) * c.stride + plan.reach_x;
  const int64_t x0 = t.left * c.stride - c.pad_before, y0 = t.top * c.stride - c.pad_before;
  const int64_t before = x0 < 0 ? lesser(-x0, wide) : 0, end = lesser(wide, c.x.width - x0);
  const int64_t valid = end > before ? end - before : 0;
  for (int64_t r = 0; r < (t.rows - 1) * c.stride + plan.reach_y; ++r) {
    Input* row = t.scratch + r * t.row_pitch;
    const int64_t y = y0 + r;
    const bool inside = y >= 0 && y < c.x.height && valid > 0;
    const int64_t from = inside ? before : wide;
    std::memset(static_cast<void*>(row), 0, static_cast<size_t>(from * pitch) * sizeof(Input));
    if (!inside) continue;
    fill(c.x, c.norm, t.n, y, x0 + before, valid, row + before * pitch, pitch);
    std::memset(static_cast<void*>(row + (before + valid) * pitch), 0,
                static_cast<size_t>((wide - before - valid) * pitch) * sizeof(Input));
  }
}

// R neighbouring outputs, of which C vectors of channels from `channel` on. `at` is the first tap of the first.
template <class L, int R, int C>
void block(const Convolution& conv, const Filter& f, const typename L::Input* at, int64_t row_pitch, const uint32_t* w,
           int64_t channel, int64_t out, int64_t step) {
  f32v acc[R][C];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = load(f.bias + channel + c * kLanes);
  for (int64_t ky = 0; ky < f.height; ++ky, w += f.lanes * f.panel, at += row_pitch) {
    const typename L::Input* a[R];
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) a[r] = at + r * conv.stride * f.pitch;
    Ahead none;
    tile<L, R, C>(a, w, f.panel, f.lanes, acc, none);
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const int64_t to = (out + r * step) * f.out + channel + c * kLanes, n = f.out - channel - c * kLanes;
      store(conv.out + to, conv.residual ? acc[r][c] + load(conv.residual + to, n) : acc[r][c], n);
    }
}

// The outputs of one filter in one tile, C vectors of channels at a time.
template <class L, int R, int C>
void run(const Plan& plan, const Tile<typename L::Input>& t, int64_t phase) {
  const Convolution& conv = plan.conv;
  const Filter& f = conv.filters[phase];
  const int64_t dy = phase / 2, dx = phase % 2, pixel = conv.stride * f.pitch;
  for (int64_t channel = 0; channel < f.out; channel += C * kLanes) {
    const uint32_t* w = f.panel_data(channel / f.panel) + channel % f.panel;
    for (int64_t y = 0; y < t.rows; ++y) {
      const typename L::Input* at = t.scratch + (y * conv.stride + dy) * t.row_pitch + dx * f.pitch;
      const int64_t out =
          (t.n * conv.out_height + (t.top + y) * plan.step + dy) * conv.out_width + t.left * plan.step + dx;
      int64_t x = 0;
      const auto some = [&](auto count) {
        constexpr int kCount = decltype(count)::value;
        for (; x + kCount <= t.columns; x += kCount)
          block<L, kCount, C>(conv, f, at + x * pixel, t.row_pitch, w, channel, out + x * plan.step, plan.step);
      };
      some(std::integral_constant<int, R>());
      some(std::integral_constant<int, 4>());
      some(std::integral_constant<int, 1>());
    }
  }
}

template <class L>
void run(const Plan& plan, const Tile<typename L::Input>& t, int64_t phase) {
  if constexpr (kLanes < 16) {
    run<L, 6, kRegisters == 32 ? 4 : 2>(plan, t, phase);
  } else {
    switch (plan.filter.panel) {
      case 64:
        return run<L, 6, 4>(plan, t, phase);
      case 48:
        return run<L, 8, 3>(plan, t, phase);
      case 32:
        return run<L, 8, 2>(plan, t, phase);
      default:
        return run<L, 8, 1>(plan, t, phase);
    }
  }
}

#if defined(__AMX_BF16__)
// The same on the matrix unit: up to 32 neighbouring outputs, of all channels of a panel.
template <>
void run<MatrixLane>(const Plan& plan, const Tile<bf16>& t, int64_t phase) {
  constexpr int64_t kRows = kBlockRows<MatrixLane>, kMaxHeight = 16;
  const Convolution& conv = plan.conv;
  const Filter& f = conv.filters[phase];
  const int64_t dy = phase / 2, dx = phase % 2, pixel = conv.stride * f.pitch;
  alignas(64) float sums[kRows * kPanel];
  Tiles tiles;
  for (int64_t p = 0; p < f.panels(); ++p)
    for (int64_t y = 0; y < t.rows; ++y) {
      const bf16* at = t.scratch + (y * conv.stride + dy) * t.row_pitch + dx * f.pitch;
      const int64_t out =
          (t.n * conv.out_height + (t.top + y) * plan.step + dy) * conv.out_width + t.left * plan.step + dx;
      for (int64_t x = 0; x < t.columns; x += kRows) {
        const int rows = static_cast<int>(lesser(kRows, t.columns - x));
        const float* start = f.bias + p * f.panel;
        int64_t start_pitch = 0;
        for (int64_t ky = 0; ky < f.height; ky += kMaxHeight) {
          Stretch s[kMaxHeight];
          int count = 0;
          for (int64_t i = ky; i < f.height && count < kMaxHeight; ++i)
            s[count++] = {at + x * pixel + i * t.row_pitch, pixel, f.panel_data(p) + i * f.lanes * f.panel, f.lanes};
          multiply(tiles, s, count, rows, f.panel, f.panel, start, start_pitch, sums, f.panel, {});
          start = sums, start_pitch = f.panel;
        }
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t to = (out + (x + r) * plan.step) * f.out + p * f.panel;
          const int64_t channels = lesser(f.panel, f.out - p * f.panel);
          for (int64_t c = 0; c < channels; c += kLanes) {
            const f32v sum = load(sums + r * f.panel + c);
            store(conv.out + to + c, conv.residual ? sum + load(conv.residual + to + c, channels - c) : sum,
                  channels - c);
          }
        }
      }
    }
}
#endif

template <class L>
void convolve(const Convolution& c, Worker worker) {
  using Input = typename L::Input;
  // Outputs that run() takes at once, or a common multiple of them.
  constexpr int64_t kBlock = std::is_same_v<L, MatrixLane> ? kBlockRows<L> : 24;
  const Plan plan(c, sizeof(Input), kBlock, worker.count);
  Tile<Input> t;
  t.scratch = static_cast<Input*>(scratch(plan.scratch_bytes));
  const Range mine = share(plan.tiles(), worker);
  for (int64_t i = mine.from; i < mine.to; ++i) {
    t.n = i / (plan.down * plan.across);
    t.top = i / plan.across % plan.down * plan.rows;
    t.left = i % plan.across * plan.columns;
    t.rows = lesser(plan.rows, plan.height - t.top);
    t.columns = lesser(plan.columns, plan.width - t.left);
    t.row_pitch = ((t.columns - 1) * c.stride + plan.reach_x) * plan.filter.pitch;
    prepare(plan, t);
    for (int64_t phase = 0; phase < c.filter_count; ++phase) run<L>(plan, t, phase);
  }
}

}  // namespace

void statistics(const Statistics& job, Worker worker) {
  const Picture& x = job.x;
  const int64_t c = x.channels;
  const Range mine = share(x.batches * x.height, worker);
  double* all = job.sums + worker.id * x.batches * 2 * c;
  std::memset(all, 0, static_cast<size_t>(x.batches * 2 * c) * sizeof(double));
  for (int64_t i = mine.from; i < mine.to; ++i) {
    const int64_t n = i / x.height;
    const float *row = x.row(n, i % x.height), *first = x.row(n, 0);
    double* sums = all + n * 2 * c;
    int64_t at = 0;
    for (; at + 4 * kLanes <= c; at += 4 * kLanes) add_row<4>(row + at, x.width, c, 4 * kLanes, first + at, sums + at);
    for (; at + 2 * kLanes <= c; at += 2 * kLanes) add_row<2>(row + at, x.width, c, 2 * kLanes, first + at, sums + at);
    for (; at < c; at += kLanes) add_row<1>(row + at, x.width, c, lesser(kLanes, c - at), first + at, sums + at);
  }
}

void normalize(const Normalize& job, Worker worker) {
  const Picture& x = job.x;
  const Range mine = share(x.batches * x.height, worker);
  with_type(job.type, [&](auto value) {
    using T = decltype(value);
    for (int64_t i = mine.from; i < mine.to; ++i)
      fill(x, job.norm, i / x.height, i % x.height, 0, x.width, static_cast<T*>(job.out) + i * x.width * x.channels,
           x.channels);
  });
}

void convolve(const Convolution& c, Worker worker) {
  if (c.filters[0].type == Type::kF32)
    convolve<SingleLane>(c, worker);
  else if (c.wide)
    convolve<WidePairLane>(c, worker);
  else
    convolve<Bf16Lane>(c, worker);
}

const VisionKernels vision_kernels{statistics, normalize, convolve};

}  // namespace cairn::ops::cpu::CAIRN_ISA
