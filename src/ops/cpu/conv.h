// What the kernels of convolutions take: plain structs of pointers and sizes, no tensors. Pictures are fp32 and
// channels-last, without gaps. Each kernel does the share of one worker.
#pragma once
#include "ops/cpu/kernels.h"

namespace cairn::ops::cpu {

// A filter as the products read it: panels of `panel` outputs (16, 32, 48 or 64), each [height][lanes][panel] lanes of
// 32 bits. The taps of one row of the filter are one run of width * pitch values, two to a lane in bf16; `pitch` is the
// number of inputs, made even for bf16. Outputs and inputs are padded with zeros, the bias to whole panels.
struct Filter {
  Type type;
  int64_t out, in, height, width, panel, pitch, lanes;
  const uint32_t* data;
  const float* bias;

  int64_t panels() const { return (out + panel - 1) / panel; }
  const uint32_t* panel_data(int64_t p) const { return data + p * panel * lanes * height; }
};

struct Picture {
  const float* data = nullptr;
  int64_t batches = 0, height = 0, width = 0, channels = 0;

  const float* row(int64_t n, int64_t y) const { return data + (n * height + y) * width * channels; }
};

// Sums over the pixels of each channel, and of squares, of the difference to the channel's first pixel (so that a large
// mean costs no digits). sums: (workers, batches, 2, channels).
struct Statistics {
  Picture x;
  double* sums;
};

// x * scale + shift, each (batches, channels), then SiLU: what a group norm comes to. Null scale: x as it is.
struct Affine {
  const float *scale = nullptr, *shift = nullptr;
  bool silu = false;
};

// Writes the result as pixels of type `type`, without gaps.
struct Normalize {
  Picture x;
  Affine norm;
  void* out;
  Type type;
};

// out = filter(norm(x)) + residual. With four filters each pixel of x gives a square of 2 x 2 of the output, one
// filter of 2 x 2 for each: a 3 x 3 filter on the doubled picture. Null residual adds nothing.
struct Convolution {
  Picture x;
  Affine norm;
  const Filter* filters = nullptr;
  int64_t filter_count = 1, stride = 1, pad_before = 1;
  float* out = nullptr;
  const float* residual = nullptr;
  int64_t out_height = 0, out_width = 0;
  bool wide = false;  // bf16 filters with fp32 inputs, for processors without bf16 products
};

// The kernels of one instruction set.
struct VisionKernels {
  void (*statistics)(const Statistics& job, Worker worker);
  void (*normalize)(const Normalize& job, Worker worker);
  void (*convolve)(const Convolution& job, Worker worker);
};

}  // namespace cairn::ops::cpu
