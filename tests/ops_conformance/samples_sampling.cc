// Choosing tokens: the same ones as in float64, and the logarithms of their probabilities.
#include "ops/sampling.h"

#include <fmt/core.h>

#include "ops_conformance/samples.h"

namespace cairn::ops::conformance {
namespace {

// Requests of every kind, with other numbers each time.
Sampling requests(int64_t count, int64_t vocabulary) {
  Sampling how{.allowed_words = (vocabulary + 31) / 32};
  for (int64_t i = 0; i < count; ++i) {
    SampleRow row{.uniform = static_cast<double>(i * 37 % 101) / 101};
    if (i % 6 == 1) row.greedy = 1;
    if (i % 6 == 2) row.top_k = 5, row.temperature = 0.6;
    if (i % 6 == 3) row.top_p = 0.8;
    if (i % 6 == 4) row.min_p = 0.1, row.temperature = 1.7;
    if (i % 6 == 5) row.top_k = 40, row.top_p = 0.9, row.min_p = 0.01;
    row.frequency = 0.5, row.presence = 0.25, row.repetition = 1.3;
    row.first_touch = static_cast<int32_t>(how.touches.size());
    row.touches = 3;
    how.touches.push_back({.token = 0, .count = 2, .flags = Touch::kRepeated});
    how.touches.push_back({.token = 1, .bias = 2});
    how.touches.push_back({.token = static_cast<int32_t>(vocabulary) - 1, .flags = Touch::kBanned});
    if (i % 4 == 3) {
      row.allowed = static_cast<int32_t>(static_cast<int64_t>(how.allowed.size()) / how.allowed_words);
      for (int64_t w = 0; w < how.allowed_words; ++w) how.allowed.push_back(0x5a5a5a5au << (i + w) % 3);
    }
    how.rows.push_back(row);
  }
  return how;
}

}  // namespace

Sample sampled(int64_t rows, int64_t vocabulary) {
  const auto make = [=](Place& p) -> Run {
    const Tensor logits = p.numbers({rows, vocabulary}, kF32, 3);
    return [=, how = requests(rows, vocabulary), f = p.of(sample)] {
      const Tensor tokens = empty({rows}, kF64), logarithms = empty({rows}, kF64);
      const auto chosen = f(logits.clone(), how);
      for (size_t i = 0; i < chosen.size(); ++i) {
        tokens.data_ptr<double>()[i] = chosen[i].token;
        logarithms.data_ptr<double>()[i] = double{chosen[i].logprob};
      }
      return Outputs{{tokens, kF64, Closeness::kExact}, {logarithms, kF64, Closeness::kSums}};
    };
  };
  return {&sample, fmt::format("{} of {}", rows, vocabulary), make};
}

void add_sampling(Samples& to) {
  for (const auto& [rows, vocabulary] : {std::pair<int64_t, int64_t>{1, 64}, {12, 1000}, {24, 32003}})
    to.push_back(sampled(rows, vocabulary));
}

}  // namespace cairn::ops::conformance
