// Products of inputs and packed weights, with what follows them done on the results while they are in the cache.
#include "ops/cpu/amx.h"
#include "ops/cpu/epilogue.h"
#include "ops/cpu/tables.h"

namespace cairn::ops::cpu::CAIRN_ISA {
namespace {

// What stays in the caches. The matrix unit is so fast that rows must be read for several panels at once, too.
struct Blocking {
  int64_t lanes;        // of a panel, while rows pass: 128 KiB of the second-level cache, or 32 of the first
  int64_t strip;        // rows whose sums wait where a result takes more than one pass over a panel
  int64_t round_bytes;  // of inputs, read from the last-level cache by all panels
  int64_t members;      // panels that many rows pass together
};
template <class L>
constexpr Blocking kBlocking =
    std::is_same_v<L, MatrixLane> ? Blocking{128, 256, 32 << 20, 4} : Blocking{512, 96, 8 << 20, 1};

constexpr int64_t kAhead = 1024;   // lanes of a panel, 4 KiB

int64_t divided(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How a product is cut. A group is the panels that an epilogue must see together: whole heads, or gate and up.
struct Plan {
  explicit Plan(const Product& p) : product(p) {
    const Packed& w = *p.weights[0];
    const Blocking& fit = w.type == Type::kF32 ? kBlocking<SingleLane> : kBlocking<Bf16Lane>;
    rows = p.batches * p.tokens;
    members = p.weights[1] ? 2 : rows > fit.strip && p.epilogue.kind != Epilogue::kHeads ? fit.members : 1;
    if (p.epilogue.kind == Epilogue::kHeads)
      while (members * kPanel % p.epilogue.head_dim) ++members;
    groups = p.weights[1] ? w.panels() : divided(w.panels(), members);
    blocks = divided(w.lanes, fit.lanes);
    block_lanes = divided(divided(w.lanes, blocks), 16) * 16;
    strip = members * blocks > 1 ? fit.strip : INT64_MAX;
    const int64_t most = fit.round_bytes / (w.lanes * 4) / fit.strip * fit.strip;
    round_rows = rows <= most + most / 2 ? rows : most < fit.strip ? fit.strip : most;
  }
  int64_t panels_of(int64_t group) const {
    return product.weights[1] ? 2 : lesser(members, product.weights[0]->panels() - group * members);
  }
  const uint32_t* panel(int64_t group, int64_t member) const {
    return product.weights[1] ? product.weights[member]->panel(group)
                              : product.weights[0]->panel(group * members + member);
  }
  const float* bias(int64_t group, int64_t member) const {
    return product.weights[1] ? product.weights[member]->bias + group * kPanel
                              : product.weights[0]->bias + (group * members + member) * kPanel;
  }
  int64_t rows_in(int64_t round) const {
    const int64_t left = rows - round * round_rows;
    return left < 0 ? 0 : lesser(left, round_rows);
  }

  const Product& product;
  int64_t members, groups, rows, blocks, block_lanes, strip, round_rows;
};

// The parts of the inputs, one by one, that meet lanes [begin, end) of a panel.
struct Span {
  Span(const Product& p, int64_t values, int64_t begin, int64_t end)
      : p_(p), values_(values), begin_(begin), stop_(end) {}
  // Goes on to the next input; false after the last.
  bool next() {
    if (++i_ >= p_.input_count) return false;
    start_ = end_;
    end_ += p_.inputs[i_].width / values_;
    from = start_ > begin_ ? start_ : begin_;
    lanes = lesser(end_, stop_) - from;
    offset = (from - start_) * values_;
    return true;
  }
  const Rows& input() const { return p_.inputs[i_]; }
  int64_t from = 0, lanes = 0, offset = 0;  // in the panel, in lanes; in a row of the input, in values

 private:
  const Product& p_;
  int64_t values_, begin_, stop_, i_ = -1, start_ = 0, end_ = 0;
};

// Multiplies some rows with a panel in registers.
template <class L>
class Multiplier {
 public:
  static int rows_at_once(const Product&, int64_t, int64_t left) {
    const int64_t blocks = divided(left, kBlockRows<L>);
    return static_cast<int>(divided(left, blocks));  // no small block at the end: each reads the whole panel
  }

  // How often `ahead` is followed, over `lanes` lanes.
  static int64_t steps(int64_t lanes, int64_t) { return lanes / 4 + !(lanes / 4); }

  // `lanes` lanes of one panel from lane `first` on, for `rows` rows: y (rows, pitch) starts as bias (y itself where
  // null).
  void operator()(int rows, const Product& p, int64_t row, const uint32_t* panel, int64_t first, int64_t lanes,
                  const float* bias, float* y, int64_t pitch, Ahead ahead) {
    const Place at(p, row, rows);
    switch (rows) {
      case 6:
        return multiply<6>(p, at, panel, first, lanes, bias, y, pitch, ahead);
      case 5:
        return multiply<5>(p, at, panel, first, lanes, bias, y, pitch, ahead);
      case 4:
        return multiply<4>(p, at, panel, first, lanes, bias, y, pitch, ahead);
      case 3:
        return multiply<3>(p, at, panel, first, lanes, bias, y, pitch, ahead);
      case 2:
        return multiply<2>(p, at, panel, first, lanes, bias, y, pitch, ahead);
      default:
        return multiply<1>(p, at, panel, first, lanes, bias, y, pitch, ahead);
    }
  }

 private:
  template <int R>
  static void multiply(const Product& p, const Place& at, const uint32_t* panel, int64_t first, int64_t lanes,
                       const float* bias, float* y, int64_t pitch, Ahead ahead) {
    constexpr int C = kTileVectors<R>, kColumns = C * kLanes;
    using Input = typename L::Input;
    for (int64_t column = 0; column < kPanel; column += kColumns) {
      f32v acc[R][C];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) acc[r][c] = load((bias ? bias : y + r * pitch) + column + c * kLanes);
      if (column) ahead.lines = 0;
      for (Span span(p, L::kValues, first, first + lanes); span.next();) {
        if (span.lanes <= 0) continue;
        const Input* a[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) a[r] = row_of<const Input>(span.input(), at, r) + span.offset;
        tile<L, R, C>(a, panel + span.from * kPanel + column, kPanel, span.lanes, acc, ahead);
      }
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) store(y + r * pitch + column + c * kLanes, acc[r][c]);
    }
  }
};

#if defined(__AMX_BF16__)
// The same on the matrix unit.
template <>
class Multiplier<MatrixLane> {
 public:
  // Tiles take rows that are the same distance apart; where batches have gaps between them, the rows of one batch.
  static int rows_at_once(const Product& p, int64_t row, int64_t left) {
    bool even = true;
    for (int64_t i = 0; i < p.input_count; ++i) even &= p.inputs[i].batch_stride == p.tokens * p.inputs[i].row_stride;
    if (p.batches > 1 && p.tokens > 1 && !even) left = lesser(left, p.tokens - row % p.tokens);
    return static_cast<int>(lesser(left, kBlockRows<MatrixLane>));
  }

  static int64_t steps(int64_t lanes, int64_t rows) { return (rows > 16 ? 2 : 1) * (lanes / 16) + !(lanes / 16); }

  void operator()(int rows, const Product& p, int64_t row, const uint32_t* panel, int64_t first, int64_t lanes,
                  const float* bias, float* y, int64_t pitch, Ahead ahead) {
    const Place at(p, row, 1);
    Stretch parts[kMaxInputs];
    int count = 0;
    for (Span span(p, 2, first, first + lanes); span.next();) {
      const Rows& x = span.input();
      if (span.lanes > 0)
        parts[count++] = {row_of<const bf16>(x, at, 0) + span.offset,
                          p.tokens == 1 && p.batches > 1 ? x.batch_stride : x.row_stride, panel + span.from * kPanel,
                          span.lanes};
    }
    multiply(tiles_, parts, count, rows, kPanel, kPanel, bias ? bias : y, bias ? 0 : pitch, y, pitch, ahead);
  }

 private:
  Tiles tiles_;
};
#endif

// Spreads the reading of `lines` cache lines over row blocks of a panel, so that they arrive during the sums.
class Prefetch {
 public:
  Prefetch(const uint32_t* data, int64_t lines, int64_t row_blocks, int64_t steps)
      : next_(data), end_(data + lines * 16), per_step_(divided(lines, row_blocks * steps)), steps_(steps) {}
  Ahead block() {
    if (next_ >= end_) return {};
    const Ahead ahead{next_, per_step_};
    next_ += per_step_ * steps_ * 16;
    return ahead;
  }

 private:
  const uint32_t *next_, *end_;
  int64_t per_step_, steps_;
};

// All of one group for rows [begin, end). `then` is the panel that this worker reads next, null for none.
template <class L>
void run_group(const Plan& plan, int64_t group, int64_t begin, int64_t end, const uint32_t* then) {
  const Product& p = plan.product;
  const int64_t members = plan.panels_of(group), lanes = p.weights[0]->lanes, pitch = plan.members * kPanel;
  const bool keep = plan.members * plan.blocks > 1;
  alignas(64) float near[kBlockRows<L> * kPanel];
  float* sums = keep ? static_cast<float*>(scratch(lesser(plan.strip, end - begin) * pitch * 4)) : near;
  Multiplier<L> multiply;
  for (int64_t strip = begin; strip < end; strip += plan.strip) {
    const int64_t last = plan.strip < end - strip ? strip + plan.strip : end;
    for (int64_t k = 0; k < lanes; k += plan.block_lanes) {
      const int64_t depth = lesser(plan.block_lanes, lanes - k);
      for (int64_t m = 0; m < members; ++m) {
        const bool final = k + depth == lanes && m + 1 == members;
        const uint32_t* next = m + 1 < members ? plan.panel(group, m + 1) + k * kPanel
                               : !final        ? plan.panel(group, 0) + (k + depth) * kPanel
                               : last < end    ? plan.panel(group, 0)
                                               : then;
        // One block of rows reads each line once, in order. From a cache the processor foresees that by itself, but not
        // from memory, nor for its matrix unit: what is asked for is a little ahead, in this panel and then in the
        // next, which follows it.
        if (last - strip <= kBlockRows<L>)
          next = p.far || (kHasMatrix && last - strip > 2) ? plan.panel(group, m) + k * kPanel + kAhead : nullptr;
        Prefetch prefetch(next, next ? lesser(depth, lanes) * 4 : 0, divided(last - strip, kBlockRows<L>),
                          Multiplier<L>::steps(depth, last - strip));
        for (int64_t row = strip; row < last;) {
          const int n = Multiplier<L>::rows_at_once(p, row, last - row);
          float* y = keep ? sums + (row - strip) * pitch : near;
          multiply(n, p, row, plan.panel(group, m), k, depth, k ? nullptr : plan.bias(group, m), y + m * kPanel, pitch,
                   prefetch.block());
          if (final)
            for (int r = 0; r < n; r += Place::kRows) {
              const int some = n - r < Place::kRows ? n - r : Place::kRows;
              finish(p.epilogue, Place(p, row + r, some), some, y + r * pitch, pitch, group * pitch, members);
            }
          row += n;
        }
      }
    }
    if (end - strip <= plan.strip) break;
  }
}

void run_group(const Plan& plan, int64_t group, int64_t begin, int64_t end, const uint32_t* then) {
  if (plan.product.weights[0]->type == Type::kF32)
    run_group<SingleLane>(plan, group, begin, end, then);
  else
    run_group<Bf16Lane>(plan, group, begin, end, then);
}

int block_rows(const Product& p) {
  return p.weights[0]->type == Type::kF32 ? kBlockRows<SingleLane> : kBlockRows<Bf16Lane>;
}

// Work in one round of one product: its groups, each cut into `parts` of rows where there are few groups.
struct Share {
  Share(const Plan& plan, int64_t round, int workers) : rows(plan.rows_in(round)) {
    const int64_t block = block_rows(plan.product);
    while (plan.groups * parts < 4 * workers && plan.groups * parts % workers && rows / (parts + 1) >= 2 * block)
      ++parts;
    part_rows = divided(divided(rows, parts), block) * block;
    cost = plan.groups * plan.members * rows * plan.product.weights[0]->lanes;
  }
  int64_t rows, parts = 1, part_rows, cost;
};

}  // namespace

// Rounds one after the other; within a round, each worker takes a stretch of all products' groups in order, about
// equal in work. Nobody waits: products of one call must not read each other's results.
void products(const Product* jobs, int64_t count, Worker worker) {
  for (int64_t round = 0;; ++round) {
    int64_t total = 0;
    for (int64_t j = 0; j < count; ++j) total += Share(Plan(jobs[j]), round, worker.count).cost;
    if (total == 0) return;
    const int64_t from = total * worker.id / worker.count, to = total * (worker.id + 1) / worker.count;
    int64_t done = 0;
    for (int64_t j = 0; j < count; ++j) {
      const Plan plan(jobs[j]);
      const Share share(plan, round, worker.count);
      if (share.rows == 0) continue;
      const int64_t tasks = plan.groups * share.parts;
      // A task belongs to the worker in whose stretch its middle lies.
      const auto mine = [&](int64_t task) {
        const int64_t middle = done + share.cost * (2 * task + 1) / (2 * tasks);
        return task < tasks && from <= middle && middle < to;
      };
      for (int64_t task = 0; task < tasks; ++task) {
        if (!mine(task)) continue;
        const int64_t group = task / share.parts, first = round * plan.round_rows,
                      part = task % share.parts * share.part_rows;
        if (part >= share.rows) continue;
        const bool on = share.parts == 1 && mine(task + 1);
        run_group(plan, group, first + part, first + lesser(part + share.part_rows, share.rows),
                  on ? plan.panel(group + 1, 0) : nullptr);
      }
      done += share.cost;
    }
  }
}

}  // namespace cairn::ops::cpu::CAIRN_ISA
