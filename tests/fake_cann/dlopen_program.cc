// A program that neither links nor includes torch_npu, as Cairn does not: it opens it, and uses PyTorch's neutral
// interfaces. Arguments: libpython3.x.so, libtorch_npu.so. Prints what is wrong; status 0 when nothing is.
#include <ATen/DeviceAccelerator.h>
#include <ATen/accelerator/Graph.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdio>

#include "bed.h"

int main(int, char** argv) {
  fake::start(argv[1], argv[2]);
  if (at::accelerator::deviceCount() != 2) return std::puts("not two devices"), 1;
  const auto x = at::randn({4, 8});
  auto input = at::zeros({4, 8}).to(fake::kNpu);
  const c10::impl::VirtualGuardImpl device(at::kPrivateUse1);
  const auto stream = device.getStreamFromGlobalPool(fake::kNpu, false);
  at::accelerator::Graph graph;
  at::Tensor output;
  {
    c10::StreamGuard guard(stream);
    graph.capture_begin();
    output = input.add(1);
    graph.capture_end();
  }
  input.copy_(x);
  c10::Event copied(at::kPrivateUse1);
  copied.record(device.getStream(fake::kNpu));
  {
    c10::StreamGuard guard(stream);
    copied.block(stream);
    graph.replay();
  }
  at::accelerator::synchronizeDevice(0);
  if (!output.cpu().allclose(x.add(1))) return std::puts("the graph gave something else"), 1;
  return 0;
}
