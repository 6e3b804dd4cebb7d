#include "diffusion/block_graphs.h"

#include <algorithm>

namespace cairn::diffusion {
namespace {

// DBPrune asks for blocks one at a time, in many shapes of requests: beyond these they run as they are.
constexpr size_t kMostGraphs = 256;

bool alike(const Tensor& a, const Tensor& b) { return a.defined() && b.defined() && a.data_ptr() == b.data_ptr(); }
Tensor copied(const Tensor& t) { return t.defined() ? t.clone().contiguous() : t; }

}  // namespace

Streams BlockGraphs::run(const Streams& in, Range range, const Batch::Modulated& modulated,
                         const Batch::Blocks& blocks) {
  if (!refused_.empty()) return blocks(in, range, modulated);
  Shape key{range.first, range.last};
  for (const Tensor* t : {&in.hidden, &in.encoder}) key.insert(key.end(), t->sizes().begin(), t->sizes().end());
  const auto found = held_.find(key);
  if (found == held_.end()) {
    if (held_.size() >= kMostGraphs) return blocks(in, range, modulated);
    return blocks(in, range, modulated.noting(held_[key].layers));
  }
  Held& held = found->second;
  if (held.refused) return blocks(in, range, modulated);
  return held.graph ? replay(held, in, modulated) : capture(held, in, range, modulated, blocks);
}

Streams BlockGraphs::capture(Held& held, const Streams& in, Range range, const Batch::Modulated& modulated,
                             const Batch::Blocks& blocks) {
  held.in = {copied(in.hidden), copied(in.encoder)};
  for (const size_t layer : held.layers) held.fixed.layers[layer] = copied(modulated[layer]);
  held.fixed.rope = copied(modulated.rope());
  Streams made;
  auto graph = device::Graph::capture(memory_, [&] { made = blocks(held.in, range, Batch::Modulated(held.fixed)); });
  if (!graph) {
    held = {.refused = true};
    const auto captured = [](const auto& h) { return h.second.graph.has_value(); };
    if (std::ranges::none_of(held_, captured)) refused_ = graph.error().what;
    return blocks(in, range, modulated);
  }
  held.graph = std::move(*graph);
  held.out = {borrowed(made.hidden), borrowed(made.encoder)};
  return replay(held, in, modulated);
}

Streams BlockGraphs::replay(Held& held, const Streams& in, const Batch::Modulated& modulated) {
  held.in.hidden.copy_(in.hidden);
  held.in.encoder.copy_(in.encoder);
  for (const auto& [layer, to] : held.fixed.layers) to.copy_(modulated[layer]);
  held.fixed.rope.copy_(modulated.rope());
  held.graph->replay();
  ++replays_;
  // The next replay overwrites the results; caches keep them. A stream that was handed on stays what it was.
  return {alike(held.out.hidden, held.in.hidden) ? in.hidden : held.out.hidden.clone(),
          alike(held.out.encoder, held.in.encoder) ? in.encoder : held.out.encoder.clone()};
}

}  // namespace cairn::diffusion
