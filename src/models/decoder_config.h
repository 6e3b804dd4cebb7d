// config.json of the dense and mixture-of-experts families, in the newer and the older key style, as one struct.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "nn/rope.h"
#include "ops/ops.h"

namespace cairn::models {

struct DecoderConfig {
  std::string family;  // model_type
  int64_t vocab = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_width = 0, mlp = 0, positions = 0;
  double eps = 1e-6, scale = 0;
  double softcap = 0, final_softcap = 0;  // 0: none
  ops::Activation act = ops::Activation::kSilu;
  bool tied = false;
  bool qkv_bias = false, out_bias = false, mlp_bias = false;
  bool head_norm = false;           // RMS norm of each head's queries and keys
  bool fused = false;               // one matrix for queries, keys and values, one for gate and up (Phi-3)
  bool gemma = false;               // norm weights around zero, norms behind the sub-layers too, scaled embedding
  std::vector<int64_t> windows;     // of each layer; 0: all tokens
  nn::RopeConfig rope, local_rope;  // local: of layers with a window, where has_local
  bool has_local = false;

  int64_t experts = 0, experts_each = 0, expert_mlp = 0;
  bool normalise = true;
  bool mixtral = false;      // w1, w3, w2 below block_sparse_moe
  std::vector<bool> sparse;  // layers with experts

  static Result<DecoderConfig> read(const Json& config);
};

// "silu", "gelu_pytorch_tanh", … as config.json names it.
Result<ops::Activation> parse_activation(const std::string& name);

}  // namespace cairn::models
