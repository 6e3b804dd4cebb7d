#include "nn/layers.h"

#include <fmt/core.h>

#include <cmath>

namespace cairn::nn {

Tensor Embedding::operator()(const Tensor& ids) const {
  const Tensor flat = ids.flatten().contiguous();
  const auto* id = static_cast<const int64_t*>(flat.const_data_ptr());
  for (int64_t i = 0; flat.is_cpu() && i < flat.numel(); ++i)
    if (id[i] < 0 || id[i] >= weight_.size(0))
      throw Failure(
          Error{Code::kInvalidArgument,
                fmt::format("token id {} is outside the model's vocabulary of {}: tokenizer and text encoder do "
                            "not belong together",
                            id[i], weight_.size(0))});
  return ops::embedding(flat.to(weight_.device()), weight_, out_).unflatten(0, ids.sizes());
}

std::vector<ops::Expert> experts(int64_t count, const std::function<ops::Expert(int64_t)>& read) {
  std::vector<ops::Expert> list;
  Tensor inner, down;
  // What is read goes to its place before the next is: a layer of experts may be half of a device's memory.
  const auto moved = [](ops::Weight& w, const Tensor& place) {
    place.copy_(w.weight());
    w = {place, {}};
  };
  for (int64_t i = 0; i < count; ++i) {
    ops::Expert e = read(i);
    const Tensor& first = e.gate.weight();
    if (!first.is_cpu()) {
      if (i == 0) {
        inner = empty({count, 2, e.gate.out(), e.gate.in()}, first.scalar_type(), first.device());
        down = empty({count, e.down.out(), e.down.in()}, first.scalar_type(), first.device());
      }
      const Tensor both = inner[i];
      moved(e.gate, both[0]);
      moved(e.up, both[1]);
      moved(e.down, down[i]);
    }
    list.push_back(std::move(e));
  }
  return list;
}

Tensor sinusoid(const Tensor& timesteps, int64_t width, Dtype out) {
  const int64_t half = width / 2, n = timesteps.numel();
  Tensor table = empty({n, width}, kF32);
  const Tensor t = on_host(timesteps).to(Dtype::Double).contiguous();
  auto* p = static_cast<float*>(table.data_ptr());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < half; ++j) {
      const double angle = static_cast<const double*>(t.data_ptr())[i] *
                           std::exp(-std::log(10000.0) * static_cast<double>(j) / static_cast<double>(half));
      p[i * width + j] = static_cast<float>(std::cos(angle));
      p[i * width + half + j] = static_cast<float>(std::sin(angle));
    }
  return table.to(timesteps.device()).to(out);
}

Tensor rotary_table(const std::vector<std::vector<int64_t>>& positions, const std::vector<int64_t>& dims,
                    double theta) {
  int64_t width = 0;
  for (const int64_t d : dims) width += d;
  const auto tokens = static_cast<int64_t>(positions.size());
  Tensor table = empty({2, tokens, width}, kF32);
  auto *cos = static_cast<float*>(table.data_ptr()), *sin = cos + tokens * width;
  for (const auto& at : positions)
    for (size_t axis = 0; axis < dims.size(); ++axis)
      for (int64_t j = 0; j < dims[axis]; ++j) {
        const double angle = static_cast<double>(at[axis]) *
                             std::pow(theta, -static_cast<double>(j / 2 * 2) / static_cast<double>(dims[axis]));
        *cos++ = static_cast<float>(std::cos(angle));
        *sin++ = static_cast<float>(j % 2 ? std::sin(angle) : -std::sin(angle));
      }
  return table;
}

}  // namespace cairn::nn
