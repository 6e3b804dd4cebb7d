#include "nn/rope.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

#include "base/fields.h"

namespace cairn::nn {
namespace {

constexpr int64_t kStretch = 256;  // positions that are made at once
constexpr double kPi = 3.14159265358979323846;

// The keys of `rope_parameters`, or of the older `rope_scaling`.
struct Keys {
  std::optional<std::string> rope_type, type;
  std::optional<double> rope_theta, factor, partial_rotary_factor, original_max_position_embeddings, low_freq_factor,
      high_freq_factor, beta_fast, beta_slow, mscale, mscale_all_dim, attention_factor;
  std::optional<bool> truncate;
  std::optional<std::vector<double>> short_factor, long_factor;

  void fields(auto& f) {
    const auto positive = [] { return between(1e-9, 1e15); };
    f("rope_type", rope_type, "")("type", type, "")("rope_theta", rope_theta, "", positive());
    f("factor", factor, "", positive())("partial_rotary_factor", partial_rotary_factor, "", between(0, 1));
    f("original_max_position_embeddings", original_max_position_embeddings, "", positive());
    f("low_freq_factor", low_freq_factor, "", positive())("high_freq_factor", high_freq_factor, "", positive());
    f("beta_fast", beta_fast, "", positive())("beta_slow", beta_slow, "", positive());
    f("mscale", mscale, "", between(0, 1e6))("mscale_all_dim", mscale_all_dim, "", between(0, 1e6));
    f("attention_factor", attention_factor, "", positive())("truncate", truncate, "");
    f("short_factor", short_factor, "")("long_factor", long_factor, "");
  }
};

double yarn_mscale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

// Angles per position of each pair of columns.
std::vector<float> frequencies(const RopeConfig& c, int64_t rotary, const std::vector<double>& stretch) {
  std::vector<float> out;
  const auto width = static_cast<double>(rotary);
  const auto correction = [&](double turns) {
    return width * std::log(c.original_positions / (turns * 2 * kPi)) / (2 * std::log(c.theta));
  };
  double low = correction(c.beta_fast), high = correction(c.beta_slow);
  if (c.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, width - 1);
  if (low == high) high += 0.001;
  for (int64_t i = 0; i < rotary / 2; ++i) {
    double f = std::pow(c.theta, -2.0 * static_cast<double>(i) / width);
    if (c.type == "linear") {
      f /= c.factor;
    } else if (c.type == "llama3") {
      const double wave = 2 * kPi / f, longest = c.original_positions / c.low_freq_factor,
                   shortest = c.original_positions / c.high_freq_factor;
      const double smooth =
          (c.original_positions / wave - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
      if (wave > longest)
        f /= c.factor;
      else if (wave >= shortest)
        f = (1 - smooth) * f / c.factor + smooth * f;
    } else if (c.type == "yarn") {
      const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
      f = f / c.factor * ramp + f * (1 - ramp);
    } else if (c.type == "longrope") {
      f /= stretch[static_cast<size_t>(i)];
    }
    out.push_back(static_cast<float>(f));
  }
  return out;
}

double attention_factor(const RopeConfig& c) {
  if (c.attention_factor > 0) return c.attention_factor;
  if (c.type == "yarn")
    return c.mscale > 0 && c.mscale_all_dim > 0
               ? yarn_mscale(c.factor, c.mscale) / yarn_mscale(c.factor, c.mscale_all_dim)
               : yarn_mscale(c.factor, 1);
  if (c.type == "longrope")
    return c.factor <= 1 ? 1.0 : std::sqrt(1 + std::log(c.factor) / std::log(c.original_positions));
  return 1;
}

}  // namespace

Result<RopeConfig> RopeConfig::read(const Json& config, const std::string& part) {
  RopeConfig out;
  const auto top = [&](const char* key, double otherwise) {
    const Json* v = config.find(key);
    return v && v->is_number() ? v->number() : otherwise;
  };
  out.theta = top("rope_theta", out.theta);
  out.partial = top("partial_rotary_factor", 1);
  const double limit = top("max_position_embeddings", 2048);
  const Json* j = config.find("rope_parameters");
  if (!j || !j->as_object()) j = config.find("rope_scaling");
  if (j && j->as_object() && !part.empty() && j->find(part)) j = j->find(part);
  double factor = 0, original = top("original_max_position_embeddings", 0);
  if (j && j->as_object()) {
    const Keys k = TRY(cairn::read<Keys>(*j, "rope_parameters", Unknown::kIgnore));
    out.type = k.rope_type ? *k.rope_type : k.type.value_or("default");
    out.theta = k.rope_theta.value_or(out.theta);
    out.partial = k.partial_rotary_factor.value_or(out.partial);
    factor = k.factor.value_or(0);
    original = k.original_max_position_embeddings.value_or(original);
    out.low_freq_factor = k.low_freq_factor.value_or(1), out.high_freq_factor = k.high_freq_factor.value_or(4);
    out.beta_fast = k.beta_fast.value_or(32), out.beta_slow = k.beta_slow.value_or(1);
    out.mscale = k.mscale.value_or(0), out.mscale_all_dim = k.mscale_all_dim.value_or(0);
    out.truncate = k.truncate.value_or(true), out.attention_factor = k.attention_factor.value_or(0);
    out.short_factor = k.short_factor.value_or(std::vector<double>()),
    out.long_factor = k.long_factor.value_or(std::vector<double>());
  }
  if (out.type == "su") out.type = "longrope";  // the first name of Phi-3's
  constexpr std::string_view kTypes[] = {"default", "linear", "llama3", "yarn", "longrope"};
  if (std::ranges::find(kTypes, out.type) == std::end(kTypes))
    return failure(Code::kUnsupported,
                   "rope_type \"" + out.type + "\" is not supported; default, linear, llama3, yarn, longrope are");
  out.original_positions = original > 0 ? original : limit;
  out.factor = factor > 0 ? factor : limit / out.original_positions;
  if (out.type == "llama3" && out.high_freq_factor <= out.low_freq_factor)
    return invalid("rope_parameters: high_freq_factor must be above low_freq_factor");
  return out;
}

struct Rope::Stretches {
  std::vector<float> frequencies;
  float factor = 1;
  int64_t width = 0;
  mutable std::vector<std::once_flag> once;
  mutable std::vector<Tensor> tables;  // (2, kStretch, width)

  const float* at(int64_t stretch) const {
    const auto i = static_cast<size_t>(stretch);
    std::call_once(once[i], [&] { tables[i] = made(stretch * kStretch); });
    return static_cast<const float*>(tables[i].const_data_ptr());
  }

  Tensor made(int64_t first) const {
    Tensor t = empty({2, kStretch, width}, kF32);
    auto *cos = static_cast<float*>(t.mutable_data_ptr()), *sin = cos + kStretch * width;
    const auto turning = static_cast<int64_t>(2 * frequencies.size());
    for (int64_t p = 0; p < kStretch; ++p)
      for (int64_t c = 0; c < width; ++c, ++cos, ++sin) {
        const float angle = c < turning ? static_cast<float>(first + p) * frequencies[static_cast<size_t>(c / 2)] : 0;
        *cos = c < turning ? std::cos(angle) * factor : 1;
        *sin = c < turning ? std::sin(angle) * (c % 2 ? factor : -factor) : 0;
      }
    return t;
  }
};

Rope::Rope(const RopeConfig& c, int64_t width, int64_t positions) : width_(width), positions_(positions) {
  const auto rotary = static_cast<int64_t>(static_cast<double>(width) * c.partial) / 2 * 2;
  switches_ = c.type == "longrope";
  switch_length_ = static_cast<int64_t>(c.original_positions);
  if (c.mscale_all_dim > 0 && c.type != "default") {
    const double m = yarn_mscale(c.factor, c.mscale_all_dim);
    scale_ = m * m;
  }
  for (const auto* stretch : {&c.short_factor, &c.long_factor}) {
    if (switches_ && static_cast<int64_t>(stretch->size()) != rotary / 2)
      throw Failure(Error{Code::kInvalidArgument,
                          fmt::format("rope_parameters: longrope needs {} numbers in short_factor and in long_factor, "
                                      "one for each pair of columns, and has {}",
                                      rotary / 2, stretch->size())});
    auto s = std::make_shared<Stretches>();
    s->frequencies = frequencies(c, rotary, *stretch);
    s->factor = static_cast<float>(attention_factor(c));
    s->width = width;
    const auto count = static_cast<size_t>((positions + kStretch - 1) / kStretch);
    s->once = std::vector<std::once_flag>(count);
    s->tables.resize(count);
    kinds_.push_back(std::move(s));
    if (!switches_) break;
  }
}

Tensor Rope::table(const Tensor& positions, const std::vector<bool>& stretched) const {
  const auto* at = static_cast<const int64_t*>(positions.const_data_ptr());
  const int64_t tokens = positions.numel();
  for (int64_t t = 0; t < tokens; ++t)
    if (at[t] < 0 || at[t] >= positions_)
      throw Failure(Error{Code::kInvalidArgument,
                          fmt::format("position {} is outside the model's {} positions", at[t], positions_)});
  const Tensor out = empty({2, tokens, width_}, kF32);
  const bool any = switches_ && !stretched.empty();
  auto* to = static_cast<float*>(out.mutable_data_ptr());
  const auto bytes = static_cast<size_t>(width_) * sizeof(float);
  for (int64_t t = 0; t < tokens; ++t) {
    const Stretches& kind = *kinds_[any && stretched[static_cast<size_t>(t)] ? 1 : 0];
    const float* from = kind.at(at[t] / kStretch) + at[t] % kStretch * width_;
    std::memcpy(to + t * width_, from, bytes);
    std::memcpy(to + (tokens + t) * width_, from + kStretch * width_, bytes);
  }
  return out;
}

std::vector<int64_t> interleaved(int64_t heads, int64_t width, int64_t rotary) {
  std::vector<int64_t> order;
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < width; ++i) {
      const int64_t from = i >= rotary ? i : i % 2 ? rotary / 2 + i / 2 : i / 2;
      order.push_back(h * width + from);
    }
  return order;
}

}  // namespace cairn::nn
