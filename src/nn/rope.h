// Rotary position embedding (Su et al. 2021, RoFormer) of language models, and the ways to stretch it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "tensor/tensor.h"

namespace cairn::nn {

struct RopeConfig {
  std::string type = "default";  // default, linear, llama3, yarn, longrope
  double theta = 10000, factor = 1, partial = 1;
  double original_positions = 0;                     // of the first training; 0: the model's own limit
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1, mscale = 0, mscale_all_dim = 0;  // yarn
  bool truncate = true;
  std::vector<double> short_factor, long_factor;  // longrope
  double attention_factor = 0;                    // of cosines and sines; 0: what the type says

  // From config.json in either key style (`rope_parameters`, or rope_theta beside `rope_scaling`). `part` names one
  // entry where there is one for each kind of layer. Errors name the key.
  static Result<RopeConfig> read(const Json& config, const std::string& part = "");
};

// The cosines and sines of a head: the first width * partial columns turn, the rest stay. Made when first asked for, in
// stretches of positions; threads may share one.
class Rope {
 public:
  // `positions`: the model's limit.
  Rope(const RopeConfig& config, int64_t width, int64_t positions);

  // For positions (T) int64, each below the limit (checked: Failure): (2, T, width) fp32, as ops::qkv takes it, with
  // the two halves of a head taken to be interleaved. `stretched` (T), or empty: rows that take longrope's long
  // factors. Positions and table are the host's.
  Tensor table(const Tensor& positions, const std::vector<bool>& stretched = {}) const;

  // Whether sequences longer than switch_length() need `stretched`, for all of their tokens.
  bool switches() const { return switches_; }
  int64_t switch_length() const { return switch_length_; }
  // What attention's scale is multiplied with (DeepSeek's mscale_all_dim).
  double scale() const { return scale_; }

 private:
  struct Stretches;
  std::vector<std::shared_ptr<Stretches>> kinds_;  // of the short and of the long factors
  int64_t width_, positions_, switch_length_ = 0;
  bool switches_ = false;
  double scale_ = 1;
};

// The order of a head's `width` rows in which the two halves of its first `rotary` ones are interleaved: queries and
// keys from weights in that order have the scores that they had.
std::vector<int64_t> interleaved(int64_t heads, int64_t width, int64_t rotary);

}  // namespace cairn::nn
