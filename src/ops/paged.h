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

// How a router chooses the experts of a token: by their scores, which are the softmax or the sigmoid of its logits.
struct RouteRule {
  int64_t each = 1;              // experts of a token
  int64_t groups = 1, kept = 1;  // they come from the best `kept` groups of neighbours,
  bool pairs = false;            // each of which is worth its best score, or the sum of its best two
  bool sigmoid = false;
  bool normalise = false;  // weights are divided by their sum,
  double scaling = 1;      // and multiplied by this
};

// What experts() takes: chosen (T, k) int64, or int32 where a device's kernels give that; weights (T, k) fp32.
struct Routed {
  Tensor chosen, weights;
};

namespace reference {
void write_kv(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache, const Tensor& slots);
Tensor paged_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Paging& paging,
                       const AttentionRule& rule);
Tensor split_latent_attention(const Tensor& q, const Tensor& q_rope, const Tensor& latents, const Tensor& ropes,
                              const Paging& paging, const AttentionRule& rule);
Routed route(const Tensor& logits, const Tensor& correction, const RouteRule& rule);
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

// The same where a device keeps latents (blocks, block size, 1, l), which are the values too, and the rope parts of
// their keys (blocks, block size, 1, r) apart: those of q (T, H, l) and q_rope (T, H, r). The result (T, H l) in the
// dtype of q. A model keeps them apart where the device has a kernel for this; write_kv of that device leaves rows as
// their shapes say.
inline Op<Tensor(const Tensor& q, const Tensor& q_rope, const Tensor& latents, const Tensor& ropes,
                 const Paging& paging, const AttentionRule& rule)>
    split_latent_attention{"split_latent_attention", reference::split_latent_attention};

// Experts of each row of logits (T, E) fp32. correction (E) fp32, or undefined: added to the scores by which they are
// chosen, not to their weights.
inline Op<Routed(const Tensor& logits, const Tensor& correction, const RouteRule& rule)> route{"route",
                                                                                               reference::route};

// Each row of x (T, D) through its experts: sum over j of weights[t, j] * expert chosen[t, j] (x[t]). The result (T, D)
// in fp32, summed in the order of the experts; in the dtype of x where a device's kernel sums in fp32 and rounds.
inline Op<Tensor(const Tensor& x, const Tensor& chosen, const Tensor& weights, at::ArrayRef<Expert> experts,
                 Activation act)>
    experts{"experts", reference::experts};

void install_cpu_paged();

}  // namespace cairn::ops
