#include "serve/http/sse_reader.h"

#include <utility>

namespace cairn::serve {

Result<void> SseReader::put(std::string_view bytes, std::vector<SseEvent>& into) {
  if (after_return_ && bytes.starts_with('\n')) bytes.remove_prefix(1);
  if (!bytes.empty()) after_return_ = false;
  for (;;) {
    const size_t end = bytes.find_first_of("\r\n");
    rest_ += bytes.substr(0, end);
    if (rest_.size() + event_.data.size() > kMostBytes)
      return failure(Code::kUnavailable, "the server sent an event of more than 64 MiB");
    if (end == std::string_view::npos) return {};
    const bool returned = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    line(std::exchange(rest_, {}), into);
    if (!returned) continue;
    after_return_ = bytes.empty();
    if (bytes.starts_with('\n')) bytes.remove_prefix(1);
  }
}

void SseReader::line(std::string_view text, std::vector<SseEvent>& into) {
  if (text.empty()) {
    if (has_data_) into.push_back(std::move(event_));
    event_ = {};
    has_data_ = false;
    return;
  }
  const size_t colon = text.find(':');
  const std::string_view field = text.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "event") event_.name = value;
  if (field != "data") return;
  if (std::exchange(has_data_, true)) event_.data += '\n';
  event_.data += value;
}

}  // namespace cairn::serve
