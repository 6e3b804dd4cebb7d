// A stand-in for the class of libtorch_cuda that device/cuda_graph.h reaches by name: it has the members' names and
// their arguments as a compiler makes them, and writes down what it is told.
#include <string>
#include <utility>

enum cudaStreamCaptureMode { kGlobal, kThreadLocal, kRelaxed };

namespace at::cuda {

extern "C" std::string* fake_cuda_graph_log() {
  static std::string log;
  return &log;
}
namespace {
std::string& log() { return *fake_cuda_graph_log(); }
}  // namespace

struct CUDAGraph {
  explicit CUDAGraph(bool keep_graph);
  ~CUDAGraph();
  void capture_begin(std::pair<unsigned long long, unsigned long long> pool, cudaStreamCaptureMode mode);
  void capture_end();
  void replay();
  std::pair<unsigned long long, unsigned long long> pool();

  std::pair<unsigned long long, unsigned long long> pool_{};
  unsigned long long guard_[8] = {};
};

CUDAGraph::CUDAGraph(bool keep_graph) {
  for (auto& g : guard_) g = 0x5a5a;
  log() += keep_graph ? "keeps " : "made ";
}
CUDAGraph::~CUDAGraph() {
  for (const auto g : guard_)
    if (g != 0x5a5a) log() += "spoilt ";
  log() += "gone ";
}
void CUDAGraph::capture_begin(std::pair<unsigned long long, unsigned long long> pool, cudaStreamCaptureMode mode) {
  if (pool.first == 666) throw std::string("no capture");
  pool_ = {pool.first + 7, pool.second + 9};
  log() += "begin " + std::to_string(pool.first) + "," + std::to_string(pool.second) +
           (mode == kThreadLocal ? " alone " : " ");
}
void CUDAGraph::capture_end() { log() += "end "; }
void CUDAGraph::replay() { log() += "replay "; }
std::pair<unsigned long long, unsigned long long> CUDAGraph::pool() { return pool_; }

}  // namespace at::cuda
