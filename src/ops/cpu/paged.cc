// Kernels of paged.h for processors. Blocks that the kernels take are laid out as paged_kernel.cc says; what is in
// other types or sizes goes to the references, and lies as those have it.
#include "ops/cpu/paged.h"

#include "ops/cpu/packed.h"
#include "ops/cpu/team.h"
#include "ops/paged.h"

namespace cairn::ops::cpu {
namespace {

// Whether a cache (blocks, block size, heads, width) is in the kernels' layout: writers and readers must agree.
bool laid_out(const Tensor& cache) {
  return type_of(cache.scalar_type()) && cache.is_contiguous() && cache.size(1) % 16 == 0 && cache.size(3) % 16 == 0;
}

// One token's numbers into its block. Keys: lanes of neighbours in the width; values: lanes of neighbouring tokens.
template <class T>
void put(const T* k, const T* v, int64_t width, int64_t value_width, T* keys, T* values, int64_t offset, int64_t size) {
  constexpr int64_t kValues = 4 / sizeof(T);
  for (int64_t i = 0; i < width; i += kValues)
    for (int64_t j = 0; j < kValues; ++j) keys[(i / kValues * size + offset) * kValues + j] = k[i + j];
  T* row = values + offset / kValues * value_width * kValues + offset % kValues;
  for (int64_t i = 0; i < value_width; ++i) row[i * kValues] = v[i];
}

// Keys and values of tokens to their places.
struct Writing {
  struct Source {
    const void* data;
    int64_t token, head;  // strides
  };
  int64_t work() const { return tokens * heads * (width + value_width) * 4; }
  void operator()(Worker w) const { type == Type::kF32 ? write<float>(w) : write<uint16_t>(w); }
  template <class T>
  void write(Worker w) const {
    for (int64_t t = tokens * w.id / w.count; t < tokens * (w.id + 1) / w.count; ++t)
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t place = (slots[t] / size * heads + h) * size;
        put(static_cast<const T*>(k.data) + t * k.token + h * k.head,
            static_cast<const T*>(v.data) + t * v.token + h * v.head, width, value_width,
            static_cast<T*>(keys) + place * width, static_cast<T*>(values) + place * value_width, slots[t] % size,
            size);
      }
  }

  Type type;
  Source k, v;
  void *keys, *values;
  const int64_t* slots;
  int64_t tokens, heads, width, value_width, size;
};

void write_kv(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache, const Tensor& slots) {
  if (!laid_out(k_cache) || !laid_out(v_cache)) return reference::write_kv(k, v, k_cache, v_cache, slots);
  const auto fits = [&](const Tensor& x, const Tensor& cache) {
    return x.dim() == 3 && x.scalar_type() == cache.scalar_type() && x.stride(2) == 1 && x.size(1) == cache.size(2) &&
           x.size(2) == cache.size(3);
  };
  check(fits(k, k_cache) && fits(v, v_cache) && slots.is_contiguous() && slots.numel() == k.size(0),
        "keys and values have the type and the shape of their cache");
  const auto* places = static_cast<const int64_t*>(slots.const_data_ptr());
  for (int64_t t = 0; t < slots.numel(); ++t)
    check(places[t] >= 0 && places[t] < k_cache.size(0) * k_cache.size(1), "slots lie in the cache");
  launch<Writing>([&](Writing& call) {
    call = {.type = *type_of(k_cache.scalar_type()),
            .k = {k.const_data_ptr(), k.stride(0), k.stride(1)},
            .v = {v.const_data_ptr(), v.stride(0), v.stride(1)},
            .keys = k_cache.mutable_data_ptr(),
            .values = v_cache.mutable_data_ptr(),
            .slots = places,
            .tokens = k.size(0),
            .heads = k.size(1),
            .width = k.size(2),
            .value_width = v.size(2),
            .size = k_cache.size(1)};
  });
}

struct Attending {
  int64_t work() const {
    int64_t pairs = 0;
    for (int64_t i = 0; i < attention.count; ++i) pairs += attention.spans[i].rows * attention.spans[i].keys;
    return pairs * attention.groups * attention.share * (attention.key_width + attention.value_width);
  }
  void operator()(Worker w) const { kernels().paged_attention(attention, w); }

  PagedAttention attention;
};

Tensor paged_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Paging& paging,
                       const AttentionRule& rule) {
  const auto sequences = paging.sequences;
  if (!laid_out(k) || !laid_out(v)) return reference::paged_attention(q, k, v, paging, rule);
  check(q.dim() == 3 && q.scalar_type() == k.scalar_type() && q.stride(2) == 1 && q.size(2) == k.size(3) &&
            q.size(1) % k.size(2) == 0 && v.size(2) == k.size(2) && v.size(1) == k.size(1),
        "queries have the type and the width of the keys");
  for (const PagedSequence& s : sequences)
    check(s.row >= 0 && s.rows >= 0 && s.rows <= s.keys && s.row + s.rows <= q.size(0),
          "a sequence's rows lie in the step");
  Tensor y = empty({q.size(0), q.size(1) * v.size(3)}, q.scalar_type());
  const auto cache = [](const Tensor& c) {
    return PagedAttention::Cache{c.const_data_ptr(), c.stride(0), c.stride(1), c.stride(2)};
  };
  launch<Attending>([&](Attending& call) {
    call.attention = {.k = cache(k),
                      .v = cache(v),
                      .q = q.const_data_ptr(),
                      .q_token = q.stride(0),
                      .q_head = q.stride(1),
                      .out = y.mutable_data_ptr(),
                      .type = *type_of(q.scalar_type()),
                      .groups = k.size(2),
                      .share = q.size(1) / k.size(2),
                      .key_width = k.size(3),
                      .value_width = v.size(3),
                      .block_size = k.size(1),
                      .spans = sequences.data(),
                      .count = static_cast<int64_t>(sequences.size()),
                      .scale = static_cast<float>(rule.scale),
                      .softcap = static_cast<float>(rule.softcap),
                      .window = rule.window};
  });
  return y;
}

}  // namespace
}  // namespace cairn::ops::cpu

namespace cairn::ops {

void install_cpu_paged() {
  write_kv.on(kCPU, cpu::write_kv);
  paged_attention.on(kCPU, cpu::paged_attention);
}

}  // namespace cairn::ops
