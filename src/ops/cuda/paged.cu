#include "ops/cuda/paged.cuh"

#include <algorithm>

namespace cairn::ops::cuda {
namespace {

template <class From, class To>
__global__ void __launch_bounds__(256) write_kernel(Rows rows, Cache to, const int64_t* slots, bool vectors) {
  const int64_t token = blockIdx.x, slot = slots[token];
  if (slot < 0 || slot >= to.blocks * to.block_size) return;
  const From* from = static_cast<const From*>(rows.data) + row_start(rows, token);
  To* line = static_cast<To*>(to.data) + slot / to.block_size * to.block_stride + slot % to.block_size * to.row_stride;
  const int64_t chunks = (to.width + kChunk - 1) / kChunk;
  for (int64_t i = threadIdx.x; i < to.groups * chunks; i += blockDim.x) {
    const int64_t group = i / chunks, column = i % chunks * kChunk;
    float x[kChunk];
    load8(from + group * to.width + column, to.width - column, vectors, x);
    store8(line + group * to.group_stride + column, to.width - column, vectors, x);
  }
}

bool holds(const Cache& c) { return c.data && c.blocks > 0 && c.block_size > 0 && c.groups > 0 && c.width > 0; }

int64_t pieces_of(const Paged& p) { return std::max<int64_t>(1, ceil_div(p.batch.most_keys, kPiece)); }

}  // namespace

Status write_cache(const Rows& rows, int64_t tokens, const Cache& to, const int64_t* slots, void* stream) {
  if (tokens < 0 || tokens > kMostBlocks) return "write_cache: a number of tokens for one launch";
  if (tokens == 0) return nullptr;
  if (!holds(to) || !rows.data || !slots) return "write_cache: no cache, rows or slots";
  const bool vectors = aligned(rows) && aligned(to) && to.width % kChunk == 0;
  return with_type(rows.type, [&](auto a) {
    return with_type(to.type, [&](auto b) {
      return launch(write_kernel<decltype(a), decltype(b)>, dim3(static_cast<unsigned>(tokens)),
                    dim3(threads_for_width(to.groups * to.width, 1, 256)), 0, stream, rows, to, slots, vectors);
    });
  });
}

int64_t paged_workspace(const Paged& p) {
  const int64_t pieces = pieces_of(p), rows = std::min(p.batch.most_rows, kFewRows);
  return pieces == 1 ? 0 : p.batch.count * rows * p.heads * pieces * (p.v.width + 2);
}

Status paged_attention(const Paged& p, float* workspace, void* stream) {
  const PagedBatch& b = p.batch;
  if (b.count < 0 || b.most_rows < 0 || b.most_keys < 0) return "paged_attention: negative sizes";
  if (b.count == 0 || b.most_rows == 0 || b.most_keys == 0) return nullptr;
  if (!holds(p.k) || !holds(p.v) || !p.q.data || !p.out) return "paged_attention: no input or no output";
  if (!b.tables || !b.keys || !b.first_row) return "paged_attention: a batch without its arrays";
  if (p.k.groups != p.v.groups || p.k.block_size != p.v.block_size)
    return "paged_attention: keys and values differ in shape";
  if (p.heads < 1 || p.heads % p.k.groups) return "paged_attention: heads are a multiple of the groups";
  if (p.k.width > 1024 || p.v.width > 1024) return "paged_attention: heads wider than 1024 numbers";
  if (p.q.type != p.k.type || p.k.type != p.v.type) return "paged_attention: queries, keys and values differ in dtype";
  if (b.most_keys > b.table_width * p.k.block_size) return "paged_attention: more keys than the tables have blocks for";
  if (paged_workspace(p) > 0 && !workspace) return "paged_attention: no workspace";
  if (const Status said = paged_few(p, 0, kFewRows, pieces_of(p), workspace, stream)) return said;
  if (b.most_rows <= kFewRows) return nullptr;
  // Many rows fill the device without pieces.
  return can_tile(p) ? paged_tiled(p, kFewRows, stream) : paged_few(p, kFewRows, b.most_rows, 1, nullptr, stream);
}

}  // namespace cairn::ops::cuda
