// What the kernels of every instruction set take: plain structs of pointers, sizes and strides (in elements), no
// tensors. Each kernel does the share of one worker; the caller opens the parallel region (team.h).
#pragma once
#include <cstdint>

namespace cairn::ops::cpu {

enum class Type : uint8_t { kF32, kBF16 };
enum class Act : uint8_t { kNone, kGelu, kGeluTanh, kQuickGelu, kSilu };  // in the order of ops::Activation

struct Worker {
  int id, count;
};

// Outputs per panel of a packed weight: four vectors of AVX-512, one attention head of the usual width.
inline constexpr int64_t kPanel = 64;

// A weight as the products read it: panels of kPanel outputs, each [lanes][kPanel] lanes of 32 bits. A lane holds one
// fp32 value or two bf16 values that are neighbours in the sum. Outputs and inputs are padded with zeros.
struct Packed {
  Type type;
  int64_t out, in, lanes;
  const uint32_t* data;
  const float* bias;  // padded to whole panels, zero where the layer has none

  int64_t panels() const { return (out + kPanel - 1) / kPanel; }
  const uint32_t* panel(int64_t p) const { return data + p * lanes * kPanel; }
};

// A matrix (batches, tokens, width) whose rows lie at data + batch * batch_stride + token * row_stride.
struct Rows {
  void* data = nullptr;
  Type type = Type::kF32;
  int64_t width = 0, batch_stride = 0, row_stride = 0;
};

// What becomes of a product's rows while they are in the first-level cache.
struct Epilogue {
  enum Kind : uint8_t { kActivate, kAdd, kGlu, kHeads } kind = kActivate;
  Act act = Act::kNone;
  Rows out;
  Rows residual;                               // kAdd, in the type of `out`
  const float* gate = nullptr;                 // kAdd: (batches, out), or null for 1
  int64_t gate_stride = 0;                     // from batch to batch
  int64_t head_dim = 0;                        // kHeads: RMS norm over this many columns when `norm`, then rotation
  const float* norm = nullptr;                 // (head_dim)
  const float *cos = nullptr, *sin = nullptr;  // (tokens, head_dim) of this product's first token on, or null
  float eps = 0;
};

inline constexpr int64_t kMaxInputs = 4;

// One product of concatenated inputs, at most kMaxInputs, and a packed weight. For kGlu weights holds gate and up,
// otherwise weights[1] is null. Inputs are in the weight's type, or fp32 for bf16 weights where Kernels::bf16 is false.
struct Product {
  const Rows* inputs;
  int64_t input_count, batches, tokens;
  const Packed* weights[2];
  Epilogue epilogue;
  bool far = false;  // the weights come from memory, not from a cache
};

// Copies rows of `from` to fp32 or bf16 rows of `to`; columns past from.width become zero.
struct Copy {
  Rows from, to;
  int64_t batches, tokens;
};

// (x - mean) / deviation * (mul + mul_plus) + add, or without mean for an RMS norm. mul and add advance by their
// strides from batch to batch; null for 1 and 0.
struct Norm {
  Rows x{}, out{};
  int64_t batches = 0, tokens = 0;
  bool centre = false;
  float eps = 0, mul_plus = 0;
  const void *mul = nullptr, *add = nullptr;
  Type mul_type = Type::kF32, add_type = Type::kF32;
  int64_t mul_stride = 0, add_stride = 0;
};

// softmax(scale q k^T + bias) v; strides in elements over batch, token and head.
struct Attention {
  struct Heads {
    const void* data;
    int64_t batch, token, head;
  };
  Heads q, k, v;
  Type type;
  void* out;  // (batches, tokens, heads, head_dim), contiguous
  int64_t batches, tokens, keys, heads, head_dim;
  const float* bias;  // null for none; strides of 0 broadcast, the one over keys is 0 or 1
  int64_t bias_batch, bias_head, bias_token, bias_key;
  bool causal;
  float scale;
};

struct VisionKernels;
struct PagedAttention;  // paged.h

// The kernels of one instruction set.
struct Kernels {
  const char* isa;
  bool bf16;  // has bf16 dot products: bf16 inputs are read as they are, not widened
  void (*products)(const Product* jobs, int64_t count, Worker worker);
  void (*copy)(const Copy& copy, Worker worker);
  void (*norm)(const Norm& norm, Worker worker);
  void (*attention)(const Attention& attention, Worker worker);
  void (*paged_attention)(const PagedAttention& attention, Worker worker);
  const VisionKernels* vision;  // conv.h
};

// The kernels in use: the best that the processor runs, or those that the environment variable CAIRN_ISA names.
const Kernels& kernels();

// `bytes` of this thread's own scratch memory, aligned to 64, valid until the thread asks again.
void* scratch(int64_t bytes);

}  // namespace cairn::ops::cpu
