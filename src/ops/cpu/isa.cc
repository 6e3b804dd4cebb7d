#include "ops/cpu/isa.h"

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace cairn::ops::cpu {
#if defined(__x86_64__)
namespace amx {
extern const Kernels kernels;
}
namespace avx512bf16 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
#endif
#if defined(__aarch64__)
namespace armbf16 {
extern const Kernels kernels;
}
#endif
namespace baseline {
extern const Kernels kernels;
}

namespace {

struct Variant {
  const Kernels* kernels;
  bool usable;
};

#if defined(__x86_64__)
// Linux saves the large state of the matrix unit only for processes that ask for it.
bool may_use_amx() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool may = __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
                          syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return may;
#else
  return false;
#endif
}
#endif

// Best first.
std::vector<Variant> variants() {
  std::vector<Variant> v;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  v.push_back({&amx::kernels, bf16 && may_use_amx()});
  v.push_back({&avx512bf16::kernels, bf16});
  v.push_back({&avx512::kernels, avx512});
  v.push_back({&avx2::kernels, avx2});
#endif
#if defined(__aarch64__) && defined(__linux__)
  v.push_back({&armbf16::kernels, (::getauxval(AT_HWCAP2) & HWCAP2_BF16) != 0});
#endif
  v.push_back({&baseline::kernels, true});
  return v;
}

Result<const Kernels*> find(std::string_view name) {
  std::string known;
  for (const Variant& v : variants()) {
    if (v.kernels->isa == name) {
      if (v.usable) return v.kernels;
      return invalid("this processor does not run " + std::string(name) +
                     " kernels: unset CAIRN_ISA to get the best it runs");
    }
    known += (known.empty() ? "" : ", ") + std::string(v.kernels->isa);
  }
  return invalid("CAIRN_ISA is \"" + std::string(name) + "\": there are kernels for " + known);
}

const Kernels* initial() {
  if (const char* name = std::getenv("CAIRN_ISA"); name && *name) return or_throw(find(name));
  for (const Variant& v : variants())
    if (v.usable) return v.kernels;
  return nullptr;
}

std::atomic<const Kernels*>& current() {
  static std::atomic<const Kernels*> kernels{initial()};
  return kernels;
}

struct FreeAligned {
  void operator()(void* p) const { ::operator delete(p, std::align_val_t(64)); }
};

}  // namespace

const Kernels& kernels() { return *current().load(std::memory_order_relaxed); }

std::vector<std::string_view> usable_isas() {
  std::vector<std::string_view> names;
  for (const Variant& v : variants())
    if (v.usable) names.push_back(v.kernels->isa);
  return names;
}

Result<void> use_isa(std::string_view name) {
  current() = TRY(find(name));
  return {};
}

void* scratch(int64_t bytes) {
  thread_local std::unique_ptr<void, FreeAligned> memory;
  thread_local int64_t size = 0;
  if (size < bytes) {
    memory.reset();
    size = 0;
    memory.reset(::operator new(static_cast<size_t>(bytes), std::align_val_t(64)));
    size = bytes;
  }
  return memory.get();
}

}  // namespace cairn::ops::cpu
