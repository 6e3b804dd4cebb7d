// Ranges of a denoiser's block stack as graphs of their device. A step cache decides anew at every step which blocks
// run, so not a step but the ranges that it asks for (front, middle, back; or all) are captured, at their second
// occurrence in a shape, and replayed as the verdicts want them. Where the first capture fails none is tried again;
// where a later one does, that range alone runs as it is.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>

#include "device/graph.h"
#include "diffusion/denoiser.h"

namespace cairn::diffusion {

// Of one thread, whose current stream must not be the device's default one.
class BlockGraphs {
 public:
  explicit BlockGraphs(c10::Device device) : memory_(device) {}

  // What blocks(in, range, modulated) gives, in memory of its own.
  Streams run(const Streams& in, Range range, const Batch::Modulated& modulated, const Batch::Blocks& blocks);

  int64_t replays() const { return replays_; }
  const std::string& refused() const { return refused_; }  // why nothing is captured; empty while it may be

 private:
  using Shape = std::vector<int64_t>;
  struct Held {
    std::set<size_t> layers{};  // of modulation, which the range reads
    Streams in{}, out{};
    Batch::Fixed fixed{};
    std::optional<device::Graph> graph{};
    bool refused = false;
  };
  Streams capture(Held& held, const Streams& in, Range range, const Batch::Modulated& modulated,
                  const Batch::Blocks& blocks);
  Streams replay(Held& held, const Streams& in, const Batch::Modulated& modulated);

  device::GraphMemory memory_;
  std::map<Shape, Held> held_;
  std::string refused_;
  int64_t replays_ = 0;
};

}  // namespace cairn::diffusion
