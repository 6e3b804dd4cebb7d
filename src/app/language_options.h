// The flags of commands that run language models.
#pragma once
#include <string>

#include "base/fields.h"
#include "models/language.h"

namespace cairn::app {

struct LanguageOptions {
  std::string model_path, synthetic, dtype = "bf16", device = "cpu", threads_bind;
  int64_t threads = 0;

  void fields(auto& f) {
    f("model_path", model_path, "transformers folder; the embedded cairn-tiny-lm without", alias({"model"}));
    f("synthetic", synthetic,
      "a model's shape without its files: qwen3-0.6b, llama-3.1-8b, qwen3-30b-a3b, deepseek-v3, with :layers=N for "
      "fewer layers");
    f("dtype", dtype, "numbers to compute with", one_of({"bf16", "fp32", "fp16"}));
    f("device", device, "where to compute")("threads", threads, "processor threads; 0: one a core", between(0, 4096));
    f("threads_bind", threads_bind, "processors that they are bound to, as 0-7,16; without: the system places them");
  }
};

struct LanguageModel {
  std::unique_ptr<llm::CausalLm> model;
  std::string name, folder;  // folder: empty for a synthetic shape
};

// Opens the device, sets threads, loads the model.
Result<LanguageModel> load_language(const LanguageOptions& options);

}  // namespace cairn::app
