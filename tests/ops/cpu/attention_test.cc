// Attention over whole sequences and over blocks, against softmax in double.
#include <algorithm>

#include "ops/cpu/buffers.h"
#include "ops/cpu/paged.h"

namespace cairn::ops::cpu {
namespace {

class AttentionKernel : public KernelTest {};
CAIRN_EVERY_KERNEL(AttentionKernel);
class PagedKernel : public KernelTest {};
CAIRN_EVERY_KERNEL(PagedKernel);

// The weights of one query at a time: results of a head follow each other and share them.
class Softmax {
 public:
  // For keys [from, to), whose scores may be -infinity. `query` is what the weights belong to.
  template <class Score>
  const std::vector<double>& weights(int64_t query, int64_t from, int64_t to, Score score) {
    if (query == query_) return weights_;
    query_ = query;
    weights_.clear();
    double total = 0;
    for (int64_t j = from; j < to; ++j) weights_.push_back(score(j));
    const double top = *std::max_element(weights_.begin(), weights_.end());
    for (double& w : weights_) total += w = std::exp(w - top);
    for (double& w : weights_) w /= total;
    return weights_;
  }

 private:
  int64_t query_ = -1;
  std::vector<double> weights_;
};
// The mean of values from `from` on.
template <class Value>
double mean(const std::vector<double>& weights, int64_t from, Value value) {
  double sum = 0;
  for (size_t j = 0; j < weights.size(); ++j) sum += weights[j] * value(from + static_cast<int64_t>(j));
  return sum;
}

struct Shape {
  int64_t batches, tokens, keys, heads, d;
};

TEST_P(AttentionKernel, IsSoftmaxOfScores) {
  for (const Shape& s : {Shape{1, 1, 1, 1, 16}, {2, 5, 9, 2, 32}, {1, 40, 40, 2, 48}, {1, 7, 130, 1, 64}})
    for (const bool causal : {false, true})
      for (const bool biased : {false, true}) {
        if (causal && s.tokens != s.keys) continue;
        const int64_t row = s.heads * s.d;
        const Buffer q = make(type(), s.batches * s.tokens * row), k = make(type(), s.batches * s.keys * row),
                     v = make(type(), s.batches * s.keys * row), bias = make(Type::kF32, s.tokens * s.keys);
        Buffer y(type(), s.batches * s.tokens * row), masked = bias;
        for (int64_t i = 0; i < s.tokens; ++i)
          if (s.keys > 1) masked.set(i * s.keys + (i * 5 + 1) % s.keys, -INFINITY);
        if (causal) masked = bias;  // a mask must leave each token a key
        Attention a{};
        a.q = {q.data(), s.tokens * row, row, s.d}, a.k = {k.data(), s.keys * row, row, s.d};
        a.v = {v.data(), s.keys * row, row, s.d};
        a.type = type(), a.out = y.data();
        a.batches = s.batches, a.tokens = s.tokens, a.keys = s.keys, a.heads = s.heads, a.head_dim = s.d;
        a.causal = causal, a.scale = 0.3f;
        if (biased) a.bias = masked.floats(), a.bias_token = s.keys, a.bias_key = 1;
        share(3, kernels().attention, a);
        Softmax softmax;
        const auto expected = [&](int64_t i) {
          const int64_t token = i / row % s.tokens, batch = i / row / s.tokens, c = i % row, head = c / s.d * s.d;
          const auto score = [&](int64_t j) {
            double sum = 0;
            for (int64_t x = 0; x < s.d; ++x)
              sum += q[(batch * s.tokens + token) * row + head + x] * k[(batch * s.keys + j) * row + head + x];
            return sum * static_cast<double>(a.scale) + (biased ? masked[token * s.keys + j] : 0);
          };
          const auto& weights = softmax.weights(i / s.d, 0, causal ? token + 1 : s.keys, score);
          return mean(weights, 0, [&](int64_t j) { return v[(batch * s.keys + j) * row + c]; });
        };
        EXPECT_LT(distance(y, expected), 2 * tolerance(type())) << s.tokens << "x" << s.keys << "x" << s.d << causal;
      }
}

struct Rule {
  double scale = 1, softcap = 0;
  int64_t window = 0;
};

// Keys and values of sequences in the blocks of a cache, laid out as the kernel wants them.
struct Cache {
  Cache(Type t, int64_t blocks, int64_t block_size, int64_t g, int64_t width, int64_t value_width)
      : size(block_size),
        groups(g),
        d(width),
        e(value_width),
        k(t, blocks * size * groups * d),
        v(t, blocks * size * groups * e) {}
  void put(int64_t block, int64_t offset, int64_t group, const Buffer& key, int64_t key_at, const Buffer& value,
           int64_t value_at) {
    const int64_t values = k.type() == Type::kF32 ? 1 : 2, head = (block * groups + group) * size;
    for (int64_t i = 0; i < d; ++i)
      k.set(head * d + (i / values * size + offset) * values + i % values, key[key_at + i]);
    for (int64_t i = 0; i < e; ++i)
      v.set(head * e + (offset / values * e + i) * values + offset % values, value[value_at + i]);
  }
  int64_t size, groups, d, e;
  Buffer k, v;
};

TEST_P(PagedKernel, IsCausalAttentionOverBlocks) {
  const int64_t groups = 2, e = 32, sequences = 3, tokens[sequences] = {1, 21, 70};
  for (const int64_t d : {16, 80})
    for (const int64_t shared : {1, 3})
      for (const int64_t size : {16, 64})
        for (const Rule rule : {Rule{.scale = 0.2}, {.scale = 0.3, .softcap = 5.0, .window = 19}}) {
          const int64_t all = 92, heads = groups * shared, blocks = 24;
          const Buffer q = make(type(), all * heads * d), k = make(type(), all * groups * d),
                       v = make(type(), all * groups * e);
          Cache cache(type(), blocks, size, groups, d, e);
          std::vector<int32_t> order;
          for (int32_t i = 0; i < blocks; ++i) order.push_back(i * 7 % static_cast<int32_t>(blocks));
          std::vector<PagedSequence> spans;
          std::vector<int64_t> sequence_of;
          for (int64_t s = 0, row = 0; s < sequences; row += tokens[s++]) {
            const int32_t* table = order.data() + 8 * s;
            for (int64_t t = 0; t < tokens[s]; ++t)
              for (int64_t g = 0; g < groups; ++g)
                cache.put(table[t / size], t % size, g, k, ((row + t) * groups + g) * d, v,
                          ((row + t) * groups + g) * e);
            spans.push_back({row, tokens[s], tokens[s], table});
            sequence_of.insert(sequence_of.end(), static_cast<size_t>(tokens[s]), s);
          }
          Buffer y(type(), all * heads * e);
          PagedAttention a{};
          a.k = {cache.k.data(), size * groups * d, groups * d, d},
          a.v = {cache.v.data(), size * groups * e, groups * e, e};
          a.q = q.data(), a.q_token = heads * d, a.q_head = d, a.out = y.data(), a.type = type();
          a.groups = groups, a.share = shared, a.key_width = d, a.value_width = e, a.block_size = size;
          a.spans = spans.data(), a.count = sequences;
          a.scale = static_cast<float>(rule.scale), a.softcap = static_cast<float>(rule.softcap),
          a.window = rule.window;
          share(2, kernels().paged_attention, a);
          Softmax softmax;
          const auto expected = [&](int64_t i) {
            const int64_t row = i / (heads * e), head = i / e % heads, c = i % e, group = head / shared;
            const int64_t begin = spans[static_cast<size_t>(sequence_of[static_cast<size_t>(row)])].row;
            const auto score = [&](int64_t j) {
              double sum = 0;
              for (int64_t x = 0; x < d; ++x) sum += q[(row * heads + head) * d + x] * k[(j * groups + group) * d + x];
              sum *= rule.scale;
              return rule.softcap > 0 ? rule.softcap * std::tanh(sum / rule.softcap) : sum;
            };
            const int64_t from = rule.window ? std::max(begin, row + 1 - rule.window) : begin;
            const auto& weights = softmax.weights(i / e, from, row + 1, score);
            return mean(weights, from, [&](int64_t j) { return v[(j * groups + group) * e + c]; });
          };
          EXPECT_LT(distance(y, expected), 2 * tolerance(type())) << d << " " << shared << " " << size;
          // The last token of the last sequence alone, as a decoding step has it: the same bits.
          Buffer last(type(), heads * e);
          const PagedSequence one{0, 1, tokens[2], spans[2].blocks};
          a.spans = &one, a.count = 1, a.q = q.data((all - 1) * heads * d), a.out = last.data();
          share(1, kernels().paged_attention, a);
          EXPECT_EQ(std::memcmp(last.data(), y.data((all - 1) * heads * e), static_cast<size_t>(heads * e) * y.size()),
                    0);
        }
}

}  // namespace
}  // namespace cairn::ops::cpu
