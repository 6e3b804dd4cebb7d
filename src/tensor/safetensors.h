// Tensors in safetensors files. Reading maps the file: no byte is copied until somebody converts it.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "base/safetensors.h"
#include "tensor/tensor.h"

namespace cairn {

// The tensor of an entry, as a read-only view of the mapped file that keeps the map alive. Unaligned data is copied.
Result<Tensor> map_tensor(const SafetensorsFile& file, const std::string& name);

// Every tensor of a file, for small files (LoRA, tests).
Result<std::map<std::string, Tensor>> read_tensors(const std::string& path);

Result<void> write_tensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors);

// The dtype for a word of the format ("BF16"), and back.
Result<Dtype> safetensors_dtype(const std::string& word);
std::string safetensors_word(Dtype dtype);

}  // namespace cairn
