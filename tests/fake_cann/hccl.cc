// libhccl.so: collectives between threads or processes of one machine, through POSIX shared memory. Every rank
// publishes its data, a chunk at a time; all meet; every rank reads what it wants of all chunks. A collective is an
// ordinary task of a stream, so it can be captured in a graph.
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <hccl/hccl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "runtime_state.h"

namespace {
constexpr uint32_t kMostRanks = 16;
constexpr size_t kSlot = size_t{1} << 20;  // bytes that one rank publishes at a time
constexpr size_t kBox = size_t{1} << 18;   // the same between a sender and its receiver

// Bytes [begin, begin + size) of a buffer.
struct Part {
  uint64_t begin, size;
};
struct Box {
  std::atomic<uint32_t> full;
  char data[kBox];
};
// What ranks share; new memory is zero, and that is its first state.
struct Shared {
  std::atomic<uint32_t> arrived, phase;
  uint64_t call[kMostRanks], bytes[kMostRanks];
  Part parts[kMostRanks][kMostRanks];  // of all-to-all: what rank i has for rank j
  Box boxes[kMostRanks][kMostRanks];   // from rank i to rank j
  char slots[kMostRanks][kSlot];
};

// Waits for another rank; one that never comes is a hang on the device.
template <class Ready>
void wait_for_peer(const char* what, Ready ready) {
  const auto begin = fake::Clock::now();
  for (int spins = 0; !ready(); ++spins) {
    if (spins < 200) {
      std::this_thread::yield();
      continue;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    if (fake::Clock::now() - begin > std::chrono::milliseconds(fake::settings().hang_ms))
      throw fake::Violation("all ranks join a collective", ACL_ERROR_RT_WAIT_TIMEOUT, what);
  }
}

struct Comm : std::enable_shared_from_this<Comm> {
  Shared* const shared;
  const uint32_t ranks, rank;
  std::shared_ptr<Comm> self;  // until HcclCommDestroy; tasks hold it, too

  Comm(Shared* s, uint32_t all, uint32_t mine) : shared(s), ranks(all), rank(mine) {}
  ~Comm() { munmap(shared, sizeof(Shared)); }

  void meet(const char* what) const {
    const uint32_t phase = shared->phase;
    if (++shared->arrived == ranks) {
      shared->arrived = 0;
      ++shared->phase;
    } else {
      wait_for_peer(what, [&] { return shared->phase != phase; });
    }
  }
};

// What is published of every rank's buffer while `read` runs: bytes from `offset` on.
struct Chunk {
  const Comm& comm;
  uint64_t offset;
  uint64_t size(uint32_t r) const {
    const uint64_t all = comm.shared->bytes[r];
    return all > offset ? std::min<uint64_t>(all - offset, kSlot) : 0;
  }
  char* data(uint32_t r) const { return comm.shared->slots[r]; }
  // Copies to `out` what the chunk of rank r holds of a part of its buffer.
  void copy(uint32_t r, Part part, char* out) const {
    const uint64_t from = std::max(offset, part.begin), to = std::min(offset + size(r), part.begin + part.size);
    if (from < to) std::memcpy(out + (from - part.begin), data(r) + (from - offset), to - from);
  }
  // The same, reduced over all ranks.
  void reduce(Part part, at::ScalarType type, HcclReduceOp op, char* out) const {
    const uint64_t from = std::max(offset, part.begin), to = std::min(offset + size(0), part.begin + part.size);
    if (from >= to) return;
    const auto view = [&](char* at) {
      return at::from_blob(at, {static_cast<int64_t>((to - from) / c10::elementSize(type))}, type);
    };
    at::Tensor result = view(data(0) + (from - offset)).clone();
    for (uint32_t r = 1; r < comm.ranks; ++r) {
      const at::Tensor next = view(data(r) + (from - offset));
      result = op == HCCL_REDUCE_SUM    ? result.add(next)
               : op == HCCL_REDUCE_PROD ? result.mul(next)
               : op == HCCL_REDUCE_MAX  ? result.maximum(next)
                                        : result.minimum(next);
    }
    std::memcpy(out + (from - part.begin), result.data_ptr(), to - from);
  }
};

std::optional<at::ScalarType> scalar_type(HcclDataType type) {
  switch (type) {
    case HCCL_DATA_TYPE_INT8:
      return at::kChar;
    case HCCL_DATA_TYPE_UINT8:
      return at::kByte;
    case HCCL_DATA_TYPE_INT16:
      return at::kShort;
    case HCCL_DATA_TYPE_INT32:
      return at::kInt;
    case HCCL_DATA_TYPE_INT64:
      return at::kLong;
    case HCCL_DATA_TYPE_FP16:
      return at::kHalf;
    case HCCL_DATA_TYPE_BFP16:
      return at::kBFloat16;
    case HCCL_DATA_TYPE_FP32:
      return at::kFloat;
    case HCCL_DATA_TYPE_FP64:
      return at::kDouble;
    default:
      return {};
  }
}

struct Call {
  const char* name;
  HcclComm handle;
  aclrtStream stream;
  uint64_t bytes = 0;  // of each rank, where all have as many: must be the same for all
};
HcclResult launched(aclError error) { return error ? HCCL_E_RUNTIME : HCCL_SUCCESS; }

HcclResult check_buffer(const Call& call, const void* buffer, uint64_t bytes) {
  if (bytes == 0 || fake::on_device(buffer, bytes)) return HCCL_SUCCESS;
  fake::broken("collectives work on device memory", ACL_ERROR_RT_PARAM_INVALID, "%s", call.name);
  return HCCL_E_PARA;
}

// Publishes `send` of this rank and has `read(chunk)` take what it wants, until all of all ranks has been published.
// `parts`: what of `send` is for whom, where receivers cannot know.
template <class Read>
HcclResult exchange(const Call& call, const void* send, uint64_t bytes, Read read, std::vector<Part> parts = {}) {
  if (auto error = check_buffer(call, send, bytes)) return error;
  auto comm = static_cast<Comm*>(call.handle)->shared_from_this();
  const auto task = [=, parts = std::move(parts)] {
    auto& shared = *comm->shared;
    const uint64_t id = std::hash<std::string>()(call.name) ^ call.bytes;
    shared.call[comm->rank] = id;
    shared.bytes[comm->rank] = bytes;
    std::copy(parts.begin(), parts.end(), shared.parts[comm->rank]);
    comm->meet(call.name);
    uint64_t most = 0;
    for (uint32_t r = 0; r < comm->ranks; ++r) {
      most = std::max<uint64_t>(most, shared.bytes[r]);
      // HCCL: all ranks of a communicator call the same operators, with the same counts, in the same order.
      if (shared.call[r] != id)
        throw fake::Violation("ranks call the same collectives", ACL_ERROR_RT_PARAM_INVALID, call.name);
    }
    for (uint64_t offset = 0; offset < most; offset += kSlot) {
      const Chunk chunk{*comm, offset};
      if (const uint64_t n = chunk.size(comm->rank))
        std::memcpy(chunk.data(comm->rank), static_cast<const char*>(send) + offset, n);
      comm->meet(call.name);
      read(chunk);
      comm->meet(call.name);
    }
    comm->meet(call.name);  // the tables of this call are free for the next
  };
  return launched(fake::enqueue(call.stream, call.name, task));
}
}  // namespace

extern "C" {
HcclResult HcclGetRootInfo(HcclRootInfo* info) {
  static std::atomic<int> next{0};
  std::snprintf(info->internal, sizeof info->internal, "/fake_hccl_%d_%d", static_cast<int>(getpid()), next++);
  return HCCL_SUCCESS;
}
HcclResult HcclCommInitRootInfo(uint32_t ranks, const HcclRootInfo* info, uint32_t rank, HcclComm* out) {
  if (ranks > kMostRanks || rank >= ranks) return HCCL_E_PARA;
  const int file = shm_open(info->internal, O_CREAT | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, sizeof(Shared))) return HCCL_E_SYSCALL;
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return HCCL_E_SYSCALL;
  auto comm = std::make_shared<Comm>(static_cast<Shared*>(memory), ranks, rank);
  comm->self = comm;
  *out = comm.get();
  try {
    comm->meet("HcclCommInitRootInfo");
  } catch (const fake::Violation& e) {
    fake::broken(e.rule, e.code, "%s", e.what());
    shm_unlink(info->internal);
    comm->self.reset();
    return HCCL_E_TIMEOUT;
  }
  if (rank == 0) shm_unlink(info->internal);
  return HCCL_SUCCESS;
}
HcclResult HcclCommInitRootInfoConfig(uint32_t ranks, const HcclRootInfo* info, uint32_t rank, const HcclCommConfig*,
                                      HcclComm* out) {
  return HcclCommInitRootInfo(ranks, info, rank, out);
}
HcclResult HcclCommDestroy(HcclComm comm) { return static_cast<Comm*>(comm)->self.reset(), HCCL_SUCCESS; }
HcclResult HcclSetConfig(HcclConfig, HcclConfigValue) { return HCCL_SUCCESS; }
HcclResult HcclGetCommName(HcclComm, char* name) { return std::strcpy(name, "fake"), HCCL_SUCCESS; }
HcclResult HcclGetCommAsyncError(HcclComm, HcclResult* error) { return *error = HCCL_SUCCESS; }
HcclResult HcclGetRankSize(HcclComm c, uint32_t* n) { return *n = static_cast<Comm*>(c)->ranks, HCCL_SUCCESS; }
HcclResult HcclGetRankId(HcclComm c, uint32_t* r) { return *r = static_cast<Comm*>(c)->rank, HCCL_SUCCESS; }
const char* HcclGetErrorString(HcclResult code) { return code ? "fake HCCL error" : "no error"; }

HcclResult HcclAllReduce(void* send, void* recv, uint64_t count, HcclDataType type, HcclReduceOp op, HcclComm comm,
                         aclrtStream stream) {
  const auto t = scalar_type(type);
  if (!t) return HCCL_E_NOT_SUPPORT;
  const uint64_t bytes = count * c10::elementSize(*t);
  const Call call{"HcclAllReduce", comm, stream, bytes};
  if (auto error = check_buffer(call, recv, bytes)) return error;
  return exchange(call, send, bytes, [=, t = *t](const Chunk& chunk) {
    chunk.reduce({0, bytes}, t, op, static_cast<char*>(recv));
  });
}
HcclResult HcclReduce(void* send, void* recv, uint64_t count, HcclDataType type, HcclReduceOp op, uint32_t root,
                      HcclComm comm, aclrtStream stream) {
  const auto t = scalar_type(type);
  if (!t) return HCCL_E_NOT_SUPPORT;
  const uint64_t bytes = count * c10::elementSize(*t);
  return exchange({"HcclReduce", comm, stream, bytes}, send, bytes, [=, t = *t](const Chunk& chunk) {
    if (chunk.comm.rank == root) chunk.reduce({0, bytes}, t, op, static_cast<char*>(recv));
  });
}
HcclResult HcclReduceScatter(void* send, void* recv, uint64_t count, HcclDataType type, HcclReduceOp op, HcclComm comm,
                             aclrtStream stream) {
  const auto t = scalar_type(type);
  if (!t) return HCCL_E_NOT_SUPPORT;
  const uint64_t bytes = count * c10::elementSize(*t);
  const Call call{"HcclReduceScatter", comm, stream, bytes};
  if (auto error = check_buffer(call, recv, bytes)) return error;
  return exchange(call, send, bytes * static_cast<Comm*>(comm)->ranks, [=, t = *t](const Chunk& chunk) {
    chunk.reduce({chunk.comm.rank * bytes, bytes}, t, op, static_cast<char*>(recv));
  });
}
HcclResult HcclAllGather(void* send, void* recv, uint64_t count, HcclDataType type, HcclComm comm, aclrtStream stream) {
  const auto t = scalar_type(type);
  if (!t) return HCCL_E_NOT_SUPPORT;
  const uint64_t bytes = count * c10::elementSize(*t);
  const Call call{"HcclAllGather", comm, stream, bytes};
  if (auto error = check_buffer(call, recv, bytes * static_cast<Comm*>(comm)->ranks)) return error;
  return exchange(call, send, bytes, [=](const Chunk& chunk) {
    for (uint32_t r = 0; r < chunk.comm.ranks; ++r) chunk.copy(r, {0, bytes}, static_cast<char*>(recv) + r * bytes);
  });
}
HcclResult HcclBroadcast(void* buffer, uint64_t count, HcclDataType type, uint32_t root, HcclComm comm,
                         aclrtStream stream) {
  const auto t = scalar_type(type);
  if (!t) return HCCL_E_NOT_SUPPORT;
  const uint64_t bytes = count * c10::elementSize(*t);
  const Call call{"HcclBroadcast", comm, stream, bytes};
  if (auto error = check_buffer(call, buffer, bytes)) return error;
  const bool mine = static_cast<Comm*>(comm)->rank == root;
  return exchange(call, buffer, mine ? bytes : 0, [=](const Chunk& chunk) {
    if (!mine) chunk.copy(root, {0, bytes}, static_cast<char*>(buffer));
  });
}
HcclResult HcclScatter(void* send, void* recv, uint64_t count, HcclDataType type, uint32_t root, HcclComm comm,
                       aclrtStream stream) {
  const auto t = scalar_type(type);
  if (!t) return HCCL_E_NOT_SUPPORT;
  const uint64_t bytes = count * c10::elementSize(*t);
  const Call call{"HcclScatter", comm, stream, bytes};
  if (auto error = check_buffer(call, recv, bytes)) return error;
  const auto* self = static_cast<Comm*>(comm);
  return exchange(call, send, self->rank == root ? bytes * self->ranks : 0, [=](const Chunk& chunk) {
    chunk.copy(root, {chunk.comm.rank * bytes, bytes}, static_cast<char*>(recv));
  });
}
HcclResult HcclAlltoAll(const void* send, uint64_t count, HcclDataType type, const void* recv, uint64_t, HcclDataType,
                        HcclComm comm, aclrtStream stream) {
  const auto t = scalar_type(type);
  if (!t) return HCCL_E_NOT_SUPPORT;
  const uint64_t bytes = count * c10::elementSize(*t), all = bytes * static_cast<Comm*>(comm)->ranks;
  const Call call{"HcclAlltoAll", comm, stream, bytes};
  if (auto error = check_buffer(call, recv, all)) return error;
  auto* out = static_cast<char*>(const_cast<void*>(recv));
  return exchange(call, send, all, [=](const Chunk& chunk) {
    for (uint32_t r = 0; r < chunk.comm.ranks; ++r) chunk.copy(r, {chunk.comm.rank * bytes, bytes}, out + r * bytes);
  });
}
HcclResult HcclAlltoAllV(const void* send, const void* send_counts, const void* send_displs, HcclDataType type,
                         const void* recv, const void* recv_counts, const void* recv_displs, HcclDataType,
                         HcclComm comm, aclrtStream stream) {
  const auto t = scalar_type(type);
  if (!t) return HCCL_E_NOT_SUPPORT;
  const uint64_t item = c10::elementSize(*t);
  const uint32_t ranks = static_cast<Comm*>(comm)->ranks;
  const auto table = [=](const void* counts, const void* displs) {
    std::vector<Part> parts;
    for (uint32_t r = 0; r < ranks; ++r)
      parts.push_back({static_cast<const uint64_t*>(displs)[r] * item, static_cast<const uint64_t*>(counts)[r] * item});
    return parts;
  };
  const auto out = table(send_counts, send_displs), in = table(recv_counts, recv_displs);
  uint64_t bytes = 0;
  for (const Part& part : out) bytes = std::max(bytes, part.begin + part.size);
  const auto read = [=](const Chunk& chunk) {
    for (uint32_t r = 0; r < chunk.comm.ranks; ++r) {
      const Part part = chunk.comm.shared->parts[r][chunk.comm.rank];
      if (part.size != in[r].size)
        throw fake::Violation("ranks call the same collectives", ACL_ERROR_RT_PARAM_INVALID, "counts of all-to-all");
      chunk.copy(r, part, static_cast<char*>(const_cast<void*>(recv)) + in[r].begin);
    }
  };
  return exchange({"HcclAlltoAllV", comm, stream}, send, bytes, read, out);
}
HcclResult HcclBarrier(HcclComm comm, aclrtStream stream) {
  return exchange({"HcclBarrier", comm, stream}, nullptr, 0, [](const Chunk&) {});
}

HcclResult HcclSend(void* send, uint64_t count, HcclDataType type, uint32_t to, HcclComm handle, aclrtStream stream) {
  const auto t = scalar_type(type);
  auto comm = static_cast<Comm*>(handle)->shared_from_this();
  if (!t || to >= comm->ranks) return HCCL_E_PARA;
  const uint64_t bytes = count * c10::elementSize(*t);
  if (auto error = check_buffer({"HcclSend", handle, stream}, send, bytes)) return error;
  return launched(fake::enqueue(stream, "HcclSend", [=] {
    auto& box = comm->shared->boxes[comm->rank][to];
    for (uint64_t offset = 0; offset < bytes; offset += kBox) {
      wait_for_peer("HcclSend", [&] { return !box.full; });
      std::memcpy(box.data, static_cast<const char*>(send) + offset, std::min<uint64_t>(kBox, bytes - offset));
      box.full = 1;
    }
  }));
}
HcclResult HcclRecv(void* recv, uint64_t count, HcclDataType type, uint32_t from, HcclComm handle, aclrtStream stream) {
  const auto t = scalar_type(type);
  auto comm = static_cast<Comm*>(handle)->shared_from_this();
  if (!t || from >= comm->ranks) return HCCL_E_PARA;
  const uint64_t bytes = count * c10::elementSize(*t);
  if (auto error = check_buffer({"HcclRecv", handle, stream}, recv, bytes)) return error;
  return launched(fake::enqueue(stream, "HcclRecv", [=] {
    auto& box = comm->shared->boxes[from][comm->rank];
    for (uint64_t offset = 0; offset < bytes; offset += kBox) {
      wait_for_peer("HcclRecv", [&] { return box.full != 0; });
      std::memcpy(static_cast<char*>(recv) + offset, box.data, std::min<uint64_t>(kBox, bytes - offset));
      box.full = 0;
    }
  }));
}
}  // extern "C"
