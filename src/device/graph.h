// Work that is noted once and done many times: capture() runs a function and notes the kernels that it starts; a
// replay starts them again on the same memory. What changes from replay to replay is written into the tensors and
// structs that the function read, all of which must outlive the graph, as must the weights.
// On a processor a replay goes through a list: no operation is dispatched and no tensor is made.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

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

// What a capture has noted so far.
class Recording {
 public:
  void add(std::shared_ptr<const Kernel> kernel);
  void add(std::function<void()> host);  // runs on the calling thread, between kernels
  void refuse(const std::string& what);  // something was done that no replay would do

 private:
  friend class Graph;
  struct Stage {
    std::function<void()> host;                          // then
    std::vector<std::shared_ptr<const Kernel>> kernels;  // these
  };
  std::vector<Stage> stages_;
  std::string refused_;
};

// That of the capture under way on this thread, or null.
Recording* recording();

// Runs f now and at every replay of the graph that is being captured, if one is.
template <class F>
void on_host(F&& f) {
  f();
  if (Recording* r = recording()) r->add(std::function<void()>(std::forward<F>(f)));
}

class Graph {
 public:
  // Runs f. Tensors that it makes lie in `memory`, whose graphs must not be replayed at once: they overwrite each
  // other's. kUnsupported, naming it, when f did something that cannot be noted; what f computed stands all the same.
  static Result<Graph> capture(Arena& memory, const std::function<void()>& f);

  void replay() const;
  size_t kernels() const;

 private:
  Graph(Arena memory, std::vector<Recording::Stage> stages);
  Arena memory_;
  std::vector<Recording::Stage> stages_;
};

}  // namespace cairn::device
