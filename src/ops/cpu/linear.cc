// The products of ops.h on packed weights. What the kernels do not take goes to the reference.
#include <algorithm>
#include <array>

#include "ops/cpu/cpu.h"
#include "ops/cpu/packed.h"
#include "ops/cpu/team.h"

namespace cairn::ops::cpu {
namespace {

static_assert(static_cast<int>(Act::kSilu) == static_cast<int>(Activation::kSilu));
Act act_of(Activation a) { return static_cast<Act>(a); }

Rows result_rows(const Tensor& t) { return *rows_of(t); }

// Rows that a product cannot read as they are, in another type and side by side.
struct Copies {
  int64_t work() const { return count * copies[0].batches * copies[0].tokens * copies[0].to.row_stride; }
  void operator()(Worker worker) const {
    for (int64_t i = 0; i < count; ++i) kernels().copy(copies[i], worker);
  }

  std::array<Copy, kMaxInputs> copies;
  int64_t count = 0;
};

// The inputs of one product.
class Inputs {
 public:
  // Whether the kernels take these tensors with this weight.
  static bool fit(at::TensorList x, const Weight& w) {
    if (!type_of(w.dtype()) || x.empty() || static_cast<int64_t>(x.size()) > kMaxInputs) return false;
    return std::ranges::all_of(x, [](const Tensor& t) { return rows_of(t).has_value(); });
  }

  Inputs() = default;
  Inputs(at::TensorList x, const Weight& w) {
    tokens = x[0].size(-2);
    batches = x[0].dim() == 3 ? x[0].size(0) : 1;
    int64_t width = 0;
    for (const Tensor& t : x) {
      const auto rows = rows_of(t);
      check(t.size(-2) == tokens && (t.dim() == 3 ? t.size(0) : 1) == batches,
            "inputs of one product have the same rows");
      parts[count++] = *rows;
      width += rows->width;
    }
    check(width == w.in(), "the widths of the inputs add up to that of the weight");
    convert(w);
  }
  int64_t rows() const { return batches * tokens; }

  std::array<Rows, kMaxInputs> parts;
  int64_t count = 0, batches = 1, tokens = 0;

 private:
  void convert(const Weight& w) {
    const Type type = *type_of(w.dtype());
    const Type read = kernels().bf16 ? type : Type::kF32;
    bool fits = true;
    for (int64_t i = 0; i < count; ++i)
      fits &= parts[i].type == read && (type == Type::kF32 || parts[i].width % 2 == 0);
    if (fits) return;
    const int64_t padded = type == Type::kF32 ? w.in() : (w.in() + 1) / 2 * 2, size = read == Type::kF32 ? 4 : 2;
    memory_ = empty({batches, tokens, padded}, read == Type::kF32 ? kF32 : kBF16);
    const Rows joined = result_rows(memory_);
    launch<Copies>([&](Copies& call) {
      int64_t first = 0;
      for (int64_t i = 0; i < count; ++i) {
        Rows to = joined;
        to.data = static_cast<char*>(joined.data) + first * size;
        to.width = i + 1 < count ? parts[i].width : padded - first;
        call.copies[call.count++] = {parts[i], to, batches, tokens};
        first += parts[i].width;
      }
    });
    parts[0] = joined;
    count = 1;
  }
  Tensor memory_;
};

int64_t work_of(at::ArrayRef<Product> jobs) {
  int64_t work = 0;
  for (const Product& p : jobs) work += p.batches * p.tokens * p.weights[0]->out * p.weights[0]->in;
  return work;
}

void multiply(at::ArrayRef<Product> jobs, Worker worker) {
  kernels().products(jobs.data(), static_cast<int64_t>(jobs.size()), worker);
}

using Parts = std::array<Rows, kMaxInputs>;

// One product.
struct Single {
  int64_t work() const { return work_of(job); }
  void operator()(Worker worker) const { multiply(job, worker); }

  Parts inputs;
  Product job;
};

// Keeps the rows of the inputs in `to`, where the product finds them.
Product product(const Inputs& x, const Weight& w, Epilogue epilogue, Parts& to) {
  to = x.parts;
  return {to.data(), x.count, x.batches, x.tokens, {&packed(w), nullptr}, epilogue, panels_are_far()};
}

Tensor empty_like_rows(const Tensor& x, int64_t width, Dtype dtype) {
  c10::SmallVector<int64_t, 4> shape(x.sizes().begin(), x.sizes().end());
  shape.back() = width;
  return empty(shape, dtype);
}

}  // namespace

Tensor linear(at::TensorList x, const Weight& w, Activation act, Dtype out) {
  if (!type_of(out) || !Inputs::fit(x, w)) return reference::linear(x, w, act, out);
  Tensor y = empty_like_rows(x[0], w.out(), out);
  const Inputs in(x, w);
  launch<Single>([&](Single& call) {
    Epilogue e;
    e.act = act_of(act);
    e.out = result_rows(y);
    call.job = product(in, w, e, call.inputs);
  });
  return y;
}

Tensor linear_add(const Tensor& residual, at::TensorList x, const Weight& w, const Tensor& modulation, int64_t gate) {
  const auto old = rows_of(residual);
  if (!old || !Inputs::fit(x, w)) return reference::linear_add(residual, x, w, modulation, gate);
  Tensor y = empty(residual.sizes(), residual.scalar_type());
  const Inputs in(x, w);
  check(residual.size(-1) == w.out() && residual.size(-2) == in.tokens && residual.numel() == in.rows() * w.out(),
        "the residual has the shape of the product");
  launch<Single>([&](Single& call) {
    const Part part = part_of(modulation, gate, in.batches);
    Epilogue e;
    e.kind = Epilogue::kAdd;
    e.out = result_rows(y);
    e.residual = *old;
    e.gate = part.data;
    e.gate_stride = part.stride;
    call.job = product(in, w, e, call.inputs);
  });
  return y;
}

Tensor linear_glu(const Tensor& x, const Weight& gate, const Weight& up, Activation act) {
  if (gate.dtype() != up.dtype() || !Inputs::fit(x, gate)) return reference::linear_glu(x, gate, up, act);
  check(gate.out() == up.out() && gate.in() == up.in(), "gate and up have the same shape");
  Tensor y = empty_like_rows(x, gate.out(), x.scalar_type());
  const Inputs in(x, gate);
  launch<Single>([&](Single& call) {
    Epilogue e;
    e.kind = Epilogue::kGlu;
    e.act = act_of(act);
    e.out = result_rows(y);
    call.job = product(in, gate, e, call.inputs);
    call.job.weights[1] = &packed(up);
  });
  return y;
}

namespace {

constexpr size_t kStreams = 4;
constexpr int64_t kMaxHead = 256;

// Three products of each stream. A norm's weight is copied: it may be of another type.
struct Heads {
  int64_t work() const { return work_of({jobs.data(), 3 * count}); }
  void operator()(Worker worker) const { multiply({jobs.data(), 3 * count}, worker); }

  std::array<Parts, kStreams> inputs;
  std::array<Product, 3 * kStreams> jobs;
  std::array<std::array<float, kMaxHead>, 2 * kStreams> norms;
  size_t count = 0;
};

bool heads_fit(at::ArrayRef<QkvStream> streams, const Tensor& rope, int64_t head_dim) {
  if (streams.size() > kStreams || head_dim % 16 || head_dim > kMaxHead) return false;
  if (rope.defined() && (!rope.is_contiguous() || rope.scalar_type() != kF32)) return false;
  for (const QkvStream& s : streams) {
    const Dtype dtype = s.q.dtype();
    if (s.x.dim() != 3 || s.x.scalar_type() != streams[0].x.scalar_type() || s.k.dtype() != dtype ||
        s.v.dtype() != dtype || !Inputs::fit(s.x, s.q))
      return false;
    for (const Tensor* norm : {&s.q_norm, &s.k_norm})
      if (norm->defined() && !type_of(norm->scalar_type())) return false;
  }
  return true;
}

}  // namespace

Qkv qkv(at::ArrayRef<QkvStream> streams, const Tensor& rope, int64_t head_dim, double eps) {
  if (!heads_fit(streams, rope, head_dim)) return reference::qkv(streams, rope, head_dim, eps);
  int64_t tokens = 0;
  for (const QkvStream& s : streams) {
    check(s.k.in() == s.q.in() && s.v.in() == s.q.in() && s.k.out() == s.v.out() && s.q.out() % head_dim == 0 &&
              s.k.out() % head_dim == 0 && s.q.out() == streams[0].q.out() && s.k.out() == streams[0].k.out() &&
              s.x.size(0) == streams[0].x.size(0),
          "queries, keys and values have the same shape in all streams");
    tokens += s.x.size(1);
  }
  check(!rope.defined() || (rope.dim() == 3 && rope.size(1) == tokens && rope.size(2) == head_dim),
        "rope is (2, tokens of all streams, head width)");
  const int64_t batches = streams[0].x.size(0);
  const auto make = [&](const Weight& w) {
    return empty({batches, tokens, w.out() / head_dim, head_dim}, streams[0].x.scalar_type());
  };
  Qkv result{make(streams[0].q), make(streams[0].k), make(streams[0].v)};
  std::array<Inputs, kStreams> inputs;
  for (size_t i = 0; i < streams.size(); ++i) inputs[i] = Inputs(streams[i].x, streams[i].q);
  launch<Heads>([&](Heads& call) {
    int64_t first = 0;
    for (const QkvStream& s : streams) {
      const size_t i = call.count++;
      const auto job = [&](size_t which, const Weight& w, const Tensor& to, const Tensor& norm) {
        Epilogue e;
        e.kind = Epilogue::kHeads;
        e.head_dim = head_dim;
        e.eps = static_cast<float>(eps);
        const Type type = *type_of(to.scalar_type());
        const int64_t width = w.out();
        e.out = {static_cast<char*>(to.mutable_data_ptr()) + first * width * to.element_size(), type, width,
                 tokens * width, width};
        if (norm.defined()) {
          float* copy = call.norms[2 * i + which].data();
          check(norm.numel() == head_dim, "the norm of a head has its width");
          for (int64_t c = 0; c < head_dim; ++c) copy[c] = element(norm, c);
          e.norm = copy;
        }
        if (rope.defined() && which < 2) {
          const auto* table = static_cast<const float*>(rope.const_data_ptr());
          e.cos = table + first * head_dim;
          e.sin = e.cos + tokens * head_dim;
        }
        call.jobs[3 * i + which] = product(inputs[i], w, e, call.inputs[i]);
      };
      job(0, s.q, result.q, s.q_norm);
      job(1, s.k, result.k, s.k_norm);
      job(2, s.v, result.v, {});
      first += s.x.size(1);
    }
  });
  return result;
}

}  // namespace cairn::ops::cpu
