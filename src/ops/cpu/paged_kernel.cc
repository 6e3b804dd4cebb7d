// Attention over keys and values in blocks, each of them laid out as the right-hand side of its product, so that
// nothing is rearranged when it is read:
//   keys of a block and head   [key width / values of a lane][block size] lanes
//   values of a block and head [block size / values of a lane][value width] lanes
// The sums of a query take the same order whatever queries are beside it: chunks of a prompt give the bits of the
// whole.
#include "ops/cpu/paged.h"

#include "ops/cpu/tables.h"
#include "ops/cpu/tile.h"

namespace cairn::ops::cpu::CAIRN_ISA {
namespace {

constexpr int kRows = 6;

// The register tile's lane for bf16: the matrix unit wants blocks of 32 keys.
using PagedBf16Lane = std::conditional_t<kHasBf16, PairLane, WidePairLane>;

template <class In, class L>
class Paged {
 public:
  using Input = typename L::Input;
  static constexpr int kValues = L::kValues;

  explicit Paged(const PagedAttention& a) : a_(a) {
    int64_t keys = 0;
    for (int64_t i = 0; i < a.count; ++i) keys = a.spans[i].keys > keys ? a.spans[i].keys : keys;
    pitch_ = (keys + a.block_size - 1) / a.block_size * a.block_size;
    auto* memory = static_cast<char*>(scratch(
        kRows * (pitch_ * int64_t{4 + sizeof(Input)} + a.value_width * 4 + a.key_width * int64_t{sizeof(Input)})));
    const auto take = [&](int64_t bytes) { return std::exchange(memory, memory + bytes); };
    scores_ = reinterpret_cast<float*>(take(kRows * pitch_ * 4));
    result_ = reinterpret_cast<float*>(take(kRows * a.value_width * 4));
    weights_ = reinterpret_cast<Input*>(take(kRows * pitch_ * int64_t{sizeof(Input)}));
    queries_ = reinterpret_cast<Input*>(memory);
  }

  // Queries [first, first + rows) of the rows * share that one head of keys has in a span.
  void attend(const PagedSpan& span, int64_t group, int64_t first, int rows) {
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
    switch (rows) {
      case 6:
        return all<6>(span, group, first, begin, end, seen, from);
      case 5:
        return all<5>(span, group, first, begin, end, seen, from);
      case 4:
        return all<4>(span, group, first, begin, end, seen, from);
      case 3:
        return all<3>(span, group, first, begin, end, seen, from);
      case 2:
        return all<2>(span, group, first, begin, end, seen, from);
      default:
        return all<1>(span, group, first, begin, end, seen, from);
    }
  }

 private:
  // Copied: a row of queries is short, and so are all its strides then.
  void query(const PagedSpan& span, int64_t group, int64_t index, int r) {
    const In* q = static_cast<const In*>(a_.q) + (span.row + index / a_.share) * a_.q_token +
                  (group * a_.share + index % a_.share) * a_.q_head;
    Input* to = queries_ + r * a_.key_width;
    if constexpr (std::is_same_v<In, Input>) {
      std::memcpy(static_cast<void*>(to), q, static_cast<size_t>(a_.key_width) * sizeof(In));
    } else {
      for (int64_t i = 0; i < a_.key_width; ++i) to[i] = widen(q[i]);
    }
  }

  const uint32_t* panel(const PagedAttention::Cache& c, const PagedSpan& span, int64_t token, int64_t group,
                        int64_t head_lanes) const {
    return reinterpret_cast<const uint32_t*>(static_cast<const In*>(c.data) +
                                             span.blocks[token / a_.block_size] * c.block) +
           group * head_lanes;
  }

  template <int R>
  void all(const PagedSpan& span, int64_t group, int64_t first, int64_t begin, int64_t end, const int64_t* seen,
           const int64_t* from) {
    score<R>(span, group, begin, end);
    float total[R];
    for (int r = 0; r < R; ++r) total[r] = soften(r, begin, end, from[r], seen[r]);
    weigh<R>(span, group, begin, end);
    for (int r = 0; r < R; ++r) {
      const int64_t index = first + r, e = a_.value_width;
      In* to = static_cast<In*>(a_.out) +
               ((span.row + index / a_.share) * a_.groups * a_.share + group * a_.share + index % a_.share) * e;
      const float part = 1 / total[r];
      for (int64_t i = 0; i < e; i += kLanes) store(to + i, load(result_ + r * e + i) * part);
    }
  }

  // Scores of R queries and the keys of blocks from `begin` on. Up to four vectors of keys at once, from as many
  // places.
  template <int R>
  void score(const PagedSpan& span, int64_t group, int64_t begin, int64_t end) {
    constexpr int C = kLanes == 16 ? 4 : 2;
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
  void weigh(const PagedSpan& span, int64_t group, int64_t begin, int64_t end) {
    constexpr int C = kLanes == 16 ? 4 : 2;
    const int64_t e = a_.value_width, lanes = a_.block_size / kValues, head_lanes = lanes * e;
    const auto some = [&]<int N>(int64_t column) {
      f32v acc[R][N] = {};
      for (int64_t key = begin; key < end; key += a_.block_size) {
        const Input* w[R];
        for (int r = 0; r < R; ++r) w[r] = weights_ + r * pitch_ + key;
        const uint32_t* b = panel(a_.v, span, key, group, head_lanes) + column;
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
};

template <class In, class L>
void run(const PagedAttention& a, Worker worker) {
  int64_t total = 0;
  const auto blocks = [&](const PagedSpan& s) { return (s.rows * a.share + kRows - 1) / kRows; };
  for (int64_t i = 0; i < a.count; ++i) total += blocks(a.spans[i]) * a.groups * a.spans[i].keys;
  const int64_t from = total * worker.id / worker.count, to = total * (worker.id + 1) / worker.count;
  Paged<In, L> paged(a);
  int64_t done = 0;
  for (int64_t i = 0; i < a.count; ++i) {
    const PagedSpan& s = a.spans[i];
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
    run<bf16, PagedBf16Lane>(a, worker);
}

}  // namespace cairn::ops::cpu::CAIRN_ISA
