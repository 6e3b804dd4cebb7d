// Attention over sequences whose scores of a few queries fit the first-level cache. Keys and values are laid out as
// the right-hand sides of the two products, once per head.
#include "ops/cpu/amx.h"
#include "ops/cpu/tables.h"
#include "ops/cpu/tile.h"

namespace cairn::ops::cpu::CAIRN_ISA {
namespace {

// The left factor of a product: rows `pitch` values apart.
template <class Input>
struct Left {
  const Input* data;
  int64_t pitch;
};

// y (rows, y_pitch) = a B for `columns` columns, a multiple of 16; lanes of B are `pitch` apart.
template <class L>
class Multiplier {
 public:
  using Input = typename L::Input;

  static int rows_at_once(int64_t left) {
    return left >= kBlockRows<L> ? kBlockRows<L> : left >= 4 ? 4 : left >= 2 ? 2 : 1;
  }

  void operator()(int rows, Left<Input> a, const uint32_t* b, int64_t pitch, int64_t lanes, int64_t columns, float* y,
                  int64_t y_pitch) {
    switch (rows) {
      case 6:
        return multiply<6>(a, b, pitch, lanes, columns, y, y_pitch);
      case 4:
        return multiply<4>(a, b, pitch, lanes, columns, y, y_pitch);
      case 2:
        return multiply<2>(a, b, pitch, lanes, columns, y, y_pitch);
      default:
        return multiply<1>(a, b, pitch, lanes, columns, y, y_pitch);
    }
  }

 private:
  template <int R>
  static void multiply(Left<Input> left, const uint32_t* b, int64_t pitch, int64_t lanes, int64_t columns, float* y,
                       int64_t y_pitch) {
    const Input* a[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) a[r] = left.data + r * left.pitch;
    Ahead none;
    const auto part = [&]<int C>(int64_t column) {
      f32v acc[R][C] = {};
      tile<L, R, C>(a, b + column, pitch, lanes, acc, none);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) store(y + r * y_pitch + column + c * kLanes, acc[r][c]);
    };
    constexpr int kWide = kRegisters == 32 ? 4 : 2;
    int64_t column = 0;
    for (; column + kWide * kLanes <= columns; column += kWide * kLanes) part.template operator()<kWide>(column);
    for (; column + 2 * kLanes <= columns; column += 2 * kLanes) part.template operator()<2>(column);
    for (; column < columns; column += kLanes) part.template operator()<1>(column);
  }
};

#if defined(__AMX_BF16__)
template <>
class Multiplier<MatrixLane> {
 public:
  static int rows_at_once(int64_t left) { return static_cast<int>(lesser(left, kBlockRows<MatrixLane>)); }

  void operator()(int rows, Left<bf16> a, const uint32_t* b, int64_t pitch, int64_t lanes, int64_t columns, float* y,
                  int64_t y_pitch) {
    const Stretch all{a.data, a.pitch, b, lanes};
    multiply(tiles_, &all, 1, rows, pitch, columns, nullptr, 0, y, y_pitch, {});
  }

 private:
  Tiles tiles_;
};
#endif

template <class T>
const T* at(const Attention::Heads& h, int64_t batch, int64_t token, int64_t head) {
  return static_cast<const T*>(h.data) + batch * h.batch + token * h.token + head * h.head;
}

// One head's memory. In is the type of the tensors, L::Input that of the products' left-hand sides, which differs
// where bf16 must be widened.
template <class In, class L>
class Head {
 public:
  using Input = typename L::Input;
  static constexpr int kValues = L::kValues;

  explicit Head(const Attention& a)
      : a_(a), key_panels_((a.keys + kPanel - 1) / kPanel), score_pitch_(key_panels_ * kPanel) {
    const int64_t d = a.head_dim, values = score_pitch_ * d * sizeof(Input);
    auto* memory = static_cast<char*>(
        scratch(2 * values + kBlockRows<L> * (score_pitch_ * (4 + sizeof(Input)) + d * (4 + sizeof(Input)))));
    const auto take = [&](int64_t bytes) { return std::exchange(memory, memory + bytes); };
    keys_ = reinterpret_cast<Input*>(take(values));
    values_ = reinterpret_cast<Input*>(take(values));
    scores_ = reinterpret_cast<float*>(take(kBlockRows<L> * score_pitch_ * 4));
    weights_ = reinterpret_cast<Input*>(take(kBlockRows<L> * score_pitch_ * static_cast<int64_t>(sizeof(Input))));
    result_ = reinterpret_cast<float*>(take(kBlockRows<L> * d * 4));
    queries_ = reinterpret_cast<Input*>(memory);
  }

  // Keys to panels of kPanel keys, each [d / kValues][kPanel] lanes; values to [keys / kValues][d] lanes.
  void open(int64_t batch, int64_t head) {
    batch_ = batch, head_ = head;
    const int64_t d = a_.head_dim;
    int64_t s = 0;
    if constexpr (std::is_same_v<In, Input>)
      for (; s + 4 <= a_.keys; s += 4) {  // four keys never part at a panel's end
        const In* k[4] = {at<In>(a_.k, batch, s, head), at<In>(a_.k, batch, s + 1, head),
                          at<In>(a_.k, batch, s + 2, head), at<In>(a_.k, batch, s + 3, head)};
        put_four(k, reinterpret_cast<uint32_t*>(keys_) + s / kPanel * kPanel * (d / kValues) + s % kPanel);
      }
    for (; s < a_.keys; ++s) {
      const In* k = at<In>(a_.k, batch, s, head);
      Input* to = keys_ + s / kPanel * kPanel * d + s % kPanel * kValues;
      if constexpr (std::is_same_v<In, Input>) {
        for (int64_t i = 0; i < d; i += kValues) std::memcpy(to + i * kPanel, k + i, 4);
      } else {
        for (int64_t i = 0; i < d; ++i) to[i * kPanel] = widen(k[i]);
      }
    }
    const int64_t groups = (a_.keys + kValues - 1) / kValues;
    for (int64_t g = 0; g < groups; ++g) {
      Input* to = values_ + g * kValues * d;
      const In* v = at<In>(a_.v, batch, g * kValues, head);
      if constexpr (kValues == 1) {
        for (int64_t i = 0; i < d; i += kLanes) store(to + i, load(v + i));
      } else {
        const bool second = g * kValues + 1 < a_.keys;
        const In* next = second ? at<In>(a_.v, batch, g * kValues + 1, head) : v;
        for (int64_t i = 0; i < d; i += kLanes) {
          const u32v low = __builtin_convertvector(load_as<u16v>(v + i), u32v);
          const u32v high = __builtin_convertvector(load_as<u16v>(next + i), u32v);
          const u32v both = second ? low | high << 16 : low;
          std::memcpy(static_cast<void*>(to + i * kValues), &both, sizeof both);
        }
      }
    }
  }

  // The rows that attend() takes of `left`.
  static int rows_at_once(int64_t left) { return Multiplier<L>::rows_at_once(left); }

  void attend(int64_t token, int rows) {
    const int64_t d = a_.head_dim, lanes = d / kValues;
    const int64_t seen = a_.causal ? lesser(a_.keys, token + rows) : a_.keys;
    const Left<Input> q = queries(token, rows);
    for (int64_t key = 0; key < seen; key += kPanel) {
      const int64_t columns = lesser((seen - key + 15) / 16 * 16, kPanel);
      multiply_(rows, q, reinterpret_cast<const uint32_t*>(keys_ + key * d), kPanel, lanes, columns, scores_ + key,
                score_pitch_);
    }
    float total[kBlockRows<L>];
    for (int r = 0; r < rows; ++r) total[r] = soften(token + r, r, seen);
    multiply_(rows, {weights_, score_pitch_}, reinterpret_cast<const uint32_t*>(values_), d,
              (seen + kValues - 1) / kValues, d, result_, d);
    for (int r = 0; r < rows; ++r) {
      In* to = static_cast<In*>(a_.out) + ((batch_ * a_.tokens + token + r) * a_.heads + head_) * d;
      const float part = 1 / total[r];
      for (int64_t i = 0; i < d; i += kLanes) store(to + i, load(result_ + r * d + i) * part);
    }
  }

 private:
  // Four keys to four neighbouring columns of a panel: squares of 4 x 4 lanes, turned.
  void put_four(const In* const (&k)[4], uint32_t* to) const {
    using Four = uint32_t __attribute__((vector_size(16)));
    for (int64_t i = 0; i < a_.head_dim; i += 4 * kValues, to += 4 * kPanel) {
      const Four a = load_as<Four>(k[0] + i), b = load_as<Four>(k[1] + i), c = load_as<Four>(k[2] + i),
                 e = load_as<Four>(k[3] + i);
      const Four low = __builtin_shufflevector(a, b, 0, 4, 1, 5), high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const Four low2 = __builtin_shufflevector(c, e, 0, 4, 1, 5), high2 = __builtin_shufflevector(c, e, 2, 6, 3, 7);
      const Four rows[4] = {
          __builtin_shufflevector(low, low2, 0, 1, 4, 5), __builtin_shufflevector(low, low2, 2, 3, 6, 7),
          __builtin_shufflevector(high, high2, 0, 1, 4, 5), __builtin_shufflevector(high, high2, 2, 3, 6, 7)};
      for (int64_t r = 0; r < 4; ++r) std::memcpy(to + r * kPanel, &rows[r], 16);
    }
  }

  Left<Input> queries(int64_t token, int rows) {
    const In* q = at<In>(a_.q, batch_, token, head_);
    if constexpr (std::is_same_v<In, Input>) {
      return {q, a_.q.token};
    } else {
      for (int r = 0; r < rows; ++r)
        for (int64_t i = 0; i < a_.head_dim; ++i) queries_[r * a_.head_dim + i] = widen(q[r * a_.q.token + i]);
      return {queries_, a_.head_dim};
    }
  }

  // Scores of one query, times log2 e, to weights that are not yet divided by their sum, which is returned.
  float soften(int64_t token, int r, int64_t seen) {
    float* scores = scores_ + r * score_pitch_;
    const float* bias =
        a_.bias ? a_.bias + batch_ * a_.bias_batch + head_ * a_.bias_head + token * a_.bias_token : nullptr;
    const int64_t own = a_.causal ? lesser(seen, token + 1) : seen;
    const float never = -__builtin_inff();
    f32v top = splat(never);
    for (int64_t s = 0; s < seen; s += kLanes) {
      f32v x = load(scores + s) * (a_.scale * kLog2E);
      if (bias) x += (a_.bias_key ? load(bias + s, a_.keys - s) : splat(*bias)) * kLog2E;
      if (s + kLanes > own) x = iota() + static_cast<int>(s) < static_cast<int>(own) ? x : splat(never);
      store(scores + s, x);
      top = larger(x, top);
    }
    const float highest = largest(top);
    f32v total{};
    Input* weights = weights_ + r * score_pitch_;
    for (int64_t s = 0; s < seen; s += kLanes) {
      const f32v e = exp2(load(scores + s) - highest);
      total += e;
      store(weights + s, e);
    }
    return sum(total);
  }

  const Attention& a_;
  int64_t key_panels_, score_pitch_, batch_ = 0, head_ = 0;
  Input *keys_, *values_, *weights_, *queries_;
  float *scores_, *result_;
  Multiplier<L> multiply_;
};

template <class In, class L>
void run(const Attention& a, Worker worker) {
  // Whole heads where they divide evenly; else heads in parts of their queries, each laying out keys and values again.
  const int64_t heads = a.batches * a.heads, row_blocks = (a.tokens + kBlockRows<L> - 1) / kBlockRows<L>;
  int64_t parts = 1;
  while (heads * parts % worker.count && heads * parts < 4 * worker.count && parts < row_blocks) ++parts;
  const int64_t part_rows = (row_blocks + parts - 1) / parts * kBlockRows<L>, tasks = heads * parts;
  Head<In, L> head(a);
  int64_t open = -1;
  for (int64_t task = tasks * worker.id / worker.count; task < tasks * (worker.id + 1) / worker.count; ++task) {
    const int64_t h = task / parts, first = task % parts * part_rows, end = lesser(first + part_rows, a.tokens);
    if (first >= end) continue;
    if (h != open) head.open(h / a.heads, h % a.heads), open = h;
    for (int64_t t = first; t < end;) {
      const int rows = Head<In, L>::rows_at_once(end - t);
      head.attend(t, rows);
      t += rows;
    }
  }
}

}  // namespace

void attention(const Attention& a, Worker worker) {
  if (a.type == Type::kF32)
    run<float, SingleLane>(a, worker);
  else if (kHasBf16)
    run<bf16, std::conditional_t<kHasBf16, Bf16Lane, SingleLane>>(a, worker);
  else
    run<bf16, SingleLane>(a, worker);
}

}  // namespace cairn::ops::cpu::CAIRN_ISA
