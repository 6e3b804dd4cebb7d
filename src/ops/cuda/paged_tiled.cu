// Attention of many rows on tensor cores: a block takes 64 rows of one group, the heads of a token one after the other,
// and goes through the keys that any of them sees; each of its four warps owns 16 rows.
#include "ops/cuda/mma.cuh"
#include "ops/cuda/paged.cuh"

namespace cairn::ops::cuda {
namespace {

constexpr int kWarps = 4, kRows = 16, kTileRows = kWarps * kRows, kThreads = kWarps * kWarp;

template <int kWidth>
constexpr int kTileKeys = kWidth <= 128 ? 64 : 32;
template <int kWidth>
constexpr int kStride = kWidth + kChunk;  // of rows in shared memory: no two of eight neighbours share a bank

// Row `row` of a tile: `width` numbers, zeros up to kWidth; all of it zeros when `from` is null.
template <class T, int kWidth>
__device__ inline void load_row(T* tile, int row, int chunk, const T* from, int64_t width, bool vectors) {
  const int64_t i = chunk * kChunk, left = from ? width - i : 0;
  T* to = tile + row * kStride<kWidth> + i;
  if (vectors && left >= kChunk) {
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from + i);
    return;
  }
#pragma unroll
  for (int j = 0; j < kChunk; ++j) to[j] = j < left ? from[i + j] : from_float<T>(0.0f);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) tiled_kernel(Paged p, int64_t over, bool vectors) {
  constexpr int kKeys = kTileKeys<kWidth>, kLine = kStride<kWidth>, kChunks = kWidth / kChunk;
  const int64_t sequence = blockIdx.z, group = blockIdx.y, share = p.heads / p.k.groups;
  const int64_t first = p.batch.first_row[sequence], rows = p.batch.first_row[sequence + 1] - first;
  // Later tiles see more keys: they begin first.
  const int64_t tile = (gridDim.x - 1 - blockIdx.x) * int64_t{kTileRows}, all = rows * share;
  if (rows <= over || tile >= all) return;
  const int64_t past = p.batch.keys[sequence] - rows, d = p.k.width, e = p.v.width;
  const int32_t* table = p.batch.tables + sequence * p.batch.table_width;
  T* const queries = dynamic_shared<T>();
  T* const keys = queries + kTileRows * kLine;
  T* const values = keys + kKeys * kLine;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, t = lane % 4 * 2;

  for (int i = threadIdx.x; i < kTileRows * kChunks; i += kThreads) {
    const int64_t m = tile + i / kChunks;
    const T* from =
        m < all ? static_cast<const T*>(p.q.data) + row_start(p.q, first + m / share) + (group * share + m % share) * d
                : nullptr;
    load_row<T, kWidth>(queries, i / kChunks, i % kChunks, from, d, vectors);
  }
  int64_t position[2], seen[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int64_t m = tile + warp * kRows + g + 8 * i;
    position[i] = past + (m < all ? m : all - 1) / share;
    seen[i] = first_seen(p, position[i]);
  }
  const int64_t last = tile + kTileRows < all ? tile + kTileRows - 1 : all - 1;
  const int64_t low = first_seen(p, past + tile / share) / kKeys * kKeys, high = past + last / share + 1;

  float out[kWidth / 8][4] = {}, highest[2] = {-INFINITY, -INFINITY}, total[2] = {};
  for (int64_t begin = low; begin < high; begin += kKeys) {
    __syncthreads();  // the last tile has been read
    for (int i = threadIdx.x; i < kKeys * kChunks; i += kThreads) {
      const int64_t key = begin + i / kChunks;
      const T* k = key < high ? cached<T>(p.k, table, key, group) : nullptr;
      const T* v = key < high ? cached<T>(p.v, table, key, group) : nullptr;
      load_row<T, kWidth>(keys, i / kChunks, i % kChunks, k, d, vectors);
      load_row<T, kWidth>(values, i / kChunks, i % kChunks, v, e, vectors);
    }
    __syncthreads();

    float scores[kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kWidth; k += 16) {
      const T* row = queries + (warp * kRows + g) * kLine + k + t;
      const uint32_t a[4] = {pair_at(row), pair_at(row + 8 * kLine), pair_at(row + 8), pair_at(row + 8 * kLine + 8)};
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
        const T* key = keys + (n * 8 + g) * kLine + k + t;
        const uint32_t b[2] = {pair_at(key), pair_at(key + 8)};
        mma(scores[n], a, b, T{});
      }
    }
    float now[2] = {highest[0], highest[1]};
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t key = begin + n * 8 + t + i % 2;
        const bool visible = key <= position[i / 2] && key >= seen[i / 2];
        scores[n][i] = visible ? scored(p, scores[n][i]) : -INFINITY;
        now[i / 2] = fmaxf(now[i / 2], scores[n][i]);
      }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      now[i] = fmaxf(now[i], __shfl_xor_sync(kAllLanes, now[i], 1));
      now[i] = fmaxf(now[i], __shfl_xor_sync(kAllLanes, now[i], 2));
      // A row that has seen no key yet must not subtract infinities.
      const float base = now[i] == -INFINITY ? 0.0f : now[i], factor = expf(highest[i] - base);
      highest[i] = now[i];
      now[i] = base;
      total[i] *= factor;
#pragma unroll
      for (int n = 0; n < kWidth / 8; ++n) out[n][2 * i] *= factor, out[n][2 * i + 1] *= factor;
    }
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[n][i] = expf(scores[n][i] - now[i / 2]);
        total[i / 2] += scores[n][i];
      }
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      const float(&x)[4] = scores[2 * k], (&y)[4] = scores[2 * k + 1];
      const uint32_t a[4] = {pair_of<T>(x[0], x[1]), pair_of<T>(x[2], x[3]), pair_of<T>(y[0], y[1]),
                             pair_of<T>(y[2], y[3])};
#pragma unroll
      for (int n = 0; n < kWidth / 8; ++n) {
        uint32_t b[2];
        load_transposed(b, values + (k * 16 + lane % 16) * kLine + n * 8);
        mma(out[n], a, b, T{});
      }
    }
  }

#pragma unroll
  for (int i = 0; i < 2; ++i) {
    total[i] += __shfl_xor_sync(kAllLanes, total[i], 1);
    total[i] += __shfl_xor_sync(kAllLanes, total[i], 2);
    const int64_t m = tile + warp * kRows + g + 8 * i;
    if (m >= all) continue;
    T* to = static_cast<T*>(p.out) + ((first + m / share) * p.heads + group * share + m % share) * e;
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n)
#pragma unroll
      for (int j = 0; j < 2; ++j)
        if (n * 8 + t + j < e) to[n * 8 + t + j] = from_float<T>(out[n][2 * i + j] / total[i]);
  }
}

template <class T, int kWidth>
Status launch_tiled(const Paged& p, int64_t over, void* stream) {
  const bool vectors = aligned(p.q) && aligned(p.k) && aligned(p.v) && p.k.width % kChunk == 0;
  const int64_t tiles = ceil_div(p.batch.most_rows * (p.heads / p.k.groups), kTileRows);
  if (tiles > kMostBlocks || p.k.groups > kMostBlocksYZ || p.batch.count > kMostBlocksYZ)
    return "paged_attention: too much for one launch";
  const int64_t shared = (kTileRows + 2 * kTileKeys<kWidth>)*kStride<kWidth> * int64_t{sizeof(T)};
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(p.k.groups),
                  static_cast<unsigned>(p.batch.count));
  return launch(tiled_kernel<T, kWidth>, grid, dim3(kThreads), shared, stream, p, over, vectors);
}

template <class T>
Status of_width(const Paged& p, int64_t over, void* stream) {
  const int64_t width = p.k.width > p.v.width ? p.k.width : p.v.width;
  if (width <= 64) return launch_tiled<T, 64>(p, over, stream);
  if (width <= 128) return launch_tiled<T, 128>(p, over, stream);
  if (width <= 192) return launch_tiled<T, 192>(p, over, stream);
  return launch_tiled<T, 256>(p, over, stream);
}

}  // namespace

bool can_tile(const Paged& p) { return p.k.type != Type::f32 && p.k.width <= 256 && p.v.width <= 256; }

Status paged_tiled(const Paged& p, int64_t over, void* stream) {
  if (p.k.type == Type::bf16) return of_width<bf16>(p, over, stream);
  return of_width<f16>(p, over, stream);
}

}  // namespace cairn::ops::cuda
