// Resampling that gives the bytes of Pillow's Image.resize, and pictures of pictures.
#pragma once
#include <vector>

#include "image/image.h"

namespace cairn::image {

enum class Filter { kBilinear, kBicubic, kLanczos };

// Antialiased: the filter widens when it shrinks. Lanczos has radius 3, bicubic a = -0.5, as in Pillow.
// Fails for a size that check_size() refuses.
Result<Image> resize(const Image& image, int64_t width, int64_t height, Filter filter = Filter::kLanczos);

// Pictures of one size in rows of `columns`; places left over in the last row are black.
Result<Image> grid(const std::vector<Image>& images, int64_t columns);

// Left to right, tops aligned, `gap` white pixels between; shorter pictures leave white below.
Result<Image> side_by_side(const std::vector<Image>& images, int64_t gap = 8);

}  // namespace cairn::image
