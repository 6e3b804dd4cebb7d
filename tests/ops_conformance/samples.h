// What operations are tried with. A sample is written once and runs anywhere: on a device in some dtype, and on the
// processor in float64, where the operation's reference is the oracle. Both see the same numbers, because a Place
// draws them in the order in which it is asked, rounds them to the dtype, and only then moves or widens them.
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ops/paged.h"

namespace cairn::ops::conformance {

inline constexpr Dtype kF64 = c10::ScalarType::Double;

// How near to float64 a result must be.
enum class Closeness {
  kRounded,  // its own rounding, and that of what the operation may round along the way
  kSums,     // sums in fp32 at least, of inputs as they are
  kExact     // numbers that were only moved
};

struct Output {
  Tensor value;
  Dtype dtype;  // which the operation promises; the oracle's is float64
  Closeness closeness = Closeness::kRounded;
};
using Outputs = std::vector<Output>;
using Run = std::function<Outputs()>;

class Place {
 public:
  Place(c10::Device device, Dtype dtype) : device_(device), dtype_(dtype) {}
  // The oracle of a run in `dtype`.
  static Place exact(Dtype dtype) {
    Place p(c10::DeviceType::CPU, dtype);
    p.exact_ = true;
    return p;
  }

  c10::Device device() const { return device_; }
  Dtype dtype() const { return dtype_; }
  // What to ask an operation for where the device is asked for `d`.
  Dtype as(Dtype d) const { return exact_ ? kF64 : d; }

  // Normal numbers times `scale` plus `shift`.
  Tensor numbers(at::IntArrayRef shape, Dtype dtype, double scale = 1, double shift = 0);
  Tensor numbers(at::IntArrayRef shape) { return numbers(shape, dtype_); }
  Tensor integers(const std::vector<int64_t>& values);
  // A tensor of the host, here.
  Tensor placed(const Tensor& host);

  // Such that products keep the size of their inputs.
  Weight weight(int64_t out, int64_t in, bool bias = true);
  Weight filter(int64_t out, int64_t in, int64_t kernel);
  // Without biases and one behind the other, as models lay them out for a device (nn::adjoin).
  std::vector<Weight> adjoined(const std::vector<int64_t>& outs, int64_t in);
  // Angles of `tokens` positions, as rope_table takes them.
  Tensor angles(int64_t tokens, int64_t width);
  // With the arrays that a device's kernels read; `sequences` must outlive it.
  Paging paging(const std::vector<PagedSequence>& sequences, int64_t block_size);

  // The operation as it runs here: what the device has installed, or the reference itself.
  template <class R, class... A>
  auto of(const Op<R(A...)>& op) const {
    return [&op, exact = exact_](A... a) -> R {
      return exact ? op.reference()(static_cast<A>(a)...) : op(static_cast<A>(a)...);
    };
  }

  // Bytes of all that was handed out.
  double bytes() const { return bytes_; }

 private:
  c10::Device device_;
  Dtype dtype_;
  bool exact_ = false;
  double bytes_ = 0;
  Noise noise_{7};
};

struct Sample {
  const AnyOp* op;
  std::string what;
  std::function<Run(Place&)> make;
};
using Samples = std::vector<Sample>;

// Streams projected to heads.
struct Projection {
  int64_t n, head_dim, heads, groups, width;
  std::vector<int64_t> tokens;  // of each stream
  bool normed, turned, beside;  // beside: the weights are adjoined
};
Run projected(const Projection& s, Place& p);

// Blocks in an order that nothing would come to by itself.
std::vector<int32_t> shuffled(int64_t blocks);

void add_layers(Samples& to);     // products and norms
void add_attention(Samples& to);  // heads, attention, and rows of tables
void add_paged(Samples& to);
void add_vision(Samples& to);
void add_cache(Samples& to);
Sample sampled(int64_t rows, int64_t vocabulary);  // requests of every kind
void add_sampling(Samples& to);

// One to be timed. It moves what its Place handed out and its results, where `bytes` is 0.
struct Timed {
  Sample sample;
  double flops = 0, bytes = 0;
};
void add_timed_language(std::vector<Timed>& to);  // the sizes of Qwen3-0.6B
void add_timed_pictures(std::vector<Timed>& to);  // a block of FLUX with 1024 tokens, its autoencoder, its caches

}  // namespace cairn::ops::conformance
