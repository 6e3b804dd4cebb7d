#include <cstring>

#include "ops/cuda/cuda.h"
#include "ops/cuda/sampling_kernels.h"
#include "ops/cuda/tensors.h"

namespace cairn::ops::cuda {
namespace {

constexpr int64_t kMostTokens = (1 << 19) - 1;

// Lists of the host behind one another, so that they go to the device at once.
class Packed {
 public:
  template <class T>
  int64_t add(const std::vector<T>& list) {
    const auto at = static_cast<int64_t>(bytes_.size());
    bytes_.resize(bytes_.size() + (list.size() * sizeof(T) + 15) / 16 * 16);
    if (!list.empty()) std::memcpy(bytes_.data() + at, list.data(), list.size() * sizeof(T));
    return at;
  }
  // `more` bytes behind them are for the device.
  Tensor to(c10::Device device, int64_t more) const {
    const auto size = static_cast<int64_t>(bytes_.size());
    Tensor host = empty({size}, Dtype::Byte), there = empty({size + more}, Dtype::Byte, device);
    std::memcpy(host.mutable_data_ptr(), bytes_.data(), bytes_.size());
    there.narrow(0, 0, size).copy_(host);
    return there;
  }

 private:
  std::vector<uint8_t> bytes_;
};

}  // namespace

std::vector<Sampled> sample(const Tensor& logits, const Sampling& how) {
  const auto count = static_cast<int64_t>(how.rows.size());
  if (logits.scalar_type() != kF32 || logits.stride(1) != 1 || logits.size(1) > kMostTokens || count == 0)
    return reference::sample(logits, how);
  Packed packed;
  const int64_t rows = packed.add(how.rows), touches = packed.add(how.touches), allowed = packed.add(how.allowed);
  const int64_t size = count * static_cast<int64_t>(sizeof(Sampled));
  const Tensor there = packed.to(logits.device(), size), out = there.narrow(0, there.size(0) - size, size);
  const auto* base = static_cast<const uint8_t*>(there.const_data_ptr());
  launched(sample({.logits = logits.data_ptr<float>(),
                   .count = count,
                   .vocabulary = logits.size(1),
                   .row_stride = logits.stride(0),
                   .rows = reinterpret_cast<const SampleRow*>(base + rows),
                   .touches = reinterpret_cast<const Touch*>(base + touches),
                   .allowed = reinterpret_cast<const uint32_t*>(base + allowed),
                   .allowed_words = how.allowed_words,
                   .out = static_cast<Sampled*>(out.data_ptr())},
                  stream_of(logits)));
  std::vector<Sampled> chosen(how.rows.size());
  std::memcpy(chosen.data(), on_host(out).const_data_ptr(), static_cast<size_t>(size));
  return chosen;
}

}  // namespace cairn::ops::cuda
