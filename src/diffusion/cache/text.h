// Numbers as Python writes them, since tags and tables are compared with cache-dit's.
#pragma once
#include <string>

namespace cairn::diffusion {

std::string python_float(double v);              // repr(): "0.08", "1.0", "1e-05"
std::string python_round(double v, int digits);  // repr(round(v, digits))

}  // namespace cairn::diffusion
