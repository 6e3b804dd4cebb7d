#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops_conformance/samples.h"

namespace cairn::ops::conformance {
namespace {

Tensor int32s(const std::vector<int32_t>& values) {
  const Tensor t = empty({static_cast<int64_t>(values.size())}, Dtype::Int);
  std::ranges::copy(values, static_cast<int32_t*>(t.mutable_data_ptr()));
  return t;
}

double root(int64_t n) { return std::sqrt(static_cast<double>(n)); }

}  // namespace

Tensor Place::placed(const Tensor& host) {
  const Tensor t = exact_ && host.is_floating_point() ? host.to(kF64) : host.to(device_);
  bytes_ += static_cast<double>(t.nbytes());
  return t;
}

Tensor Place::numbers(at::IntArrayRef shape, Dtype dtype, double scale, double shift) {
  const Tensor plain = noise_.normal(shape, kF32);
  return placed((scale == 1 && shift == 0 ? plain : plain * scale + shift).to(dtype));
}

Tensor Place::integers(const std::vector<int64_t>& values) {
  const Tensor t = empty({static_cast<int64_t>(values.size())}, Dtype::Long);
  std::ranges::copy(values, static_cast<int64_t*>(t.mutable_data_ptr()));
  return placed(t);
}

Weight Place::weight(int64_t out, int64_t in, bool bias) {
  const Tensor w = numbers({out, in}, dtype_, 1 / root(in));
  return {w, bias ? numbers({out}) : Tensor()};
}

Weight Place::filter(int64_t out, int64_t in, int64_t kernel) {
  const Tensor w = numbers({out, in, kernel, kernel}, dtype_, 1 / root(in * kernel * kernel));
  return {w, numbers({out}, kF32)};
}

std::vector<Weight> Place::adjoined(const std::vector<int64_t>& outs, int64_t in) {
  int64_t rows = 0;
  for (const int64_t out : outs) rows += out;
  const Tensor all = numbers({rows, in}, dtype_, 1 / root(in));
  std::vector<Weight> weights;
  rows = 0;
  for (const int64_t out : outs) {
    weights.emplace_back(all.narrow(0, rows, out), Tensor());
    rows += out;
  }
  return weights;
}

Tensor Place::angles(int64_t tokens, int64_t width) {
  const Tensor table = empty({2, tokens, width}, kF32);
  auto *cos = static_cast<float*>(table.mutable_data_ptr()), *sin = cos + tokens * width;
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t j = 0; j < width; ++j) {
      const double angle =
          static_cast<double>(t) * std::pow(1e4, -static_cast<double>(j / 2 * 2) / static_cast<double>(width));
      *cos++ = static_cast<float>(std::cos(angle));
      *sin++ = static_cast<float>(j % 2 ? std::sin(angle) : -std::sin(angle));
    }
  return placed(table);
}

Paging Place::paging(const std::vector<PagedSequence>& sequences, int64_t block_size) {
  if (device_.is_cpu()) return {sequences};
  const auto blocks_of = [&](const PagedSequence& s) { return (s.keys + block_size - 1) / block_size; };
  int64_t columns = 1;
  for (const PagedSequence& s : sequences) columns = std::max(columns, blocks_of(s));
  const auto count = static_cast<int64_t>(sequences.size());
  std::vector<int32_t> tables(static_cast<size_t>(count * columns)), keys, first{0};
  for (const PagedSequence& s : sequences) {
    check(s.row == first.back(), "the sequences of a step follow one another");
    std::copy_n(s.blocks, blocks_of(s), tables.begin() + static_cast<std::ptrdiff_t>(keys.size()) * columns);
    keys.push_back(static_cast<int32_t>(s.keys));
    first.push_back(static_cast<int32_t>(s.row + s.rows));
  }
  return {sequences, placed(int32s(tables).view({count, columns})), placed(int32s(keys)), placed(int32s(first))};
}

}  // namespace cairn::ops::conformance
