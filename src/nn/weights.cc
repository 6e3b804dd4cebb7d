#include "nn/weights.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "base/json.h"
#include "base/strings.h"
#include "tensor/finite.h"
#include "tensor/safetensors.h"

namespace cairn::nn {
namespace {

namespace fs = std::filesystem;

std::string shape_text(at::IntArrayRef shape) {
  std::vector<std::string> parts;
  for (const int64_t d : shape) parts.push_back(d < 0 ? "any" : std::to_string(d));
  return "(" + join(parts, ", ") + ")";
}

class Checkpoint final : public WeightSource {
 public:
  explicit Checkpoint(std::string where) : where_(std::move(where)) {}

  Result<void> add(const std::string& path) {
    files_.push_back(TRY(SafetensorsFile::open(path)));
    for (const auto& [name, entry] : files_.back().header.entries) home_[name] = files_.size() - 1;
    return {};
  }
  bool has(const std::string& name) const override { return home_.contains(name); }
  Result<Tensor> read(const std::string& name, at::IntArrayRef) const override {
    const auto it = home_.find(name);
    if (it == home_.end())
      return failure(Code::kNotFound, fmt::format("{} has no tensor {}{}", where_, name, did_you_mean(name, names())));
    return map_tensor(files_[it->second], name);
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> out;
    for (const auto& [name, file] : home_) out.push_back(name);
    return out;
  }
  std::string describe() const override { return where_; }

 private:
  std::string where_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t> home_;
};

class Synthetic final : public WeightSource {
 public:
  Synthetic(uint64_t seed, c10::Device device) : seed_(seed), device_(device) {}

  bool has(const std::string& name) const override { return !name.empty(); }
  Result<Tensor> read(const std::string& name, at::IntArrayRef shape) const override {
    for (const int64_t d : shape)
      if (d <= 0)
        return invalid(fmt::format("synthetic weight {} needs a full shape, got {}", name, shape_text(shape)));
    if (shape.empty()) return invalid("synthetic weight " + name + " needs a shape");
    uint64_t seed = seed_;
    for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    const bool norm = shape.size() == 1 && name.ends_with(".weight");
    int64_t fan_in = 1;
    for (size_t i = 1; i < shape.size(); ++i) fan_in *= shape[i];
    const double scale = norm ? 0.1 : shape.size() == 1 ? 0.02 : 1.7 / std::sqrt(static_cast<double>(fan_in));
    const double centre = norm ? 1.0 : 0.0;
    return device_.is_cpu() ? hashed_uniform(shape, seed, centre, scale)
                            : drawn_uniform(shape, seed, centre, scale, device_);
  }
  std::vector<std::string> names() const override { return {}; }
  std::string describe() const override { return "synthetic weights"; }

 private:
  uint64_t seed_;
  c10::Device device_;
};

}  // namespace

Result<std::shared_ptr<WeightSource>> open_checkpoint(const std::string& folder,
                                                      const std::vector<std::string>& stems) {
  for (const auto& stem : stems) {
    const std::string single = folder + "/" + stem + ".safetensors", index = single + ".index.json";
    if (fs::exists(single)) {
      auto c = std::make_shared<Checkpoint>(folder);
      TRY_VOID(c->add(single));
      return c;
    }
    if (!fs::exists(index)) continue;
    const Json j = TRY(Json::read(index));
    const Json* map = j.find("weight_map");
    if (!map || !map->as_object()) return corrupt(index + " has no weight_map");
    std::set<std::string> shards;
    for (const auto& [name, file] : *map->as_object()) {
      const auto* s = file.as_string();
      if (!s || s->find('/') != std::string::npos)
        return corrupt(index + ": the file of " + name + " is no plain file name");
      shards.insert(*s);
    }
    auto c = std::make_shared<Checkpoint>(folder);
    for (const auto& s : shards) TRY_VOID(c->add(folder + "/" + s));
    return c;
  }
  return failure(Code::kNotFound, fmt::format("{} holds none of {}.safetensors (or its .index.json)", folder,
                                              join(stems, ".safetensors, ")));
}

std::shared_ptr<WeightSource> synthetic(uint64_t seed, c10::Device device) {
  return std::make_shared<Synthetic>(seed, device);
}

void adjoin(std::initializer_list<ops::Weight*> weights) {
  int64_t rows = 0;
  for (const ops::Weight* w : weights) {
    if (w->weight().is_cpu() || w->bias().defined()) return;
    rows += w->out();
  }
  const Tensor& first = (*weights.begin())->weight();
  const Tensor all = empty({rows, first.size(1)}, first.scalar_type(), first.device());
  int64_t at = 0;
  for (ops::Weight* w : weights) {
    const Tensor own = all.narrow(0, at, w->out());
    own.copy_(w->weight());
    at += w->out();
    *w = {own, {}};
  }
}

Weights::Weights(std::shared_ptr<const WeightSource> source, Dtype dtype, c10::Device device)
    : source_(std::move(source)), read_(std::make_shared<std::set<std::string>>()), dtype_(dtype), device_(device) {}

Weights Weights::operator/(std::string_view child) const {
  Weights w = *this;
  w.prefix_ += std::string(child) + ".";
  return w;
}

bool Weights::has(std::string_view name) const { return source_->has(key(name)); }

Tensor Weights::read(std::string_view name, at::IntArrayRef shape, Dtype dtype) const {
  const std::string full = key(name);
  Tensor t = or_throw(source_->read(full, shape));
  read_->insert(full);
  bool fits = shape.empty() || static_cast<size_t>(t.dim()) == shape.size();
  for (size_t i = 0; fits && i < shape.size(); ++i) fits = shape[i] < 0 || shape[i] == t.size(static_cast<int64_t>(i));
  const auto refuse = [&](const std::string& what) {
    throw Failure(Error{Code::kCorrupt, fmt::format("{}: tensor {} {}", source_->describe(), full, what)});
  };
  if (!fits) refuse("has shape " + shape_text(t.sizes()) + ", expected " + shape_text(shape));
  if (!c10::isFloatingType(t.scalar_type()))
    refuse(std::string("has dtype ") + c10::toString(t.scalar_type()) + ", expected a real one");
  if (!all_finite(t)) refuse("holds NaN or infinity: the file is damaged");
  if (t.scalar_type() != dtype) t = t.to(dtype);
  return device_.is_cpu() ? t : t.to(device_);
}

ops::Weight Weights::matrix(int64_t out, int64_t in, bool bias) const {
  Tensor weight = (*this)("weight", {out, in});
  Tensor added = bias ? (*this)("bias", {weight.size(0)}) : Tensor();
  return ops::Weight(std::move(weight), std::move(added));
}

std::vector<std::string> Weights::unread() const {
  std::vector<std::string> out;
  for (const auto& name : source_->names())
    if (name.starts_with(prefix_) && !read_->contains(name)) out.push_back(name);
  return out;
}

}  // namespace cairn::nn
