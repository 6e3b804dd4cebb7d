#include "diffusion/autoencoder.h"

#include <algorithm>
#include <vector>

namespace cairn::diffusion {
namespace {

// Tiles along one side. In pixels of the input: `size`, and the `step` from one to the next. In pixels of the output:
// the first `blend` of a tile are mixed with its neighbour's last, and the first `keep` of it are used.
struct Tiles {
  int64_t size, step, blend, keep;
};

// The side of a tile in latent pixels: a multiple of four, so that steps of three quarters meet on both sides.
int64_t latent_tile(const LatentSpace& s) { return std::max<int64_t>(4, s.sample_size / s.scale / 4 * 4); }
Tiles tiles(int64_t in, int64_t out) { return {in, in - in / 4, out / 4, out - out / 4}; }

Tensor joined(const std::vector<Tensor>& parts, int64_t dim) {
  std::vector<int64_t> shape = parts[0].sizes().vec();
  shape[static_cast<size_t>(dim)] = 0;
  for (const auto& p : parts) shape[static_cast<size_t>(dim)] += p.size(dim);
  Tensor out = parts[0].new_empty(shape);
  int64_t at = 0;
  for (const auto& p : parts) {
    out.narrow(dim, at, p.size(dim)).copy_(p);
    at += p.size(dim);
  }
  return out;
}

// Mixes the first pixels of `tile` along `dim`, in place, with the last of the tile before it, whose share falls
// from 1.
void mix(const Tensor& before, Tensor& tile, int64_t dim, int64_t extent) {
  extent = std::min({before.size(dim), tile.size(dim), extent});
  if (extent == 0) return;
  Tensor share = empty({extent}, kF32);
  for (int64_t i = 0; i < extent; ++i) share.data_ptr<float>()[i] = static_cast<float>(i) / static_cast<float>(extent);
  share = share.to(tile.device()).view(dim == 2 ? std::vector<int64_t>{extent, 1} : std::vector<int64_t>{extent});
  Tensor head = tile.narrow(dim, 0, extent);
  head.copy_(before.narrow(dim, before.size(dim) - extent, extent) * (share * -1 + 1) + head * share);
}

// Two rows of finished tiles are held at a time, beside the result.
template <class F>
Tensor by_tiles(const Tensor& x, const Tiles& t, F&& run) {
  const auto cut = [](const Tensor& from, int64_t dim, int64_t at, int64_t size) {
    return from.narrow(dim, at, std::min(size, from.size(dim) - at));
  };
  std::vector<Tensor> above, row, rows, parts;
  for (int64_t top = 0; top < x.size(2); top += t.step) {
    row.clear();
    parts.clear();
    for (int64_t left = 0; left < x.size(3); left += t.step) {
      Tensor tile = run(cut(cut(x, 2, top, t.size), 3, left, t.size).contiguous());
      if (top > 0) mix(above[row.size()], tile, 2, t.blend);
      if (left > 0) mix(row.back(), tile, 3, t.blend);
      parts.push_back(cut(cut(tile, 2, 0, t.keep), 3, 0, t.keep));
      row.push_back(std::move(tile));
    }
    rows.push_back(joined(parts, 3));
    above = row;
  }
  return joined(rows, 2);
}

template <class F>
Tensor in_portions(const Tensor& x, bool slicing, F&& run) {
  if (!slicing || x.size(0) <= 1) return run(x);
  std::vector<Tensor> parts;
  for (int64_t i = 0; i < x.size(0); ++i) parts.push_back(run(x.narrow(0, i, 1)));
  return joined(parts, 0);
}

bool fits(const Tensor& x, int64_t size) { return x.size(2) <= size && x.size(3) <= size; }

}  // namespace

Tensor sample_latents(const Tensor& moments, const Tensor& noise) {
  const auto halves = moments.chunk(2, 1);
  if (!noise.defined()) return halves[0];
  return halves[0] + halves[1].clamp(-30, 20).mul(0.5).exp() * noise.to(moments.options());
}

Tensor decode(const Autoencoder& vae, const Tensor& z, Portions how) {
  return in_portions(z, how.slicing,
                     [&](const Tensor& x) { return how.tiling ? tiled_decode(vae, x) : vae.decode(x); });
}

Tensor encode(const Autoencoder& vae, const Tensor& pictures, Portions how) {
  return in_portions(pictures, how.slicing,
                     [&](const Tensor& x) { return how.tiling ? tiled_encode(vae, x) : vae.encode(x); });
}

Tensor tiled_decode(const Autoencoder& vae, const Tensor& z) {
  const int64_t side = latent_tile(vae.space());
  if (fits(z, side)) return vae.decode(z);
  return by_tiles(z, tiles(side, side * vae.space().scale), [&](const Tensor& tile) { return vae.decode(tile); });
}

Tensor tiled_encode(const Autoencoder& vae, const Tensor& pictures) {
  const int64_t latent = latent_tile(vae.space()), side = latent * vae.space().scale;
  if (fits(pictures, side)) return vae.encode(pictures);
  return by_tiles(pictures, tiles(side, latent), [&](const Tensor& tile) { return vae.encode(tile); });
}

}  // namespace cairn::diffusion
