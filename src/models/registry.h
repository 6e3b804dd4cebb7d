// From a folder, or a name, to a pipeline.
#pragma once
#include <string>
#include <vector>

#include "device/device.h"
#include "diffusion/pipeline.h"

namespace cairn::models {

struct Lora {
  std::string path;
  double scale = 1.0;
};

struct LoadOptions {
  Dtype dtype = kBF16;  // of noise, and of products where the device has kernels for it; weights are converted
  c10::Device device = c10::DeviceType::CPU;
  std::vector<Lora> loras;  // added to the transformer's weights

  Dtype products() const { return device::compute_dtype(device, dtype); }
};

// A diffusers pipeline folder (model_index.json). Errors name the component and what is wrong with it.
Result<diffusion::Pipeline> load_pipeline(const std::string& folder, const LoadOptions& options = {});

// A pipeline without files: "flux-dev" or "flux-schnell", FLUX.1's real shapes, with weights that are hashes of their
// names; ":layers=N" keeps N double and N single blocks. Texts are encoded by a hash of their bytes.
Result<diffusion::Pipeline> synthetic_pipeline(const std::string& spec, const LoadOptions& options = {});

// Pipeline and component classes that load_pipeline knows, for messages and docs.
std::vector<std::string> supported_classes();

}  // namespace cairn::models
