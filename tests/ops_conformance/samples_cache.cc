// Step caches. Streams are in the dtype of the run, as they are where a device keeps them so; what a processor keeps
// is fp32, which the run in fp32 is.
#include "ops/cache.h"

#include <fmt/core.h>

#include "ops_conformance/samples.h"

namespace cairn::ops::conformance {
namespace {

struct Stream {
  int64_t n, t, d;
};
constexpr Stream kStreams[] = {{1, 1, 8}, {2, 5, 64}, {1, 97, 130}, {3, 33, 1000}, {1, 256, 3072}};

std::string text(const Stream& s) { return fmt::format("{}x{}x{}", s.n, s.t, s.d); }

// Numbers of the host, where an operation answers with them.
Tensor doubles(const std::vector<double>& values) {
  const Tensor t = empty({static_cast<int64_t>(values.size())}, kF64);
  std::ranges::copy(values, static_cast<double*>(t.mutable_data_ptr()));
  return t;
}

void changes(Samples& to) {
  for (const Stream& s : kStreams)
    for (const int64_t stride : {1, 2, 3})
      for (const bool relative : {false, true}) {
        const double important = stride == 2 ? 1.2 : 0;
        to.push_back({&change,
                      fmt::format("{}, stride {}{}{}", text(s), stride, relative ? ", from before" : "",
                                  important > 0 ? ", important tokens" : ""),
                      [=](Place& p) -> Run {
                        // Part of a longer sequence, as the tokens of a picture behind those of a text.
                        const auto stream = [&] { return p.numbers({s.n, s.t + 3, s.d}).narrow(1, 2, s.t); };
                        const Tensor after = stream(), before = relative ? stream() : Tensor(),
                                     anchor = p.numbers({s.n, s.t, (s.d + stride - 1) / stride});
                        return [=, f = p.of(change)] {
                          const Change c = f(after, before, anchor, stride, important);
                          return Outputs{{doubles({c.difference, c.magnitude}), kF64, Closeness::kSums}};
                        };
                      }});
        to.push_back({&residual, fmt::format("{}, stride {}{}", text(s), stride, relative ? ", from before" : ""),
                      [=](Place& p) -> Run {
                        const auto stream = [&] { return p.numbers({s.n, s.t + 3, s.d}).narrow(1, 2, s.t); };
                        const Tensor after = stream(), before = relative ? stream() : Tensor();
                        return [=, f = p.of(residual), dtype = p.dtype()] {
                          Tensor out;
                          f(after, before, stride, out);
                          return Outputs{{out, dtype, relative ? Closeness::kRounded : Closeness::kExact}};
                        };
                      }});
      }
}

void predictions(Samples& to) {
  for (const Stream& s : kStreams)
    for (const int64_t levels : {1, 2, 4})
      for (const bool relative : {false, true})
        to.push_back({&taylor_update, fmt::format("{}, {} levels{}", text(s), levels, relative ? ", from before" : ""),
                      [=](Place& p) -> Run {
                        const auto stream = [&] { return p.numbers({s.n, s.t, s.d}); };
                        const Tensor after = stream(), before = relative ? stream() : Tensor();
                        std::vector<Tensor> first;
                        for (int64_t i = 0; i < levels; ++i) first.push_back(stream());
                        return [=, f = p.of(taylor_update), dtype = p.dtype()] {
                          std::vector<Tensor> ladder;  // the update is in place
                          for (const Tensor& t : first) ladder.push_back(t.clone());
                          f(after, before, ladder, 3.0);
                          Outputs out;
                          for (const Tensor& t : ladder) out.push_back({t, dtype});
                          return out;
                        };
                      }});
  for (const Stream& s : kStreams)
    for (const size_t count : {1, 3, 7})
      for (const bool each : {false, true}) {
        const bool based = (count == 3) == each;
        const std::string what = fmt::format("{}, {} terms", text(s), count);
        to.push_back({&weighted_sum, what + (based ? ", on a base" : "") + (each ? ", weights of each row" : ""),
                      [=](Place& p) -> Run {
                        std::vector<Tensor> terms;
                        for (size_t j = 0; j < count; ++j) terms.push_back(p.numbers({s.n, s.t, s.d}));
                        const Tensor base = based ? p.numbers({s.n, s.t, s.d}) : Tensor();
                        std::vector<double> weights;
                        for (size_t j = 0; j < count * (each ? static_cast<size_t>(s.n) : 1); ++j)
                          weights.push_back(0.25 * static_cast<double>(j % 5) - 0.4);
                        return [=, f = p.of(weighted_sum), dtype = p.dtype()] {
                          return Outputs{{f(terms, base, weights), dtype}};
                        };
                      }});
        if (!each)
          to.push_back({&gram, what, [=](Place& p) -> Run {
                          std::vector<Tensor> terms;
                          for (size_t j = 0; j < count; ++j) terms.push_back(p.numbers({s.n, s.t, s.d}));
                          return [=, f = p.of(gram)] { return Outputs{{doubles(f(terms)), kF64, Closeness::kSums}}; };
                        }});
      }
}

}  // namespace

void add_cache(Samples& to) {
  changes(to);
  predictions(to);
}

}  // namespace cairn::ops::conformance
