// Server-sent events, read from bytes as they come (WHATWG HTML, 9.2).
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::serve {

struct SseEvent {
  std::string name;  // empty: none was given
  std::string data;  // its lines, joined by line feeds
};

class SseReader {
 public:
  // Appends the events that these bytes complete. Comments, ids and unknown fields are skipped. Fails for an event
  // that grows beyond the bound.
  Result<void> put(std::string_view bytes, std::vector<SseEvent>& into);

 private:
  void line(std::string_view text, std::vector<SseEvent>& into);

  static constexpr size_t kMostBytes = 64 << 20;
  std::string rest_;  // of a line that has not ended
  SseEvent event_;
  bool has_data_ = false, after_return_ = false;
};

}  // namespace cairn::serve
