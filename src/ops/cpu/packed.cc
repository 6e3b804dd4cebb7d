#include "ops/cpu/packed.h"

#include <atomic>

#include "device/device.h"
#include "device/large_pages.h"
#include "ops/cpu/team.h"

namespace cairn::ops::cpu {
namespace {

std::atomic<int64_t> panel_bytes{0};

struct Panels {
  ~Panels() { panel_bytes -= bytes; }

  int64_t bytes = 0;
  std::shared_ptr<void> memory;
  Tensor bias;
  Packed packed;
};

// One row's lanes [first, end) into a panel. A last odd bf16 value fills half a lane.
void pack_lanes(uint32_t* panel, const char* row, int64_t row_bytes, int64_t first, int64_t end) {
  for (int64_t k = first; k < end; ++k) {
    uint32_t lane = 0;
    std::memcpy(&lane, row + 4 * k, static_cast<size_t>(std::min<int64_t>(4, row_bytes - 4 * k)));
    panel[k * kPanel] = lane;
  }
}

// A block of kBlock lanes of all rows at a time: four cache lines of each row, into 16 KiB that stay in the cache.
void pack_panel(const Packed& to, uint32_t* panel, const char* rows, int64_t row_bytes, int64_t count) {
  constexpr int64_t kBlock = 64;
  for (int64_t first = 0; first < to.lanes; first += kBlock) {
    const bool whole = 4 * (first + kBlock) <= row_bytes;
    for (int64_t o = 0; o < count; ++o) {
      const char* row = rows + o * row_bytes;
      if (!whole) {
        pack_lanes(panel + o, row, row_bytes, first, to.lanes);
        continue;
      }
      uint32_t lanes[kBlock];
      std::memcpy(lanes, row + 4 * first, sizeof lanes);
      const char* next = row + 4 * (first + kBlock);  // the processor does not foresee this many streams
      for (int64_t line = 0; line < 4; ++line) __builtin_prefetch(next + 64 * line);
      for (int64_t k = 0; k < kBlock; ++k) panel[(first + k) * kPanel + o] = lanes[k];
    }
    for (int64_t o = count; o < kPanel; ++o)
      for (int64_t k = first; k < std::min(first + kBlock, to.lanes); ++k) panel[k * kPanel + o] = 0;
  }
}

std::shared_ptr<const void> pack(const Weight& w) {
  const Tensor rows = w.weight().contiguous();
  const auto type = type_of(w.dtype());
  check(type && rows.dim() == 2, "packed() takes linear weights in fp32 or bf16");
  const int64_t values = *type == Type::kF32 ? 1 : 2, lanes = (w.in() + values - 1) / values;
  const int64_t panels = (w.out() + kPanel - 1) / kPanel;
  auto p = std::make_shared<Panels>();
  const int64_t bytes = panels * lanes * kPanel * int64_t{sizeof(uint32_t)};
  p->memory = device::on_large_pages(static_cast<size_t>(bytes));
  panel_bytes += p->bytes = bytes;
  p->bias = zeros({panels * kPanel}, kF32);
  if (w.bias().defined()) p->bias.narrow(0, 0, w.out()).copy_(w.bias());
  auto* to = static_cast<uint32_t*>(p->memory.get());
  p->packed = {*type, w.out(), w.in(), lanes, to, static_cast<const float*>(p->bias.const_data_ptr())};
  const auto* from = static_cast<const char*>(rows.const_data_ptr());
  const int64_t row_bytes = w.in() * rows.element_size();
  share(w.out() * w.in(), [&](Worker worker) {
    for (int64_t i = panels * worker.id / worker.count; i < panels * (worker.id + 1) / worker.count; ++i)
      pack_panel(p->packed, to + i * lanes * kPanel, from + i * kPanel * row_bytes, row_bytes,
                 std::min(kPanel, w.out() - i * kPanel));
  });
  return std::shared_ptr<const void>(p, &p->packed);
}

}  // namespace

const Packed& packed(const Weight& w) { return w.form<Packed>(pack); }

bool panels_are_far() { return panel_bytes.load(std::memory_order_relaxed) > device::last_level_cache(); }

std::optional<Type> type_of(Dtype dtype) {
  if (dtype == kF32) return Type::kF32;
  if (dtype == kBF16) return Type::kBF16;
  return std::nullopt;
}

std::optional<Rows> rows_of(const Tensor& t) {
  const auto type = type_of(t.scalar_type());
  const int64_t dim = t.dim();
  if (!type || dim < 2 || dim > 3 || (t.stride(-1) != 1 && t.size(-1) > 1)) return std::nullopt;
  return Rows{const_cast<void*>(t.const_data_ptr()), *type, t.size(-1), dim == 3 ? t.stride(0) : 0, t.stride(dim - 2)};
}

Part part_of(const Tensor& modulation, int64_t index, int64_t batches) {
  if (!modulation.defined()) return {};
  check(modulation.dim() == 3 && modulation.scalar_type() == kF32 && modulation.stride(2) == 1,
        "modulation is (N, parts, D) in fp32");
  check(modulation.size(0) == batches || modulation.size(0) == 1, "modulation has one row per batch, or one for all");
  check(index >= 0 && index < modulation.size(1), "modulation has no such part");
  return {static_cast<const float*>(modulation.const_data_ptr()) + index * modulation.stride(1),
          modulation.size(0) == 1 ? 0 : modulation.stride(0)};
}

float element(const Tensor& t, int64_t i) {
  const char* p = static_cast<const char*>(t.const_data_ptr()) + i * t.stride(0) * t.element_size();
  return t.scalar_type() == kF32 ? *reinterpret_cast<const float*>(p)
                                 : static_cast<float>(*reinterpret_cast<const c10::BFloat16*>(p));
}

}  // namespace cairn::ops::cpu
