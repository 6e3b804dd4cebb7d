// How far two pictures are apart, by the numbers that cache-dit reports.
#pragma once
#include <string>
#include <vector>

#include "image/image.h"

namespace cairn::image {

struct Scores {
  double mse = 0;   // mean of squared differences of the bytes, 0..65025
  double psnr = 0;  // 20 log10(255 / sqrt(mse)) dB; infinity for equal pictures
  // What cache-dit prints as PSNR: it squares differences in 8 bits, so each square counts modulo 256. Equal to psnr
  // while no byte differs by more than 15, larger otherwise; here to compare with published tables.
  double psnr_wrapped = 0;
  // scikit-image's structural_similarity for bytes: 7 x 7 box windows that lie inside the picture, sample covariance,
  // K1 = 0.01, K2 = 0.03, range 255, the mean over channels.
  double ssim = 0;
};

// Of two pictures of one size, both sides at least 7.
Result<Scores> compare(const Image& a, const Image& b);

struct Row {
  std::string name;  // of the file, relative to its folder
  Scores scores;
};
struct Report {
  std::vector<Row> rows;  // sorted by name
  Scores mean;            // of the rows; infinite values (equal pictures) are left out of a mean unless all are
};

// Two files, or two folders (searched through) whose pictures must pair by relative path.
Result<Report> compare_paths(const std::string& a, const std::string& b);

}  // namespace cairn::image
