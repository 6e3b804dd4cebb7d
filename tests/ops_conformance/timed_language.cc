// Sizes of Qwen3-0.6B: an answer's token, eight of them, and 512 tokens of a prompt. Latents and experts are those of
// DeepSeek-V2-Lite.
#include <fmt/core.h>

#include <memory>

#include "ops_conformance/samples.h"

namespace cairn::ops::conformance {
namespace {

constexpr int64_t kWidth = 1024, kInner = 3072, kHeads = 16, kGroups = 8, kHead = 128, kWords = 151936;
constexpr int64_t kRows[] = {1, 8, 512};

double multiply_adds(int64_t a, int64_t b, int64_t c) {
  return 2.0 * static_cast<double>(a * b) * static_cast<double>(c);
}

void products(std::vector<Timed>& to) {
  const auto plain = [&](int64_t rows, int64_t in, int64_t out) {
    to.push_back({{&linear, fmt::format("{} x {} to {}", rows, in, out),
                   [=](Place& p) -> Run {
                     const Tensor x = p.numbers({1, rows, in});
                     const Weight w = p.weight(out, in, false);
                     return [=, f = p.of(linear), dtype = p.dtype()] {
                       return Outputs{{f({x}, w, Activation::kNone, dtype), dtype}};
                     };
                   }},
                  multiply_adds(rows, in, out)});
  };
  for (const int64_t rows : {1, 8}) plain(rows, kWidth, kWords);
  plain(512, kWidth, kWidth);
  for (const int64_t rows : kRows) {
    for (const int64_t in : {kHeads * kHead, kInner})
      to.push_back({{&linear_add, fmt::format("{} x {} to {}", rows, in, kWidth),
                     [=](Place& p) -> Run {
                       const Tensor residual = p.numbers({1, rows, kWidth}), x = p.numbers({1, rows, in});
                       const Weight w = p.weight(kWidth, in, false);
                       return [=, f = p.of(linear_add), dtype = p.dtype()] {
                         return Outputs{{f(residual, {x}, w, {}, 0), dtype}};
                       };
                     }},
                    multiply_adds(rows, in, kWidth)});
    to.push_back({{&linear_glu, fmt::format("{} x {} to {}", rows, kWidth, kInner),
                   [=](Place& p) -> Run {
                     const Tensor x = p.numbers({1, rows, kWidth});
                     const auto w = p.adjoined({kInner, kInner}, kWidth);
                     return [=, f = p.of(linear_glu), dtype = p.dtype()] {
                       return Outputs{{f(x, w[0], w[1], Activation::kSilu), dtype}};
                     };
                   }},
                  2 * multiply_adds(rows, kWidth, kInner)});
    to.push_back({{&qkv, fmt::format("{} x {} to {} + 2 x {} heads", rows, kWidth, kHeads, kGroups),
                   [=](Place& p) {
                     return projected({1, kHead, kHeads, kGroups, kWidth, {rows}, true, true, true}, p);
                   }},
                  multiply_adds(rows, kWidth, (kHeads + 2 * kGroups) * kHead)});
    to.push_back({{&rms_norm, fmt::format("{} x {}", rows, kWidth), [=](Place& p) -> Run {
                     const Tensor x = p.numbers({1, rows, kWidth}), w = p.numbers({kWidth});
                     return [=, f = p.of(rms_norm), dtype = p.dtype()] {
                       return Outputs{{f(x, w, 1e-6, dtype), dtype}};
                     };
                   }}});
    to.push_back({{&embedding, fmt::format("{} of {} x {}", rows, kWords, kWidth),
                   [=](Place& p) -> Run {
                     const Tensor table = p.numbers({kWords, kWidth});
                     std::vector<int64_t> ids;
                     for (int64_t i = 0; i < rows; ++i) ids.push_back(i * 7919 % kWords);
                     const Tensor places = p.integers(ids);
                     return [=, f = p.of(embedding), dtype = p.dtype()] {
                       return Outputs{{f(places, table, dtype), dtype}};
                     };
                   }},
                  0,
                  static_cast<double>(2 * rows * kWidth)});
  }
}

// Sequences of `keys` tokens each, of which the last `rows` are asked about.
struct Caches {
  std::vector<int32_t> blocks;
  std::vector<PagedSequence> sequences;
};
std::shared_ptr<Caches> caches(int64_t count, int64_t rows, int64_t keys, int64_t block_size) {
  const auto c = std::make_shared<Caches>();
  const int64_t each = keys / block_size;
  c->blocks = shuffled(count * each);
  for (int64_t i = 0; i < count; ++i)
    c->sequences.push_back({.row = i * rows, .rows = rows, .keys = keys, .blocks = c->blocks.data() + i * each});
  return c;
}

constexpr int64_t kBlock = 128;

void paged(std::vector<Timed>& to) {
  for (const int64_t rows : kRows)
    to.push_back({{&write_kv, fmt::format("{} tokens of {} heads", rows, kGroups),
                   [=](Place& p) -> Run {
                     const int64_t blocks = 8;
                     const Tensor k = p.numbers({rows, kGroups, kHead}), v = p.numbers({rows, kGroups, kHead}),
                                  keys = zeros({blocks, kBlock, kGroups, kHead}, p.dtype(), p.device()),
                                  values = zeros({blocks, kBlock, kGroups, kHead}, p.dtype(), p.device());
                     std::vector<int64_t> slots;
                     for (int64_t i = 0; i < rows; ++i) slots.push_back(blocks * kBlock - 1 - i);
                     const Tensor places = p.integers(slots);
                     return [=, f = p.of(write_kv)] {
                       f(k, v, keys, values, places);
                       return Outputs{};
                     };
                   }},
                  0,
                  static_cast<double>(4 * rows * kGroups * kHead)});
  struct Case {
    int64_t count, rows, keys;
  };
  for (const Case& c : {Case{1, 1, 1024}, {8, 1, 1024}, {1, 512, 512}, {1, 512, 2048}}) {
    // A token sees itself and what is before it.
    const double pairs =
        static_cast<double>(c.count * c.rows) * (static_cast<double>(c.keys) - 0.5 * (static_cast<double>(c.rows) - 1));
    const auto what = fmt::format("{} x {} rows, {} keys", c.count, c.rows, c.keys);
    to.push_back(
        {{&paged_attention, what,
          [=](Place& p) -> Run {
            const auto all = caches(c.count, c.rows, c.keys, kBlock);
            const std::vector<int64_t> shape{static_cast<int64_t>(all->blocks.size()), kBlock, kGroups, kHead};
            const Tensor q = p.numbers({c.count * c.rows, kHeads, kHead}), k = p.numbers(shape), v = p.numbers(shape);
            const Paging paging = p.paging(all->sequences, kBlock);
            return [=, f = p.of(paged_attention), dtype = p.dtype()] {
              (void)all;  // which paging points into
              return Outputs{{f(q, k, v, paging, {.scale = 0.09}), dtype}};
            };
          }},
         4 * pairs * static_cast<double>(kHeads * kHead)});
    if (c.rows > 1) continue;
    constexpr int64_t kRank = 512, kRope = 64;
    to.push_back({{&split_latent_attention, what + fmt::format(", rank {} and {}", kRank, kRope),
                   [=](Place& p) -> Run {
                     const auto all = caches(c.count, c.rows, c.keys, kBlock);
                     const auto blocks = static_cast<int64_t>(all->blocks.size()), tokens = c.count * c.rows;
                     const Tensor q = p.numbers({tokens, kHeads, kRank}), q_rope = p.numbers({tokens, kHeads, kRope}),
                                  k = p.numbers({blocks, kBlock, 1, kRank}),
                                  ropes = p.numbers({blocks, kBlock, 1, kRope});
                     const Paging paging = p.paging(all->sequences, kBlock);
                     return [=, f = p.of(split_latent_attention), dtype = p.dtype()] {
                       (void)all;
                       return Outputs{{f(q, q_rope, k, ropes, paging, {.scale = 0.07}), dtype}};
                     };
                   }},
                  2 * pairs * static_cast<double>(kHeads * (2 * kRank + kRope))});
    to.push_back({{&latent_attention, what + fmt::format(", rank {} and {}", kRank, kRope),
                   [=](Place& p) -> Run {
                     const auto all = caches(c.count, c.rows, c.keys, kBlock);
                     const auto blocks = static_cast<int64_t>(all->blocks.size());
                     const Tensor q = p.numbers({c.count * c.rows, kHeads, kRank + kRope}),
                                  k = p.numbers({blocks, kBlock, 1, kRank + kRope}), v = k.narrow(3, 0, kRank);
                     const Paging paging = p.paging(all->sequences, kBlock);
                     return [=, f = p.of(latent_attention), dtype = p.dtype()] {
                       (void)all;
                       return Outputs{{f(q, k, v, paging, {.scale = 0.07}), dtype}};
                     };
                   }},
                  2 * pairs * static_cast<double>(kHeads * (2 * kRank + kRope))});
  }
}

void routings(std::vector<Timed>& to) {
  constexpr int64_t kWide = 2048, kNarrow = 1408, kCount = 16, kEach = 6;
  for (const int64_t rows : {1, 64}) {
    to.push_back({{&route, fmt::format("{} of {} experts, {} each", rows, 256, 8),
                   [=](Place& p) -> Run {
                     const Tensor logits = p.numbers({rows, 256}, kF32), correction = p.numbers({256}, kF32, 0.05);
                     return [=, f = p.of(route)] {
                       const Routed r = f(logits, correction,
                                          {.each = 8,
                                           .groups = 8,
                                           .kept = 4,
                                           .pairs = true,
                                           .sigmoid = true,
                                           .normalise = true,
                                           .scaling = 2.5});
                       return Outputs{{r.weights, kF32}, {r.chosen, Dtype::Long}};
                     };
                   }},
                  0,
                  0});
    const int64_t used = std::min(rows * kEach, kCount), each = 3 * kWide * kNarrow;
    to.push_back({{&experts, fmt::format("{} x {} to {}, {} of {}", rows, kWide, kNarrow, kEach, kCount),
                   [=](Place& p) -> Run {
                     const auto list = std::make_shared<std::vector<Expert>>();
                     for (int64_t e = 0; e < kCount; ++e) {
                       const auto both = p.adjoined({kNarrow, kNarrow}, kWide);
                       list->push_back({both[0], both[1], p.weight(kWide, kNarrow, false)});
                     }
                     std::vector<int64_t> ids;
                     for (int64_t i = 0; i < rows * kEach; ++i) ids.push_back(i % kCount);
                     const Tensor x = p.numbers({rows, kWide}), chosen = p.integers(ids).view({rows, kEach}),
                                  weights = p.numbers({rows, kEach}, kF32);
                     return [=, f = p.of(experts)] {
                       return Outputs{{f(x, chosen, weights, *list, Activation::kSilu), kF32}};
                     };
                   }},
                  2.0 * static_cast<double>(rows * kEach) * static_cast<double>(each),
                  static_cast<double>(used) * static_cast<double>(each)});
  }
}

}  // namespace

void add_timed_language(std::vector<Timed>& to) {
  products(to);
  paged(to);
  routings(to);
  for (const int64_t rows : {1, 16}) to.push_back({sampled(rows, 151936), 0, 0});
}

}  // namespace cairn::ops::conformance
