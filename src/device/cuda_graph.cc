#include "device/cuda_graph.h"

#include <dlfcn.h>

#include <new>

#include "base/result.h"

namespace cairn::device {
namespace {

// Members of a class, called as the C++ ABI of libtorch's platforms has it: the object first.
struct Members {
  void (*construct)(void*, bool keep_graph);
  void (*destroy)(void*);
  void (*capture_begin)(void*, c10::MempoolId_t, int mode);
  void (*capture_end)(void*);
  void (*replay)(void*);
  c10::MempoolId_t (*pool)(void*);
};
constexpr int kThreadLocal = 1;       // cudaStreamCaptureModeThreadLocal
constexpr size_t kRoomForOne = 1024;  // it takes 104 bytes in 2.11

Failure none() { return Failure({Code::kUnsupported, "this libtorch has no graphs for this device; 2.13 has"}); }

template <class F>
void find(F& f, const char* name) {
  f = reinterpret_cast<F>(::dlsym(RTLD_DEFAULT, name));
  if (!f) throw none();
}

const Members& members() {
  static const Members all = [] {
    Members m{};
    find(m.construct, "_ZN2at4cuda9CUDAGraphC1Eb");
    find(m.destroy, "_ZN2at4cuda9CUDAGraphD1Ev");
    find(m.capture_begin, "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode");
    find(m.capture_end, "_ZN2at4cuda9CUDAGraph11capture_endEv");
    find(m.replay, "_ZN2at4cuda9CUDAGraph6replayEv");
    find(m.pool, "_ZN2at4cuda9CUDAGraph4poolEv");
    return m;
  }();
  return all;
}

}  // namespace

CudaGraph::CudaGraph(c10::Device device) {
  if (!device.is_cuda()) throw none();
  const Members& m = members();
  void* room = ::operator new(kRoomForOne);
  try {
    m.construct(room, false);
  } catch (...) {
    ::operator delete(room);
    throw;
  }
  graph_ = {room, [&m](void* graph) {
              m.destroy(graph);
              ::operator delete(graph);
            }};
}

void CudaGraph::capture_begin(c10::MempoolId_t pool) { members().capture_begin(graph_.get(), pool, kThreadLocal); }
void CudaGraph::capture_end() { members().capture_end(graph_.get()); }
void CudaGraph::replay() { members().replay(graph_.get()); }
c10::MempoolId_t CudaGraph::pool() { return members().pool(graph_.get()); }

}  // namespace cairn::device
