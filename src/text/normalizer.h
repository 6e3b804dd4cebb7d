// The normalizers of a tokenizer.json: what is done to the text before it is split.
#pragma once
#include <functional>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "text/buffer.h"

namespace cairn::text {

using Normalizer = std::function<Result<void>(Buffer&)>;

// The entry "normalizer", with sequences flattened; null gives none. Unknown types are an error.
Result<std::vector<Normalizer>> parse_normalizers(const Json* j);

// Text that grows beyond all reason is an error.
Result<void> normalize(const std::vector<Normalizer>& all, Buffer& buffer);

// Unicode normalization forms, in pieces that cannot influence each other, so that offsets stay exact.
enum class Form { kNfc, kNfd, kNfkc, kNfkd };
void apply_form(Buffer& buffer, Form form);

}  // namespace cairn::text
