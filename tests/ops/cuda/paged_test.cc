#include "ops/cuda/paged_kernels.h"

#include <algorithm>
#include <numeric>

#include "ops/cuda/device_data.h"

namespace cairn::ops::cuda {
namespace {

struct Sequence {
  int64_t rows, keys;
};
struct Case {
  int64_t heads, groups, d, e, block_size;
  std::vector<Sequence> sequences;
  int64_t window = 0;
  double softcap = 0;
  bool latent = false;  // values are the first numbers of keys
  int64_t shift = 0;    // spoils the alignment of queries
};

// A step over caches whose blocks lie in random order, NaN wherever no token has been written.
class Step {
 public:
  Step(const Case& c, Type type, unsigned seed) : c_(c), engine_(seed) {
    for (const Sequence& s : c.sequences) {
      first_row_.push_back(static_cast<int32_t>(rows_));
      keys_.push_back(static_cast<int32_t>(s.keys));
      rows_ += s.rows;
      most_rows_ = std::max(most_rows_, s.rows), most_keys_ = std::max(most_keys_, s.keys);
      blocks_ += (s.keys + c.block_size - 1) / c.block_size;
    }
    first_row_.push_back(static_cast<int32_t>(rows_));
    blocks_ += 2;
    table_width_ = std::max<int64_t>(1, (most_keys_ + c.block_size - 1) / c.block_size);
    std::vector<int32_t> order(static_cast<size_t>(blocks_));
    std::iota(order.begin(), order.end(), 0);
    std::ranges::shuffle(order, engine_);
    const int64_t width = c.groups * c.d, slots = blocks_ * c.block_size;
    k_ = std::make_unique<Data>(type, slots * width);
    if (!c.latent) v_ = std::make_unique<Data>(type, slots * c.groups * c.e);
    tables_.assign(c.sequences.size() * static_cast<size_t>(table_width_), -1);
    int64_t next = 0;
    for (size_t s = 0; s < c.sequences.size(); ++s) {
      const int64_t keys = c.sequences[s].keys;
      std::vector<int64_t> places;
      for (int64_t i = 0; i * c.block_size < keys; ++i)
        tables_[s * static_cast<size_t>(table_width_) + static_cast<size_t>(i)] = order[static_cast<size_t>(next++)];
      for (int64_t key = 0; key < keys; ++key) places.push_back(slot(s, key));
      places.push_back(-1);  // a padded token, which goes nowhere
      const unsigned own = seed * 100 + 2 * static_cast<unsigned>(s);
      write(type, *k_, width, places, c.d, own);
      if (v_) write(type, *v_, c.groups * c.e, places, c.e, own + 1);
    }
    q_ = std::make_unique<Data>(Data::normal(type, rows_ * c.heads * c.d, seed, 1, c.shift));
    out_ = std::make_unique<Data>(type, rows_ * c.heads * c.e);
  }

  Paged paged() const {
    Paged p;
    p.q = plain_rows(q_->at(), q_->type(), rows_, c_.heads * c_.d);
    p.rows = rows_, p.heads = c_.heads;
    p.k = plain_cache(k_->at(), q_->type(), blocks_, c_.block_size, c_.groups, c_.d);
    p.v = c_.latent ? p.k : plain_cache(v_->at(), q_->type(), blocks_, c_.block_size, c_.groups, c_.e);
    p.v.width = c_.e;
    p.batch = {static_cast<int64_t>(c_.sequences.size()),
               most_rows_,
               most_keys_,
               tables_.data(),
               table_width_,
               keys_.data(),
               first_row_.data()};
    p.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(c_.d)));
    p.softcap = static_cast<float>(c_.softcap), p.window = c_.window;
    p.out = out_->at();
    return p;
  }

  const Data& run() {
    const Paged p = paged();
    Data workspace(Type::f32, paged_workspace(p));
    EXPECT_LAUNCHED(paged_attention(p, workspace.floats(), nullptr));
    return *out_;
  }

  std::vector<double> expected() const {
    std::vector<double> out(static_cast<size_t>(out_->size()));
    const int64_t share = c_.heads / c_.groups, v_width = c_.latent ? c_.d : c_.e;
    const Data& v = c_.latent ? *k_ : *v_;
    for (size_t s = 0; s < c_.sequences.size(); ++s)
      for (int64_t r = 0; r < c_.sequences[s].rows; ++r)
        for (int64_t h = 0; h < c_.heads; ++h) {
          const int64_t row = first_row_[s] + r, position = c_.sequences[s].keys - c_.sequences[s].rows + r;
          const int64_t begin = c_.window ? std::max<int64_t>(0, position - c_.window + 1) : 0;
          std::vector<double> scores;
          for (int64_t key = begin; key <= position; ++key) {
            double sum = 0;
            for (int64_t i = 0; i < c_.d; ++i)
              sum += (*q_)[(row * c_.heads + h) * c_.d + i] * (*k_)[(slot(s, key) * c_.groups + h / share) * c_.d + i];
            sum /= std::sqrt(static_cast<double>(c_.d));
            scores.push_back(c_.softcap > 0 ? c_.softcap * std::tanh(sum / c_.softcap) : sum);
          }
          const double highest = *std::ranges::max_element(scores);
          double total = 0;
          for (double& x : scores) total += x = std::exp(x - highest);
          for (int64_t i = 0; i < c_.e; ++i) {
            double sum = 0;
            for (int64_t key = begin; key <= position; ++key)
              sum += scores[static_cast<size_t>(key - begin)] * v[(slot(s, key) * c_.groups + h / share) * v_width + i];
            out[static_cast<size_t>((row * c_.heads + h) * c_.e + i)] = sum / total;
          }
        }
    return out;
  }

 private:
  int64_t slot(size_t s, int64_t key) const {
    return tables_[s * static_cast<size_t>(table_width_) + static_cast<size_t>(key / c_.block_size)] * c_.block_size +
           key % c_.block_size;
  }
  void write(Type type, Data& cache, int64_t width, const std::vector<int64_t>& slots, int64_t d, unsigned seed) {
    const auto tokens = static_cast<int64_t>(slots.size());
    const Data rows = Data::normal(type, tokens * width, seed);
    EXPECT_LAUNCHED(write_cache(plain_rows(rows.at(), type, tokens, width), tokens,
                                plain_cache(cache.at(), type, blocks_, c_.block_size, c_.groups, d), slots.data(),
                                nullptr));
    for (int64_t t = 0; t + 1 < tokens; ++t) EXPECT_EQ(cache[slots[static_cast<size_t>(t)] * width], rows[t * width]);
  }

  Case c_;
  std::mt19937 engine_;
  int64_t rows_ = 0, most_rows_ = 0, most_keys_ = 0, blocks_ = 0, table_width_ = 0;
  std::vector<int32_t> first_row_, keys_, tables_;
  std::unique_ptr<Data> q_, k_, v_, out_;
};

// fp16 and bf16 weights of values on tensor cores are rounded, too.
double allowed(Type t) { return t == Type::f32 ? 2e-6 : tolerance(t) * 1.5; }

void check(const std::vector<Case>& cases) {
  unsigned seed = 0;
  for (const Type type : kTypes)
    for (size_t i = 0; i < cases.size(); ++i) {
      Step step(cases[i], type, ++seed);
      const auto expected = step.expected();
      EXPECT_LT(distance(step.run(), expected), allowed(type)) << "case " << i << " type " << int(type);
    }
}

TEST(CudaPaged, DecodeIsTheReference) {
  check({{1, 1, 64, 64, 16, {{1, 1}}},
         {4, 2, 64, 64, 16, {{1, 17}, {1, 1}, {1, 100}}},
         {8, 1, 128, 128, 16, {{1, 70}, {1, 5}}},
         {6, 2, 72, 40, 5, {{1, 33}, {1, 64}}},
         {2, 2, 7, 3, 4, {{1, 9}}},
         {2, 1, 64, 64, 16, {{1, 600}, {1, 256}, {1, 257}}},  // pieces
         {3, 1, 256, 256, 32, {{1, 300}}, 40},                // a window that leaves a piece out
         {2, 2, 64, 64, 16, {{1, 50}}, 0, 5},                 // soft cap
         {2, 1, 64, 64, 16, {{1, 30}, {0, 0}, {1, 3}, {0, 12}}, 0, 0, false, 1},
         {12, 1, 192, 128, 16, {{3, 290}, {4, 4}, {1, 20}}, 100}});  // a few rows each, heads in two pieces
}

TEST(CudaPaged, PrefillIsTheReference) {
  check({{2, 2, 64, 64, 16, {{20, 20}}},
         {4, 1, 64, 64, 16, {{17, 40}, {5, 5}}},
         {2, 1, 128, 96, 8, {{70, 90}}},
         {3, 3, 40, 33, 5, {{9, 33}}},
         {1, 1, 192, 128, 16, {{33, 50}}},
         {2, 1, 256, 256, 16, {{20, 61}}, 30},
         {2, 2, 64, 64, 16, {{80, 200}}, 10},                                   // a window much shorter than the tile
         {2, 2, 64, 64, 16, {{10, 30}}, 0, 3},                                  // soft cap
         {2, 1, 64, 64, 16, {{7, 9}}, 0, 0, false, 1},                          // not aligned
         {2, 1, 64, 64, 16, {{1, 400}, {30, 35}, {0, 0}, {4, 80}, {5, 70}}}});  // decode and prefill in one step
}

TEST(CudaPaged, LatentAttentionIsTheReference) {
  check({{16, 1, 576, 512, 16, {{1, 40}}, 0, 0, true},
         {4, 1, 576, 512, 8, {{1, 300}, {1, 2}}, 0, 0, true},
         {2, 1, 72, 64, 4, {{6, 30}, {2, 11}}, 0, 0, true}});
}

TEST(CudaPaged, ARowIsTheSameInAnyCompany) {
  for (const Type type : kTypes) {
    Step alone({4, 2, 64, 64, 16, {{1, 300}}}, type, 7),
        together({4, 2, 64, 64, 8, {{1, 300}, {1, 600}, {9, 20}}}, type, 7);
    const Data &a = alone.run(), &b = together.run();
    for (int64_t i = 0; i < a.size(); ++i) ASSERT_EQ(a[i], b[i]);
  }
}

TEST(CudaPaged, RefusesWhatDoesNotFit) {
  Step step({2, 1, 64, 64, 16, {{1, 600}}}, Type::f32, 1);
  Paged p = step.paged();
  EXPECT_GT(paged_workspace(p), 0);
  EXPECT_NE(paged_attention(p, nullptr, nullptr), nullptr);
  p.batch.most_keys = p.batch.table_width * 16 + 1;
  EXPECT_NE(paged_attention(p, nullptr, nullptr), nullptr);
  p = step.paged();
  p.heads = 0;
  EXPECT_NE(paged_attention(p, nullptr, nullptr), nullptr);
  p = step.paged();
  p.v.type = Type::f16;
  EXPECT_NE(paged_attention(p, nullptr, nullptr), nullptr);
  p = step.paged();
  p.batch.count = 0;
  EXPECT_EQ(paged_attention(p, nullptr, nullptr), nullptr);
}

TEST(CudaPaged, CachesOfAnotherDtype) {
  for (const Type from : kTypes)
    for (const Type to : kTypes) {
      const Data rows = Data::normal(from, 3 * 10, 1);
      Data cache(to, 2 * 4 * 10);
      const std::vector<int64_t> slots{6, 8, 1};  // 8 is outside
      EXPECT_LAUNCHED(write_cache(plain_rows(rows.at(), from, 3, 10), 3, plain_cache(cache.at(), to, 2, 4, 2, 5),
                                  slots.data(), nullptr));
      std::vector<double> expected(80, NAN);
      for (size_t i = 0; i < 10; ++i) {
        expected[60 + i] = rows[static_cast<int64_t>(i)];
        expected[10 + i] = rows[static_cast<int64_t>(20 + i)];
      }
      EXPECT_LT(distance(cache, expected), tolerance(to));
      EXPECT_TRUE(std::isnan(cache[0]) && std::isnan(cache[79]));
    }
}

}  // namespace
}  // namespace cairn::ops::cuda
