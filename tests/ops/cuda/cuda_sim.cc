#include "ops/cuda/cuda_sim.h"

#include <sys/mman.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "ops/cuda/fiber.h"

extern "C" {  // only there under the address sanitizer
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* at, size_t bytes);
}

namespace cuda_sim {
namespace {

constexpr size_t kStack = 96 << 10, kGuard = 4096, kMostThreads = 1024, kMostShared = 227 << 10;
constexpr int kWarp = 32;

enum class State { kReady, kAtBlock, kAtWarp, kDone };

struct Fiber {
  State state = State::kReady;
  dim3 index;
  int line = 0;
  unsigned collectives = 0;
};

struct Warp {
  Slot slots[2][kWarp];
  int waiting = 0;
};

// Stacks that run one thread after the other; starting new ones for every block would take longer than most blocks do.
struct Stack {
  Context context;
  bool ready = false;
};

class Stacks {
 public:
  static Stacks& all() {
    static Stacks stacks;
    return stacks;
  }
  Stack& at(size_t i, void (*entry)()) {
    Stack& s = stacks_[i];
    if (s.ready) return s;
    prepare(s.context, memory_ + i * (kStack + kGuard) + kGuard, kStack, entry);
    s.ready = true;
    return s;
  }
  // After an error: threads have stayed where it left them, and have not tidied up.
  void renew() {
    for (Stack& s : stacks_) s = {};
    if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(memory_, kMostThreads * (kStack + kGuard));
  }

 private:
  // One mapping, with a page that nobody may touch below each stack.
  Stacks() : stacks_(kMostThreads) {
    const size_t bytes = kMostThreads * (kStack + kGuard);
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<char*>(p);
    for (size_t i = 0; i < kMostThreads; ++i) mprotect(memory_ + i * (kStack + kGuard), kGuard, PROT_NONE);
  }
  std::vector<Stack> stacks_;
  char* memory_ = nullptr;
};

class Block {
 public:
  Block(dim3 shape, size_t shared, const std::function<void()>& thread)
      : thread_(thread), threads_(shape.x * shape.y * shape.z), fibers_(threads_), warps_(threads_ / kWarp) {
    shared_ = std::make_unique<std::byte[]>(shared + 1);
    std::memset(shared_.get(), 0xff, shared);
    for (size_t i = 0; i < threads_; ++i) {
      const auto n = static_cast<unsigned>(i);
      fibers_[i].index = {n % shape.x, n / shape.x % shape.y, n / shape.x / shape.y};
    }
  }
  ~Block() {
    running_ = nullptr;
    if (!complete_) Stacks::all().renew();
  }

  // Either every warp in turn goes as far as it can, so that it may be a barrier ahead of the others, or every thread
  // goes to its next collective.
  void run(std::mt19937& order) {
    running_ = this;
    const size_t stretch = order() % 2 ? kWarp : threads_;
    std::vector<size_t> turns(threads_), stretches(threads_ / stretch);
    std::iota(turns.begin(), turns.end(), 0);
    std::iota(stretches.begin(), stretches.end(), 0);
    for (size_t i = 0; i < threads_; i += stretch) std::shuffle(&turns[i], &turns[i] + stretch, order);
    std::ranges::shuffle(stretches, order);
    size_t done = 0;
    const auto go = [&](size_t i) {
      if (fibers_[i].state != State::kReady) return false;
      resume(i);
      if (!error_.empty()) throw CudaSimError(error_);
      done += fibers_[i].state == State::kDone;
      return true;
    };
    for (bool moved = true; done < threads_ && moved;) {
      moved = false;
      for (const size_t s : stretches)
        for (bool any = true; any; moved |= any) {
          any = false;
          for (size_t i = s * stretch; i < (s + 1) * stretch; ++i) any |= go(turns[i]);
        }
    }
    complete_ = done == threads_;
    if (!complete_) throw CudaSimError(stuck());
  }

  void sync_block(int line) {
    if (at_block_ == 0) block_line_ = line;
    if (line != block_line_) return fail("threads of a block are at different barriers", line, block_line_);
    if (++at_block_ == threads_) {
      at_block_ = 0;
      for (Fiber& f : fibers_) f.state = State::kReady;
      return;
    }
    wait(State::kAtBlock, line);
  }

  const Slot* exchange(const void* data, size_t bytes, int line) {
    Fiber& f = fibers_[current_];
    Warp& w = warps_[current_ / kWarp];
    Slot* const slots = w.slots[f.collectives++ & 1];
    if (bytes) std::memcpy(slots[current_ % kWarp].bytes, data, bytes);
    const size_t first = current_ / kWarp * kWarp;
    f.line = line;
    if (++w.waiting == kWarp) {
      w.waiting = 0;
      for (size_t i = first; i < first + kWarp; ++i) {
        if (fibers_[i].line != line) fail("lanes of a warp are at different collectives", line, fibers_[i].line);
        fibers_[i].state = State::kReady;
      }
      return slots;
    }
    wait(State::kAtWarp, line);
    return slots;
  }

  void* shared() const { return shared_.get(); }
  int lane() const { return static_cast<int>(current_ % kWarp); }
  static Block* running() { return running_; }

 private:
  static void enter() {
    for (;;) {
      running_->thread_();
      running_->wait(State::kDone, 0);
    }
  }
  void resume(size_t i) {
    current_ = i;
    threadIdx = fibers_[i].index;
    change(main_, Stacks::all().at(i, enter).context);
  }
  void wait(State state, int line) {
    fibers_[current_].state = state;
    fibers_[current_].line = line;
    change(Stacks::all().at(current_, enter).context, main_);
  }
  void fail(const char* what, int line, int other) {
    error_ = std::string(what) + ": lines " + std::to_string(line) + " and " + std::to_string(other);
    wait(State::kAtBlock, line);  // for ever
  }
  std::string stuck() const {
    std::string out = "threads wait for others that will not come:";
    int said = 0;
    for (size_t i = 0; i < threads_ && said < 8; ++i) {
      const Fiber& f = fibers_[i];
      if (i > 0 && f.state == fibers_[i - 1].state && f.line == fibers_[i - 1].line) continue;
      const char* const where[] = {"ready", "at the block's barrier", "at a warp's collective", "done"};
      out +=
          " thread " + std::to_string(i) + " " + where[static_cast<int>(f.state)] + " line " + std::to_string(f.line);
      ++said;
    }
    return out;
  }

  static inline Block* running_ = nullptr;
  const std::function<void()>& thread_;
  size_t threads_, current_ = 0, at_block_ = 0;
  int block_line_ = 0;
  bool complete_ = false;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  std::unique_ptr<std::byte[]> shared_;
  std::string error_;
  Context main_;
};

int64_t launched = 0;

}  // namespace

void launch(dim3 grid, dim3 block, size_t shared, const std::function<void()>& thread) {
  const size_t threads = size_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kMostThreads || block.z > 64) throw CudaSimError("a block has 1 to 1024 threads");
  if (threads % kWarp) throw CudaSimError("blocks here are whole warps");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) throw CudaSimError("an empty grid");
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) throw CudaSimError("a grid beyond the limits");
  if (shared > kMostShared) throw CudaSimError("more shared memory than a block may have");
  std::mt19937 order(static_cast<unsigned>(++launched));
  blockDim = block, gridDim = grid;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        Block(block, shared, thread).run(order);
      }
}

int64_t launches() { return launched; }
void* dynamic_shared() { return Block::running()->shared(); }
void sync_block(int line) { Block::running()->sync_block(line); }
const Slot* exchange(const void* data, size_t bytes, int line) { return Block::running()->exchange(data, bytes, line); }
int lane() { return Block::running()->lane(); }

void mma_16816(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], float (*wide)(uint16_t), int line) {
  struct Parts {
    uint32_t a[4], b[2];
  } mine;
  std::ranges::copy(a, mine.a);
  std::ranges::copy(b, mine.b);
  const Slot* all = exchange(&mine, sizeof mine, line);
  const auto parts = [&](int of) {
    Parts p;
    std::memcpy(&p, all[of].bytes, sizeof p);
    return p;
  };
  const auto half = [&](uint32_t pair, int which) { return wide(static_cast<uint16_t>(pair >> (16 * which))); };
  // A (16, 16): lane 4 (row % 8) + (k % 8) / 2 has it in register row / 8 + 2 (k / 8). B (16, 8): lane 4 n + (k % 8) /
  // 2 in register k / 8. C (16, 8): lane 4 (row % 8) + n / 2, number 2 (row / 8) + n % 2.
  for (int i = 0; i < 4; ++i) {
    const int row = lane() / 4 + 8 * (i / 2), n = lane() % 4 * 2 + i % 2;
    float sum = c[i];
    for (int k = 0; k < 16; ++k) {
      const float x = half(parts(row % 8 * 4 + k % 8 / 2).a[row / 8 + 2 * (k / 8)], k % 2);
      sum += x * half(parts(n * 4 + k % 8 / 2).b[k / 8], k % 2);
    }
    c[i] = sum;
  }
}

void load_matrix_x2(uint32_t (&out)[2], const void* row, bool transposed, int line) {
  const Slot* all = exchange(&row, sizeof row, line);
  const int l = lane();
  for (int m = 0; m < 2; ++m) {
    const auto at = [&](int r, int column) {
      const uint16_t* p;
      std::memcpy(&p, all[m * 8 + r].bytes, sizeof p);
      if (reinterpret_cast<uintptr_t>(p) % 16) throw CudaSimError("ldmatrix reads rows that are aligned to 16 bytes");
      return uint32_t{p[column]};
    };
    const int r = l / 4, pair = l % 4 * 2;
    out[m] = transposed ? at(pair, r) | at(pair + 1, r) << 16 : at(r, pair) | at(r, pair + 1) << 16;
  }
}

}  // namespace cuda_sim

float __bfloat162float(__nv_bfloat16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

__nv_bfloat16 __float2bfloat16_rn(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (x != x) return {0x7fff};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

float __half2float(__half x) {
  const int exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
  float v = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                          : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  if (exponent == 31) v = fraction ? NAN : INFINITY;
  return x.bits >> 15 ? -v : v;
}

__half __float2half_rn(float x) {
  const auto sign = static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16 & 0x8000);
  const float size = std::fabs(x);
  const auto made = [&](int bits) { return __half{static_cast<uint16_t>(sign | bits)}; };
  if (x != x) return made(0x7fff);
  if (size >= 65520) return made(0x7c00);
  if (size < 0x1p-14f) return made(static_cast<int>(std::nearbyint(std::ldexp(size, 24))));
  int exponent;
  const float fraction = std::frexp(size, &exponent);  // in [0.5, 1)
  const int rounded = static_cast<int>(std::nearbyint(std::ldexp(fraction, 11)));
  return made(((exponent + 13) << 10) + rounded);
}
