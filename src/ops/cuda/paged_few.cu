// Attention of few rows over many keys: a block takes one row, some heads of one group and one piece of the keys. Eight
// lanes share a key's product with the queries; for the values, a thread owns eight columns of some of the keys.
#include <algorithm>

#include "ops/cuda/paged.cuh"

namespace cairn::ops::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp, kTile = 64, kLanesAKey = 8;

struct Split {
  int64_t over, few;                    // sequences of more rows than `over`, at most `few`
  int64_t rows, pieces, piece, chunks;  // rows: places for rows of a sequence; chunks: of heads, a group
  bool vectors;
};

// Sequence and row of a place; false when there is no such row here.
struct Place {
  int64_t sequence, row, position;
};
__device__ inline bool find(const Paged& p, const Split& s, int64_t place, Place& at) {
  at.sequence = place / s.rows, at.row = place % s.rows;
  const int64_t first = p.batch.first_row[at.sequence], rows = p.batch.first_row[at.sequence + 1] - first;
  if (rows <= s.over || rows > s.few || at.row >= rows) return false;
  at.position = p.batch.keys[at.sequence] - rows + at.row;
  at.row += first;
  return true;
}

template <class T, int kHeads>
__global__ void __launch_bounds__(kThreads) few_kernel(Paged p, Split s, float* workspace) {
  __shared__ float scores[kHeads][kTile], highest[kHeads], total[kHeads], factor[kHeads];
  __shared__ float columns[kThreads * kChunk];
  float* const q = dynamic_shared<float>();  // (kHeads, d rounded up to chunks)
  const int64_t share = p.heads / p.k.groups, place = blockIdx.x / (p.k.groups * s.chunks);
  const int64_t group = blockIdx.x / s.chunks % p.k.groups, head = blockIdx.x % s.chunks * kHeads;
  const int64_t here = share - head < kHeads ? share - head : kHeads, first_head = group * share + head;
  Place at;
  if (!find(p, s, place, at)) return;
  const int64_t seen = first_seen(p, at.position), from = blockIdx.y * s.piece;
  const int64_t low = from > seen ? from : seen;
  const int64_t high = from + s.piece < at.position + 1 ? from + s.piece : at.position + 1;
  if (low >= high) return;

  const int64_t d = p.k.width, e = p.v.width, d_chunks = (d + kChunk - 1) / kChunk,
                e_chunks = (e + kChunk - 1) / kChunk;
  const T* queries = static_cast<const T*>(p.q.data) + row_start(p.q, at.row) + first_head * d;
  for (int64_t i = threadIdx.x; i < kHeads * d_chunks; i += kThreads) {
    const int64_t h = i / d_chunks, c = i % d_chunks * kChunk;
    float x[kChunk];
    load8(queries + h * d + c, h < here ? d - c : 0, s.vectors, x);
#pragma unroll
    for (int j = 0; j < kChunk; ++j) q[i * kChunk + j] = x[j];
  }
  if (threadIdx.x < kHeads) highest[threadIdx.x] = -INFINITY, total[threadIdx.x] = 0;
  const int32_t* table = p.batch.tables + at.sequence * p.batch.table_width;
  const int64_t subsets = kThreads / e_chunks, subset = threadIdx.x / e_chunks,
                column = threadIdx.x % e_chunks * kChunk;
  float sums[kHeads][kChunk] = {};
  __syncthreads();

  for (int64_t tile = low; tile < high; tile += kTile) {
    for (int round = 0; round < kTile; round += kThreads / kLanesAKey) {
      const int slot = round + static_cast<int>(threadIdx.x) / kLanesAKey;
      const int64_t key = tile + slot;
      float products[kHeads] = {};
      if (key < high) {
        const T* k = cached<T>(p.k, table, key, group);
        for (int64_t c = threadIdx.x % kLanesAKey; c < d_chunks; c += kLanesAKey) {
          float x[kChunk];
          load8(k + c * kChunk, d - c * kChunk, s.vectors, x);
#pragma unroll
          for (int h = 0; h < kHeads; ++h)
#pragma unroll
            for (int j = 0; j < kChunk; ++j) products[h] += x[j] * q[(h * d_chunks + c) * kChunk + j];
        }
      }
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
#pragma unroll
        for (int i = kLanesAKey / 2; i > 0; i /= 2) products[h] += __shfl_xor_sync(kAllLanes, products[h], i);
        if (threadIdx.x % kLanesAKey == 0) scores[h][slot] = key < high ? scored(p, products[h]) : -INFINITY;
      }
    }
    __syncthreads();
    for (int h = threadIdx.x / kWarp; h < kHeads; h += kWarps) {
      const int lane = threadIdx.x % kWarp;
      const float a = scores[h][lane], b = scores[h][lane + kWarp];
      const float before = highest[h], now = fmaxf(before, warp_max(fmaxf(a, b)));
      const float x = expf(a - now), y = expf(b - now), sum = warp_sum(x + y);
      scores[h][lane] = x, scores[h][lane + kWarp] = y;
      __syncwarp();
      if (lane == 0) {
        factor[h] = expf(before - now);
        total[h] = total[h] * factor[h] + sum;
        highest[h] = now;
      }
    }
    __syncthreads();
    if (subset < subsets) {
#pragma unroll
      for (int h = 0; h < kHeads; ++h)
#pragma unroll
        for (int j = 0; j < kChunk; ++j) sums[h][j] *= factor[h];
      const int64_t keys = high - tile < kTile ? high - tile : kTile;
      for (int64_t i = subset; i < keys; i += subsets) {
        float x[kChunk];
        load8(cached<T>(p.v, table, tile + i, group) + column, e - column, s.vectors, x);
#pragma unroll
        for (int h = 0; h < kHeads; ++h)
#pragma unroll
          for (int j = 0; j < kChunk; ++j) sums[h][j] += scores[h][i] * x[j];
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    if (h >= here) break;
#pragma unroll
    for (int j = 0; j < kChunk; ++j) columns[threadIdx.x * kChunk + j] = sums[h][j];
    __syncthreads();
    if (subset == 0) {
      float x[kChunk] = {};
      for (int64_t u = 0; u < subsets; ++u)
#pragma unroll
        for (int j = 0; j < kChunk; ++j) x[j] += columns[(u * e_chunks + threadIdx.x) * kChunk + j];
      const int64_t result = first_head + h;
      if (s.pieces == 1) {
#pragma unroll
        for (int j = 0; j < kChunk; ++j) x[j] /= total[h];
        store8(static_cast<T*>(p.out) + (at.row * p.heads + result) * e + column, e - column, false, x);
      } else {
        float* part = workspace + ((place * p.heads + result) * s.pieces + blockIdx.y) * (e + 2);
        store8(part + column, e - column, false, x);
        if (threadIdx.x == 0) part[e] = highest[h], part[e + 1] = total[h];
      }
    }
    __syncthreads();
  }
}

// A block a head of a row: the pieces one after the other.
template <class T>
__global__ void __launch_bounds__(kThreads) merge_kernel(Paged p, Split s, const float* workspace) {
  const int64_t place = blockIdx.x / p.heads, head = blockIdx.x % p.heads, e = p.v.width;
  Place at;
  if (!find(p, s, place, at)) return;
  const int64_t from = first_seen(p, at.position) / s.piece, to = at.position / s.piece;
  const float* parts = workspace + (place * p.heads + head) * s.pieces * (e + 2);
  float highest = -INFINITY, total = 0;
  for (int64_t i = from; i <= to; ++i) highest = fmaxf(highest, parts[i * (e + 2) + e]);
  for (int64_t i = from; i <= to; ++i) total += parts[i * (e + 2) + e + 1] * expf(parts[i * (e + 2) + e] - highest);
  T* out = static_cast<T*>(p.out) + (at.row * p.heads + head) * e;
  for (int64_t c = threadIdx.x; c < e; c += kThreads) {
    float sum = 0;
    for (int64_t i = from; i <= to; ++i) sum += parts[i * (e + 2) + c] * expf(parts[i * (e + 2) + e] - highest);
    out[c] = from_float<T>(sum / total);
  }
}

template <class T, int kHeads>
Status launch_few(const Paged& p, Split s, float* workspace, void* stream) {
  s.chunks = ceil_div(p.heads / p.k.groups, kHeads);
  const int64_t blocks = p.batch.count * s.rows * p.k.groups * s.chunks, merges = p.batch.count * s.rows * p.heads;
  if (blocks > kMostBlocks || merges > kMostBlocks || s.pieces > kMostBlocksYZ)
    return "paged_attention: too much for one launch";
  const int64_t shared = kHeads * ceil_div(p.k.width, kChunk) * kChunk * int64_t{sizeof(float)};
  const Status said =
      launch(few_kernel<T, kHeads>, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(s.pieces)),
             dim3(kThreads), shared, stream, p, s, workspace);
  if (said || s.pieces == 1) return said;
  return launch(merge_kernel<T>, dim3(static_cast<unsigned>(merges)), dim3(kThreads), 0, stream, p, s, workspace);
}

}  // namespace

Status paged_few(const Paged& p, int64_t over, int64_t few, int64_t pieces, float* workspace, void* stream) {
  const bool vectors =
      aligned(p.q) && aligned(p.k) && aligned(p.v) && p.k.width % kChunk == 0 && p.v.width % kChunk == 0;
  const Split s{.over = over,
                .few = few,
                .rows = std::min(few, p.batch.most_rows),
                .pieces = pieces,
                .piece = pieces == 1 ? p.batch.most_keys : kPiece,
                .chunks = 0,
                .vectors = vectors};
  const int64_t share = p.heads / p.k.groups;
  return with_type(p.k.type, [&](auto t) {
    using T = decltype(t);
    if (share == 1) return launch_few<T, 1>(p, s, workspace, stream);
    if (share <= 4) return launch_few<T, 4>(p, s, workspace, stream);
    return launch_few<T, 8>(p, s, workspace, stream);
  });
}

}  // namespace cairn::ops::cuda
