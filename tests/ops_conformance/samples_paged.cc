// Keys and values in blocks, latents, and experts.
#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <numeric>

#include "ops_conformance/samples.h"

namespace cairn::ops::conformance {

std::vector<int32_t> shuffled(int64_t blocks) {
  std::vector<int32_t> order(static_cast<size_t>(blocks));
  int64_t step = blocks * 5 / 8 + 1;
  while (std::gcd(step, blocks) != 1) ++step;
  for (int64_t i = 0; i < blocks; ++i) order[static_cast<size_t>(i)] = static_cast<int32_t>((3 + i * step) % blocks);
  return order;
}

namespace {

// What is computed in each step: which sequence, and how many more of its tokens.
using Step = std::vector<std::pair<size_t, int64_t>>;

struct Story {
  int64_t width, value_width, groups, share, block_size;
  AttentionRule rule;
  std::vector<Step> steps;
};

// A step's sequences and where its tokens go.
struct Planned {
  std::vector<PagedSequence> sequences;
  std::vector<int64_t> slots;
  Tensor q, k, v, places;
  std::optional<Paging> paging;
};

struct Told {
  std::vector<int32_t> blocks;
  std::deque<Planned> steps;  // none of which moves: what they hold points into them
};

Run told(const Story& s, Place& p) {
  const auto all = std::make_shared<Told>();
  size_t count = 0;
  for (const Step& step : s.steps)
    for (const auto& [which, rows] : step) count = std::max(count, which + 1);
  std::vector<int64_t> lengths(count), done(count);
  for (const Step& step : s.steps)
    for (const auto& [which, rows] : step) lengths[which] += rows;
  const int64_t each = *std::ranges::max_element(lengths) / s.block_size + 1,
                blocks = each * static_cast<int64_t>(count) + 2;
  all->blocks = shuffled(blocks);
  for (const Step& step : s.steps) {
    Planned& planned = all->steps.emplace_back();
    int64_t row = 0;
    for (const auto& [which, rows] : step) {
      const int32_t* table = all->blocks.data() + static_cast<int64_t>(which) * each;
      for (int64_t i = 0; i < rows; ++i, ++done[which])
        planned.slots.push_back(table[done[which] / s.block_size] * s.block_size + done[which] % s.block_size);
      planned.sequences.push_back({.row = row, .rows = rows, .keys = done[which], .blocks = table});
      row += rows;
    }
    planned.q = p.numbers({row, s.groups * s.share, s.width});
    planned.k = p.numbers({row, s.groups, s.width});
    planned.v = p.numbers({row, s.groups, s.value_width});
    planned.places = p.integers(planned.slots);
    planned.paging = p.paging(planned.sequences, s.block_size);
  }
  return [=, write = p.of(write_kv), read = p.of(paged_attention), dtype = p.dtype(), as = p.as(p.dtype()),
          device = p.device()] {
    const Tensor keys = zeros({blocks, s.block_size, s.groups, s.width}, as, device),
                 values = zeros({blocks, s.block_size, s.groups, s.value_width}, as, device);
    Outputs out;
    for (const Planned& step : all->steps) {
      write(step.k, step.v, keys, values, step.places);
      out.push_back({read(step.q, keys, values, *step.paging, s.rule), dtype});
    }
    return out;
  };
}

void stories(Samples& to) {
  // Prompts whole, in chunks, beside answers; then answers alone.
  const std::vector<Step> steps{{{0, 1}, {1, 5}, {2, 77}}, {{1, 31}, {2, 51}}, {{2, 22}, {0, 1}, {1, 1}},
                                {{0, 1}, {1, 1}, {2, 1}},  {{2, 1}, {1, 1}},   {{0, 130}}};
  const AttentionRule rules[] = {{.scale = 0.2}, {.scale = 0.3, .softcap = 5.0}, {.scale = 0.2, .window = 19}};
  const auto add = [&](const Story& s) {
    to.push_back({&paged_attention,
                  fmt::format("{} heads of {} over {}, values of {}, blocks of {}{}{}", s.groups * s.share, s.width,
                              s.groups, s.value_width, s.block_size, s.rule.softcap > 0 ? ", capped" : "",
                              s.rule.window > 0 ? ", windowed" : ""),
                  [=](Place& p) { return told(s, p); }});
  };
  for (const AttentionRule& rule : rules) {
    add({64, 64, 2, 3, 128, rule, steps});
    add({128, 128, 2, 2, 16, rule, steps});
  }
  add({16, 16, 2, 1, 16, rules[0], steps});
  add({80, 32, 2, 3, 32, rules[0], steps});
  add({40, 24, 3, 2, 12, rules[0], steps});  // what kernels do not take
  add({128, 128, 8, 2, 128, rules[0], steps});
}

// Each block is read as a sequence of its own, with what was there before in the places that nothing was written to.
void writes(Samples& to) {
  for (const auto& [width, groups, size] :
       {std::tuple<int64_t, int64_t, int64_t>{128, 2, 16}, {64, 8, 128}, {48, 1, 32}, {20, 3, 12}})
    to.push_back({&write_kv, fmt::format("{} heads of {}, blocks of {}", groups, width, size),
                  [width = width, groups = groups, size = size](Place& p) -> Run {
                    const int64_t blocks = 5, rows = blocks * size / 2;
                    std::vector<int64_t> slots;
                    for (const int32_t i : shuffled(blocks * size)) slots.push_back(i);
                    slots.resize(static_cast<size_t>(rows));
                    const auto all = std::make_shared<Told>();
                    all->blocks = shuffled(blocks);
                    for (const int64_t count : {rows, int64_t{1}, rows / 3}) {  // later ones write over the first
                      Planned& w = all->steps.emplace_back();
                      // Heads of a joint projection: tokens lie further apart than their own numbers.
                      const Tensor joint = p.numbers({count, 3 * groups, width});
                      w.k = joint.narrow(1, groups, groups), w.v = joint.narrow(1, 2 * groups, groups);
                      w.places = p.integers({slots.begin(), slots.begin() + count});
                    }
                    Planned& reading = all->steps.emplace_back();
                    for (int64_t i = 0; i < blocks; ++i)
                      reading.sequences.push_back(
                          {.row = i, .rows = 1, .keys = size, .blocks = all->blocks.data() + i});
                    reading.q = p.numbers({blocks, groups, width});
                    reading.paging = p.paging(reading.sequences, size);
                    return [=, write = p.of(write_kv), read = p.of(paged_attention), dtype = p.dtype(),
                            as = p.as(p.dtype()), device = p.device()] {
                      const Tensor keys = zeros({blocks, size, groups, width}, as, device),
                                   values = zeros({blocks, size, groups, width}, as, device);
                      for (const Planned& w : all->steps)
                        if (w.k.defined()) write(w.k, w.v, keys, values, w.places);
                      const Planned& last = all->steps.back();
                      return Outputs{{read(last.q, keys, values, *last.paging, {.scale = 0.2}), dtype}};
                    };
                  }});
}

struct Latent {
  int64_t heads, rank, rope, block_size;
  std::vector<std::pair<int64_t, int64_t>> sequences;  // rows, keys
};

void latents(Samples& to, bool split) {
  const auto add = [&](const Latent& s) {
    to.push_back({split ? static_cast<AnyOp*>(&split_latent_attention) : &latent_attention,
                  fmt::format("{} sequences, {} heads, rank {} and {}, blocks of {}", s.sequences.size(), s.heads,
                              s.rank, s.rope, s.block_size),
                  [=](Place& p) -> Run {
                    const auto all = std::make_shared<Told>();
                    Planned& step = all->steps.emplace_back();
                    int64_t rows = 0, each = 0;
                    for (const auto& [more, keys] : s.sequences) each = std::max(each, keys / s.block_size + 1);
                    const int64_t blocks = each * static_cast<int64_t>(s.sequences.size()) + 1;
                    all->blocks = shuffled(blocks);
                    for (const auto& [more, keys] : s.sequences) {
                      const auto first = static_cast<int64_t>(step.sequences.size()) * each;
                      step.sequences.push_back({rows, more, keys, all->blocks.data() + first});
                      rows += more;
                    }
                    step.q = p.numbers({rows, s.heads, s.rank + s.rope});
                    step.k = p.numbers({blocks, s.block_size, 1, s.rank + s.rope});
                    step.paging = p.paging(step.sequences, s.block_size);
                    if (split)
                      return [=, f = p.of(split_latent_attention), dtype = p.dtype(), rank = s.rank, rope = s.rope] {
                        const Planned& one = all->steps[0];
                        const auto part = [&](const Tensor& t, int64_t first, int64_t width) {
                          return t.narrow(-1, first, width).contiguous();
                        };
                        return Outputs{{f(part(one.q, 0, rank), part(one.q, rank, rope), part(one.k, 0, rank),
                                          part(one.k, rank, rope), *one.paging, {.scale = 0.1}),
                                        dtype}};
                      };
                    return [=, f = p.of(latent_attention), dtype = p.dtype(), rank = s.rank] {
                      const Planned& one = all->steps[0];
                      const Tensor values = one.k.narrow(3, 0, rank);
                      return Outputs{{f(one.q, one.k, values, *one.paging, {.scale = 0.1}), dtype}};
                    };
                  }});
  };
  add({4, 64, 16, 16, {{1, 1}, {3, 37}, {1, 80}}});
  add({16, 512, 64, 128, {{1, 200}, {1, 9}}});  // DeepSeek
  add({2, 48, 8, 12, {{20, 33}}});
  add({8, 32, 32, 32, {{5, 5}, {32, 100}}});
  if (split) return;
  // Keys and values of every head, expanded from one sequence's latents: a single block of any length.
  to.push_back({&latent_attention, "one block of 75 keys", [](Place& p) -> Run {
                  const auto all = std::make_shared<Told>();
                  all->blocks = {0};
                  Planned& step = all->steps.emplace_back();
                  step.sequences = {{.row = 0, .rows = 40, .keys = 75, .blocks = all->blocks.data()}};
                  step.q = p.numbers({40, 3, 48});
                  step.k = p.numbers({1, 75, 3, 48});
                  step.v = p.numbers({1, 75, 3, 32});
                  // As models call it, with the host's list alone.
                  return [=, f = p.of(latent_attention), dtype = p.dtype()] {
                    const Planned& one = all->steps[0];
                    return Outputs{{f(one.q, one.k, one.v, one.sequences[0], {.scale = 0.15}), dtype}};
                  };
                }});
}

struct Routing {
  int64_t tokens, width, inner, count, each;
  Activation act;
};

void routings(Samples& to) {
  for (const Routing& s :
       {Routing{1, 64, 96, 8, 2, Activation::kSilu}, Routing{37, 128, 48, 4, 3, Activation::kSilu},
        Routing{5, 70, 33, 16, 1, Activation::kGeluTanh}, Routing{64, 256, 128, 3, 3, Activation::kSilu}})
    to.push_back({&experts, fmt::format("{} tokens of {} to {} of {} experts", s.tokens, s.width, s.each, s.count),
                  [=](Place& p) -> Run {
                    const auto list = std::make_shared<std::vector<Expert>>();
                    for (int64_t e = 0; e < s.count; ++e) {
                      const auto both = p.adjoined({s.inner, s.inner}, s.width);
                      list->push_back({both[0], both[1], p.weight(s.width, s.inner, false)});
                    }
                    // The last expert gets nothing where there are enough others.
                    const int64_t used = s.count > s.each ? s.count - 1 : s.count;
                    std::vector<int64_t> ids;
                    for (int64_t t = 0; t < s.tokens; ++t)
                      for (int64_t j = 0; j < s.each; ++j) ids.push_back((t * t + j) % used);
                    const Tensor x = p.numbers({s.tokens, s.width}), chosen = p.integers(ids).view({s.tokens, s.each}),
                                 weights = p.numbers({s.tokens, s.each}, kF32, 0.2, 0.5);
                    return [=, f = p.of(experts), act = s.act] {
                      const Tensor y = f(x, chosen, weights, *list, act);  // a kernel may have rounded it
                      return Outputs{{y.scalar_type() == kF64 ? y : y.to(kF32), kF32}};
                    };
                  }});
}

// What routers choose, as a matrix of the weights of all experts: kernels may name a token's in any order.
void routers(Samples& to) {
  struct Named {
    const char* what;
    int64_t experts;
    bool corrected;
    RouteRule rule;
  };
  for (const Named& n :
       {Named{"softmax, 8 of 128", 128, false, {.each = 8, .normalise = true}},
        Named{"softmax, 2 of 8, not normalised", 8, false, {.each = 2}},
        Named{"softmax, 6 of 64 in groups", 64, false, {.each = 6, .groups = 8, .kept = 3, .scaling = 16}},
        Named{"sigmoid, 8 of 256 in groups, corrected",
              256,
              true,
              {.each = 8, .groups = 8, .kept = 4, .pairs = true, .sigmoid = true, .normalise = true, .scaling = 2.5}}})
    to.push_back({&route, n.what, [n](Place& p) -> Run {
                    const Tensor logits = p.numbers({33, n.experts}, kF32, 2),
                                 correction = n.corrected ? p.numbers({n.experts}, kF32, 0.05) : Tensor();
                    return [=, f = p.of(route)] {
                      const Routed r = f(logits, correction, n.rule);
                      Tensor all = zeros({33, n.experts}, on_host(r.weights).scalar_type());
                      all.scatter_(1, on_host(r.chosen).to(Dtype::Long), on_host(r.weights));
                      return Outputs{{all, kF32, Closeness::kSums}};
                    };
                  }});
}

}  // namespace

void add_paged(Samples& to) {
  stories(to);
  writes(to);
  latents(to, false);
  latents(to, true);
  routings(to);
  routers(to);
}

}  // namespace cairn::ops::conformance
