// What files hold, from their headers alone: pictures, safetensors files, component and pipeline folders.
#pragma once
#include <string>

#include "base/json.h"

namespace cairn::app {

// One object, whose `kind` says what it is:
//   picture     width, height, texts {key: text}
//   safetensors format, metadata, totals, tensors [{name, dtype, shape, bytes}]
//   lora        the same with naming ("peft" or "kohya"), modules, ranks, targets
//   component   class, supported, config, files [{name, bytes, tensors}], totals, tensors
//   pipeline    class, supported, components [{name, …as a component}], bytes
// totals: {tensors, parameters, bytes, dtypes {dtype: parameters}}. Errors name the file and what is wrong with it.
Result<Json> inspect_path(const std::string& path);

}  // namespace cairn::app
