// Attention over keys and values in blocks, each of them laid out as the right-hand side of its product, so that
// nothing is rearranged when it is read:
//   keys of a block and head   [key width / values of a lane][block size] lanes
//   values of a block and head [block size / values of a lane][value width] lanes
// The sums of a query take the same order whatever queries are beside it: chunks of a prompt give the bits of the
// whole.
#include "ops/cpu/paged.h"

#include "ops/cpu/amx_paged.h"
#include "ops/cpu/tables.h"
#include "ops/cpu/tile.h"

namespace cairn::ops::cpu::CAIRN_ISA {
namespace {

#if defined(__AMX_BF16__)
using PagedTiles = Tiles;
#else
struct PagedTiles {};
#endif

template <class In, class L>
class Paged {
 public:
  using Input = typename L::Input;
  static constexpr int kValues = L::kValues;
  static constexpr int kRows = kBlockRows<L>;

  explicit Paged(const PagedAttention& a) : a_(a) {
    int64_t keys = 0;
    for (int64_t i = 0; i < a.count; ++i) keys = a.spans[i].keys > keys ? a.spans[i].keys : keys;
    pitch_ = (keys + a.block_size - 1) / a.block_size * a.block_size;
    const int64_t last = a.block_size * a.value_width * int64_t{sizeof(In)};
    auto* memory = static_cast<char*>(scratch(last + kRows * (pitch_ * int64_t{4 + sizeof(Input)} + a.value_width * 4 +
                                                              a.key_width * int64_t{sizeof(Input)})));
    const auto take = [&](int64_t bytes) { return std::exchange(memory, memory + bytes); };
    scores_ = reinterpret_cast<float*>(take(kRows * pitch_ * 4));
    result_ = reinterpret_cast<float*>(take(kRows * a.value_width * 4));
    weights_ = reinterpret_cast<Input*>(take(kRows * pitch_ * int64_t{sizeof(Input)}));
    last_ = reinterpret_cast<uint32_t*>(take(last));
    queries_ = reinterpret_cast<Input*>(memory);
  }

  // Queries [first, first + rows) of the rows * share that one head of keys has in a span.
  void attend(const PagedSequence& span, int64_t group, int64_t first, int rows) {
    const int64_t tokens = span.keys - span.rows;  // before this step
    int64_t seen[kRows], from[kRows];
    int64_t begin = span.keys, end = 0;
    for (int r = 0; r < rows; ++r) {
      seen[r] = tokens + (first + r) / a_.share + 1;
      from[r] = a_.window && seen[r] > a_.window ? seen[r] - a_.window : 0;
      begin = lesser(begin, from[r]);
      end = seen[r] > end ? seen[r] : end;
      query(span, group, first + r, r);
    }
    begin = begin / a_.block_size * a_.block_size;
    score(rows, span, group, begin, end);
    float total[kRows];
    for (int r = 0; r < rows; ++r) total[r] = soften(r, begin, end, from[r], seen[r]);
    weigh(rows, span, group, begin, end);
    for (int r = 0; r < rows; ++r) {
      const int64_t index = first + r, e = a_.value_width;
      In* to = static_cast<In*>(a_.out) +
               ((span.row + index / a_.share) * a_.groups * a_.share + group * a_.share + index % a_.share) * e;
      const float part = 1 / total[r];
      for (int64_t i = 0; i < e; i += kLanes) store(to + i, load(result_ + r * e + i) * part);
    }
  }

 private:
  // Copied: a row of queries is short, and so are all its strides then.
  void query(const PagedSequence& span, int64_t group, int64_t index, int r) {
    const In* q = static_cast<const In*>(a_.q) + (span.row + index / a_.share) * a_.q_token +
                  (group * a_.share + index % a_.share) * a_.q_head;
    Input* to = queries_ + r * a_.key_width;
    if constexpr (std::is_same_v<In, Input>) {
      std::memcpy(static_cast<void*>(to), q, static_cast<size_t>(a_.key_width) * sizeof(In));
    } else {
      for (int64_t i = 0; i < a_.key_width; ++i) to[i] = widen(q[i]);
    }
  }

  const uint32_t* panel(const PagedAttention::Cache& c, const PagedSequence& span, int64_t token, int64_t group,
                        int64_t head_lanes) const {
    return reinterpret_cast<const uint32_t*>(static_cast<const In*>(c.data) +
                                             span.blocks[token / a_.block_size] * c.block) +
           group * head_lanes;
  }

  // The panel of values of the block that begins with `key`. Of one that is not full, a copy with zeros behind its end:
  // what lies there is of another request, and may be no number.
  const uint32_t* values(const PagedSequence& span, int64_t key, int64_t group) {
    const int64_t e = a_.value_width, lanes = a_.block_size / kValues, used = span.keys - key;
    const uint32_t* b = panel(a_.v, span, key, group, lanes * e);
    if (used >= a_.block_size) return b;
    const int64_t whole = used / kValues * e;
    std::memcpy(last_, b, static_cast<size_t>(whole) * 4);
    std::memset(last_ + whole, 0, static_cast<size_t>(lanes * e - whole) * 4);
    if (used % kValues)
      for (int64_t i = 0; i < e; ++i) last_[whole + i] = b[whole + i] & 0xffffu;
    return last_;
  }

  template <class F>
  static void with_rows(int rows, F&& f) {
    switch (rows) {
      case 6:
        return f.template operator()<6>();
      case 5:
        return f.template operator()<5>();
      case 4:
        return f.template operator()<4>();
      case 3:
        return f.template operator()<3>();
      case 2:
        return f.template operator()<2>();
      default:
        return f.template operator()<1>();
    }
  }

  void score(int rows, const PagedSequence& span, int64_t group, int64_t begin, int64_t end) {
#if defined(__AMX_BF16__)
    if constexpr (std::is_same_v<L, MatrixLane>) {
      const int64_t lanes = a_.key_width / kValues;
      const auto keys = [&](int64_t key) { return panel(a_.k, span, key, group, lanes * a_.block_size); };
      return scores(tiles_, rows, queries_, a_.key_width, lanes,
                    Blocks<decltype(keys)>{begin, end, a_.block_size, keys}, scores_, pitch_);
    }
#endif
    if constexpr (!std::is_same_v<L, MatrixLane>) with_rows(rows, [&]<int R>() { score<R>(span, group, begin, end); });
  }

  void weigh(int rows, const PagedSequence& span, int64_t group, int64_t begin, int64_t end) {
#if defined(__AMX_BF16__)
    if constexpr (std::is_same_v<L, MatrixLane>) {
      const auto panels = [&](int64_t key) { return values(span, key, group); };
      return CAIRN_ISA::weigh(tiles_, rows, weights_, pitch_,
                              Blocks<decltype(panels)>{begin, end, a_.block_size, panels}, a_.value_width, result_);
    }
#endif
    if constexpr (!std::is_same_v<L, MatrixLane>) with_rows(rows, [&]<int R>() { weigh<R>(span, group, begin, end); });
  }

  // Scores of R queries and the keys of blocks from `begin` on. Up to four vectors of keys at once, from as many
  // places.
  template <int R>
  void score(const PagedSequence& span, int64_t group, int64_t begin, int64_t end) {
    constexpr int C = kRegisters == 32 ? 4 : 2;
    const int64_t lanes = a_.key_width / kValues, head_lanes = lanes * a_.block_size;
    const Input* q[R];
    for (int r = 0; r < R; ++r) q[r] = queries_ + r * a_.key_width;
    const auto some = [&]<int N>(int64_t key) {
      const uint32_t* b[N];
      for (int c = 0; c < N; ++c)
        b[c] = panel(a_.k, span, key + c * kLanes, group, head_lanes) + (key + c * kLanes) % a_.block_size;
      f32v acc[R][N] = {};
      for (int64_t k = 0; k < lanes; ++k) {
        u32v w[N];
#pragma GCC unroll 4
        for (int c = 0; c < N; ++c) w[c] = load_as<u32v>(b[c] + k * a_.block_size);
        multiply_lane<L, R, N>(q, k, w, acc);
      }
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < N; ++c) store(scores_ + r * pitch_ + key + c * kLanes, acc[r][c]);
    };
    int64_t key = begin;
    for (; key + (C - 1) * kLanes < end; key += C * kLanes) some.template operator()<C>(key);
    for (; key < end; key += kLanes) some.template operator()<1>(key);
  }

  // Scores of one query to weights that are not yet divided by their sum, which is returned. Keys outside [from, seen)
  // weigh nothing.
  float soften(int r, int64_t begin, int64_t end, int64_t from, int64_t seen) {
    float* scores = scores_ + r * pitch_;
    const float never = -__builtin_inff();
    // Of whole vectors, since a vector's order is that of its lanes: a row's sums start at its own first block.
    const int64_t first = from / a_.block_size * a_.block_size;
    f32v top = splat(never);
    for (int64_t s = first; s < seen; s += kLanes) {
      f32v x = load(scores + s) * a_.scale;
      if (a_.softcap > 0) x = a_.softcap * (1.f - 2.f / (1.f + exp(x * (2 / a_.softcap))));  // tanh
      if (s < from) x = iota() + static_cast<int>(s) >= static_cast<int>(from) ? x : splat(never);
      if (s + kLanes > seen) x = iota() + static_cast<int>(s) < static_cast<int>(seen) ? x : splat(never);
      store(scores + s, x);
      top = larger(x, top);
    }
    const float highest = largest(top);
    f32v sums{};
    Input* weights = weights_ + r * pitch_;
    for (int64_t s = begin; s < first; s += kLanes) store(weights + s, f32v{});
    int64_t s = first;
    for (; s < seen; s += kLanes) {
      const f32v e = exp(load(scores + s) - highest);
      sums += e;
      store(weights + s, e);
    }
    for (const int64_t last = (end + a_.block_size - 1) / a_.block_size * a_.block_size; s < last; s += kLanes)
      store(weights + s, f32v{});
    return sum(sums);
  }

  template <int R>
  void weigh(const PagedSequence& span, int64_t group, int64_t begin, int64_t end) {
    constexpr int C = kRegisters == 32 ? 4 : 2;
    const int64_t e = a_.value_width, lanes = a_.block_size / kValues;
    const auto some = [&]<int N>(int64_t column) {
      f32v acc[R][N] = {};
      for (int64_t key = begin; key < end; key += a_.block_size) {
        const Input* w[R];
        for (int r = 0; r < R; ++r) w[r] = weights_ + r * pitch_ + key;
        const uint32_t* b = values(span, key, group) + column;
        const int64_t used = lesser(lanes, (end - key + kValues - 1) / kValues);
        for (int64_t k = 0; k < used; ++k, b += e) step<L, R, N>(w, k, b, acc);
      }
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < N; ++c) store(result_ + r * e + column + c * kLanes, acc[r][c]);
    };
    int64_t column = 0;
    for (; column + C * kLanes <= e; column += C * kLanes) some.template operator()<C>(column);
    for (; column < e; column += kLanes) some.template operator()<1>(column);
  }

  const PagedAttention& a_;
  int64_t pitch_;
  float *scores_, *result_;
  Input *weights_, *queries_;
  uint32_t* last_;
  [[no_unique_address]] PagedTiles tiles_;
};

template <class In, class L>
void run(const PagedAttention& a, Worker worker) {
  int64_t total = 0;
  constexpr int kRows = Paged<In, L>::kRows;
  const auto blocks = [&](const PagedSequence& s) { return (s.rows * a.share + kRows - 1) / kRows; };
  for (int64_t i = 0; i < a.count; ++i) total += blocks(a.spans[i]) * a.groups * a.spans[i].keys;
  const int64_t from = total * worker.id / worker.count, to = total * (worker.id + 1) / worker.count;
  Paged<In, L> paged(a);
  int64_t done = 0;
  for (int64_t i = 0; i < a.count; ++i) {
    const PagedSequence& s = a.spans[i];
    const int64_t each = blocks(s), cost = s.keys;
    if (done + each * a.groups * cost <= from || done >= to) {
      done += each * a.groups * cost;
      continue;
    }
    for (int64_t g = 0; g < a.groups; ++g)
      for (int64_t b = 0; b < each; ++b, done += cost) {
        const int64_t middle = done + cost / 2;
        if (middle < from || middle >= to) continue;
        const int64_t first = b * kRows;
        paged.attend(s, g, first, static_cast<int>(lesser(kRows, s.rows * a.share - first)));
      }
  }
}

}  // namespace

void paged_attention(const PagedAttention& a, Worker worker) {
  if (a.type == Type::kF32)
    run<float, SingleLane>(a, worker);
  else
    run<bf16, Bf16Lane>(a, worker);
}

}  // namespace cairn::ops::cpu::CAIRN_ISA
