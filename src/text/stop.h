// Where a generated text ends: stop strings, stop expressions and stop tokens.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace cairn::text {

struct StopConfig {
  std::vector<std::string> strings{};
  std::vector<std::string> expressions{};  // as grammar/regex_syntax.h reads them, without ^ and $
  std::vector<int64_t> ids{};
  bool no_stop_trim = false;  // keep the text that matched
};

// Bytes at the end of `text` that are the beginning, but not the whole, of `what`.
size_t begun_at_end(std::string_view text, std::string_view what);

// Holds back text that may become a match, so that no part of one is ever given out. What it gives does not depend on
// how the text was cut into pieces: the match that ends first counts, and of those the one that begins first.
class StopChecker {
 public:
  // Errors: an empty string, an expression that cannot be read or that matches the empty text.
  static Result<StopChecker> make(StopConfig config);
  StopChecker(StopChecker&&) noexcept;
  ~StopChecker();

  struct Piece {
    std::string text;  // to give out
    bool stopped = false;
    std::string matched;  // the stop string or expression, as it was configured
  };
  // After a stop no text follows any more.
  Result<Piece> push(std::string_view text);
  std::string finish();  // what is still held back
  bool is_stop(int64_t id) const;

 private:
  struct Search;
  explicit StopChecker(StopConfig config);
  StopConfig config_;
  std::vector<Search> searches_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace cairn::text
