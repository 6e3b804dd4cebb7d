// Work that is noted once and done many times: capture() runs a function and notes the kernels that it starts; a
// replay starts them again on the same memory. What changes from replay to replay is written into the tensors and
// structs that the function read, all of which must outlive the graph, as must the weights.
// On a processor a replay goes through a list: no operation is dispatched and no tensor is made. On an accelerator the
// device's own graphs do it (at::accelerator::Graph).
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "tensor/arena.h"

namespace cairn::device {

// A kernel of a processor with all that it needs. It must not throw.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual int64_t work() const = 0;                 // multiply-adds, with the sizes that it finds now
  virtual void run(int part, int count) const = 0;  // parts do not wait for each other
};

// Runs it in `count` parts on a team of as many threads.
void run(const Kernel& kernel, int count);

// What a capture on a processor has noted so far.
class Recording {
 public:
  void add(std::shared_ptr<const Kernel> kernel) { kernels_.push_back(std::move(kernel)); }
  void refuse(const std::string& what);  // something was done that no replay would do

 private:
  friend class Graph;
  std::vector<std::shared_ptr<const Kernel>> kernels_;
  std::string refused_;
};

// That of the capture under way on this thread, or null.
Recording* recording();

// Does `issue`, which starts operators with arguments on the host that change from replay to replay. A replay of an
// NPU's graph starts them anew with what they then are; other devices read such things from their memory, and do it
// once.
void updatable(std::function<void()> issue);

// Memory of graphs of which one is replayed at a time: they overwrite each other's.
class GraphMemory {
 public:
  explicit GraphMemory(c10::Device device) : device_(device) {}
  c10::Device device() const { return device_; }

 private:
  friend class Graph;
  c10::Device device_;
  Arena arena_;                           // a processor's
  std::pair<uint64_t, uint64_t> pool_{};  // an accelerator's
};

class Graph {
 public:
  // Runs f, on an accelerator for the capture's sake alone: what it computes is there after a replay. Tensors that it
  // makes lie in `memory`, which must outlive the graph. The current stream must not be the device's default one.
  // kUnsupported, with the reason, when f did something that cannot be noted; on a processor what f computed stands all
  // the same.
  static Result<Graph> capture(GraphMemory& memory, const std::function<void()>& f);

  void replay() const;
  size_t kernels() const { return kernels_.size(); }  // on a processor

 private:
  struct Captured;  // an accelerator's
  explicit Graph(std::vector<std::shared_ptr<const Kernel>> kernels) : kernels_(std::move(kernels)) {}
  explicit Graph(std::shared_ptr<Captured> captured) : captured_(std::move(captured)) {}
  static Result<Graph> capture_kernels(GraphMemory& memory, const std::function<void()>& f);

  std::vector<std::shared_ptr<const Kernel>> kernels_;
  std::shared_ptr<Captured> captured_;
};

}  // namespace cairn::device
