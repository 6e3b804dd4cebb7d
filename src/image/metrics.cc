#include "image/metrics.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <limits>

namespace cairn::image {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kWindow = 7;  // pixels
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double psnr(double mse) { return mse == 0 ? kInfinity : 20 * std::log10(255.0 / std::sqrt(mse)); }

// Of one window or column: sums of a, b, aa, bb and ab. Whole numbers, so that sliding adds no rounding.
using Sums = std::array<int32_t, 5>;

void add(Sums& sums, int32_t a, int32_t b, int32_t sign) {
  sums[0] += sign * a;
  sums[1] += sign * b;
  sums[2] += sign * a * a;
  sums[3] += sign * b * b;
  sums[4] += sign * a * b;
}

// Wang et al. 2004, equation 13, with the sample covariance that scikit-image takes by default.
double window_ssim(const Sums& sums) {
  constexpr double n = kWindow * kWindow, unbiased = n / (n - 1);
  constexpr double c1 = (0.01 * 255) * (0.01 * 255), c2 = (0.03 * 255) * (0.03 * 255);
  const double a = sums[0] / n, b = sums[1] / n;
  const double var_a = unbiased * (sums[2] / n - a * a), var_b = unbiased * (sums[3] / n - b * b);
  const double cov = unbiased * (sums[4] / n - a * b);
  return (2 * a * b + c1) * (2 * cov + c2) / ((a * a + b * b + c1) * (var_a + var_b + c2));
}

double ssim(const Image& a, const Image& b) {
  const int64_t bytes = a.width * 3;
  std::vector<Sums> columns(static_cast<size_t>(bytes));  // over the last kWindow rows
  double total = 0;
  for (int64_t y = 0; y < a.height; ++y) {
    for (int64_t i = 0; i < bytes; ++i) {
      add(columns[static_cast<size_t>(i)], a.row(y)[i], b.row(y)[i], 1);
      if (y >= kWindow) add(columns[static_cast<size_t>(i)], a.row(y - kWindow)[i], b.row(y - kWindow)[i], -1);
    }
    if (y < kWindow - 1) continue;
    double row = 0;
    for (int64_t channel = 0; channel < 3; ++channel) {
      Sums window{};
      for (int64_t x = 0; x < a.width; ++x) {
        const Sums& in = columns[static_cast<size_t>(x * 3 + channel)];
        for (size_t k = 0; k < window.size(); ++k) window[k] += in[k];
        if (x < kWindow - 1) continue;
        row += window_ssim(window);
        const Sums& out = columns[static_cast<size_t>((x - kWindow + 1) * 3 + channel)];
        for (size_t k = 0; k < window.size(); ++k) window[k] -= out[k];
      }
    }
    total += row;
  }
  return total / static_cast<double>(3 * (a.width - kWindow + 1) * (a.height - kWindow + 1));
}

Scores mean_of(const std::vector<Row>& rows) {
  const auto mean = [&rows](double Scores::* member) {
    double sum = 0;
    int64_t finite = 0;
    for (const Row& row : rows) {
      if (std::isinf(row.scores.*member)) continue;
      sum += row.scores.*member;
      ++finite;
    }
    return finite ? sum / static_cast<double>(finite) : kInfinity;
  };
  return {mean(&Scores::mse), mean(&Scores::psnr), mean(&Scores::psnr_wrapped), mean(&Scores::ssim)};
}

Result<Scores> compare_files(const std::string& a, const std::string& b) {
  const Image left = TRY(load(a)), right = TRY(load(b));
  auto scores = compare(left, right);
  if (!scores) return tl::unexpected(within(a + " and " + b, std::move(scores).error()));
  return scores;
}

// Relative paths of the pictures below a folder, sorted.
Result<std::vector<std::string>> pictures_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string path = it->path().string();
    if (it->is_regular_file(error) && format_of_path(path))
      names.push_back(it->path().lexically_relative(folder).string());
  }
  if (error) return invalid(fmt::format("cannot list {}: {}", folder.string(), error.message()));
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

Result<Scores> compare(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height)
    return invalid(
        fmt::format("pictures of {} x {} and {} x {} pixels cannot be compared", a.width, a.height, b.width, b.height));
  if (a.width < kWindow || a.height < kWindow)
    return invalid(fmt::format("SSIM needs sides of at least {} pixels, not {} x {}", kWindow, a.width, a.height));
  int64_t squares = 0, wrapped = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) {
    const int square = (a.rgb[i] - b.rgb[i]) * (a.rgb[i] - b.rgb[i]);
    squares += square;
    wrapped += square & 0xff;
  }
  const auto count = static_cast<double>(a.rgb.size());
  const double mse = static_cast<double>(squares) / count;
  return Scores{mse, psnr(mse), psnr(static_cast<double>(wrapped) / count), ssim(a, b)};
}

Result<Report> compare_paths(const std::string& a, const std::string& b) {
  std::error_code ignored;
  const bool folders = fs::is_directory(a, ignored);
  if (folders != fs::is_directory(b, ignored))
    return invalid(fmt::format("cannot compare a folder with a file: {} and {}", a, b));
  Report report;
  if (folders) {
    const auto left = TRY(pictures_in(a)), right = TRY(pictures_in(b));
    std::vector<std::string> lonely;
    std::set_symmetric_difference(left.begin(), left.end(), right.begin(), right.end(), std::back_inserter(lonely));
    if (!lonely.empty()) {
      const bool in_left = std::binary_search(left.begin(), left.end(), lonely[0]);
      return invalid(
          fmt::format("{} is in {} but not in {}{}", lonely[0], in_left ? a : b, in_left ? b : a,
                      lonely.size() == 1 ? "" : fmt::format(", and {} more have no partner", lonely.size() - 1)));
    }
    if (left.empty()) return invalid(fmt::format("there are no pictures (.png, .jpg, .jpeg, .webp) in {}", a));
    for (const auto& name : left)
      report.rows.push_back({name, TRY(compare_files(fs::path(a) / name, fs::path(b) / name))});
  } else {
    report.rows.push_back({fs::path(a).filename().string(), TRY(compare_files(a, b))});
  }
  report.mean = mean_of(report.rows);
  return report;
}

}  // namespace cairn::image
