// Operations of language models: keys and values that live in blocks, and experts. T tokens of a step, H heads, d head
// width.
#pragma once
#include "ops/ops.h"
#include "ops/paged_sequence.h"

namespace cairn::ops {

// A token sees itself and the tokens before it: the last `window` of them where that is not 0. softcap: scores s become
// softcap * tanh(s / softcap) where it is not 0 (Gemma 2).
struct AttentionRule {
  double scale = 1, softcap = 0;
  int64_t window = 0;
};

// Where the sequences of a step lie: for the host, which plans, and for kernels of a device that is not the host.
struct Paging {
  Paging(at::ArrayRef<PagedSequence> list) : sequences(list) {}
  Paging(const PagedSequence& one) : sequences(one) {}
  Paging(at::ArrayRef<PagedSequence> list, Tensor blocks, Tensor lengths, Tensor rows)
      : sequences(list), tables(std::move(blocks)), keys(std::move(lengths)), first(std::move(rows)) {}

  at::ArrayRef<PagedSequence> sequences;
  // int32 on the device: blocks (S, columns), of which a sequence's own come first; keys (S); the first row of each
  // sequence, and the number of all rows (S + 1). Undefined on a processor, and where only the references read them.
  Tensor tables, keys, first;
};

// An expert's gated MLP.
struct Expert {
  Weight gate, up, down;
};
inline double weight_bytes(const Expert& e) { return weight_bytes(e.gate) + weight_bytes(e.up) + weight_bytes(e.down); }

namespace reference {
void write_kv(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache, const Tensor& slots);
Tensor paged_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Paging& paging,
                       const AttentionRule& rule);
Tensor experts(const Tensor& x, const Tensor& chosen, const Tensor& weights, at::ArrayRef<Expert> experts,
               Activation act);
}  // namespace reference

// Keys k (T, G, d) and values v (T, G, e) to the places `slots` (T) int64, block * block size + offset, of their caches
// (blocks, block size, G, d) and (blocks, block size, G, e). What a cache looks like inside a block is the device's
// own: only paged_attention of the same device reads it.
inline Op<void(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache, const Tensor& slots)>
    write_kv{"write_kv", reference::write_kv};

// Causal attention of q (T, H, d) over caches that write_kv has filled, H a multiple of G: head h reads h / (H / G).
// The result (T, H e) in the dtype of q; rows of no sequence are undefined.
inline Op<Tensor(const Tensor& q, const Tensor& k, const Tensor& v, const Paging& paging, const AttentionRule& rule)>
    paged_attention{"paged_attention", reference::paged_attention};

// The same over rows that lie as their shapes say, for multi-head latent attention.
inline Op<Tensor(const Tensor& q, const Tensor& k, const Tensor& v, const Paging& paging, const AttentionRule& rule)>
    latent_attention{"latent_attention", reference::paged_attention};

// Each row of x (T, D) through its experts: sum over j of weights[t, j] * expert chosen[t, j] (x[t]). chosen (T, k)
// int64, weights (T, k) fp32. The result (T, D) in fp32, summed in the order of the experts.
inline Op<Tensor(const Tensor& x, const Tensor& chosen, const Tensor& weights, at::ArrayRef<Expert> experts,
                 Activation act)>
    experts{"experts", reference::experts};

void install_cpu_paged();

}  // namespace cairn::ops
