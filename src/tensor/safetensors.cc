#include "tensor/safetensors.h"

#include <ATen/ops/from_blob.h>

#include <array>
#include <utility>

namespace cairn {
namespace {

constexpr std::array<std::pair<const char*, Dtype>, 11> kWords{{{"F64", Dtype::Double},
                                                                {"F32", Dtype::Float},
                                                                {"F16", Dtype::Half},
                                                                {"BF16", Dtype::BFloat16},
                                                                {"I64", Dtype::Long},
                                                                {"I32", Dtype::Int},
                                                                {"I16", Dtype::Short},
                                                                {"I8", Dtype::Char},
                                                                {"U8", Dtype::Byte},
                                                                {"BOOL", Dtype::Bool},
                                                                {"F8_E4M3", Dtype::Float8_e4m3fn}}};

}  // namespace

Result<Dtype> safetensors_dtype(const std::string& word) {
  for (const auto& [w, d] : kWords)
    if (word == w) return d;
  return failure(Code::kUnsupported, "dtype " + word + " is not supported");
}

std::string safetensors_word(Dtype dtype) {
  for (const auto& [w, d] : kWords)
    if (dtype == d) return w;
  throw Bug("a dtype that safetensors cannot hold");
}

Result<Tensor> map_tensor(const SafetensorsFile& file, const std::string& name) {
  const auto it = file.header.entries.find(name);
  if (it == file.header.entries.end()) return failure(Code::kNotFound, file.map->path() + " holds no tensor " + name);
  const auto& e = it->second;
  const Dtype dtype = TRY(safetensors_dtype(e.dtype));
  auto* data = const_cast<std::byte*>(file.map->data() + e.begin);
  const auto options = at::TensorOptions().dtype(dtype);
  if (e.begin % safetensors_dtype_size(e.dtype) != 0) {  // the format aligns data, but nobody has to
    Tensor copy = empty(e.shape, dtype);
    std::memcpy(copy.data_ptr(), data, e.end - e.begin);
    return copy;
  }
  return at::from_blob(
      data, e.shape, [map = file.map](void*) {}, options);
}

Result<std::map<std::string, Tensor>> read_tensors(const std::string& path) {
  const auto file = TRY(SafetensorsFile::open(path));
  std::map<std::string, Tensor> out;
  for (const auto& [name, entry] : file.header.entries) {
    auto t = map_tensor(file, name);
    if (!t) return tl::unexpected(within(path + ": tensor " + name, std::move(t).error()));
    out.emplace(name, *std::move(t));
  }
  return out;
}

Result<void> write_tensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors) {
  std::vector<Tensor> kept;
  std::vector<SafetensorsArray> arrays;
  for (const auto& [name, t] : tensors) {
    kept.push_back(t.cpu().contiguous());
    const Tensor& c = kept.back();
    arrays.push_back({name, safetensors_word(c.scalar_type()), c.sizes().vec(),
                      std::string_view(static_cast<const char*>(c.data_ptr()), c.nbytes())});
  }
  return write_safetensors(path, arrays);
}

}  // namespace cairn
