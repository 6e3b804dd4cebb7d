#include "text/tool_call_formats.h"

#include <algorithm>

#include "base/strings.h"

namespace cairn::text {
namespace {

constexpr size_t kNone = std::string::npos;
constexpr size_t kLongestName = 512;

// Reads `held` from `at`, and says so when it ends too early to tell.
struct Cursor {
  std::string_view held;
  bool last;
  size_t at = 0;
  bool more = false;  // the text ended where something else may follow

  void blanks() { at = std::min(held.find_first_not_of(" \t\r\n", at), held.size()); }
  // `what` comes next, or the answer ends within it.
  bool eat_end(std::string_view what) {
    if (eat(what)) return true;
    if (!last || !what.starts_with(held.substr(at))) return false;
    at = held.size();
    return true;
  }
  bool eat(std::string_view what) {
    const std::string_view rest = held.substr(at);
    if (rest.starts_with(what)) {
      at += what.size();
      return true;
    }
    if (!last && what.starts_with(rest)) more = true;
    return false;
  }
  // The text before `what`, which is passed; nothing when it is not within kLongestName bytes.
  std::string_view until(std::string_view what) {
    const size_t end = held.substr(0, at + kLongestName + what.size()).find(what, at);
    if (end == kNone) {
      more = !last && held.size() < at + kLongestName + what.size();
      return {};
    }
    const std::string_view text = held.substr(at, end - at);
    at = end + what.size();
    return text;
  }
};

// An answer is content until a tag; then calls. advance_call() reads one, or says that there is none.
class Tagged : public ToolCallParser {
 protected:
  enum class Step { kWait, kContent, kDone };
  Tagged(Config config, std::vector<std::string_view> tags)
      : ToolCallParser(std::move(config)), tags_(std::move(tags)) {}

  // held_ begins with a tag. kDone: it took the call off. kContent: there is none.
  virtual Step advance_call(bool last) = 0;

  bool advance(bool last) override {
    if (!find(tags_, last)) return false;
    switch (advance_call(last)) {
      case Step::kWait:
        return false;
      case Step::kDone:
        after_call_ = true;
        return true;
      case Step::kContent:
        break;
    }
    size_t tag = 1;
    for (const std::string_view t : tags_)
      if (held_.starts_with(t)) tag = t.size();
    give(tag);
    return true;
  }

 private:
  std::vector<std::string_view> tags_;
};

class Qwen final : public Tagged {
 public:
  explicit Qwen(Config config) : Tagged(std::move(config), {kOpen}) {}

 private:
  static constexpr std::string_view kOpen = "<tool_call>", kClose = "</tool_call>";

  Step advance_call(bool last) override {
    Cursor c{held_, last, kOpen.size()};
    c.blanks();
    if (c.at == held_.size()) return last ? Step::kContent : Step::kWait;
    if (held_[c.at] != '{') return Step::kContent;
    const size_t begin = c.at, end = object_end(begin);
    if (end == kNone) return last ? Step::kContent : Step::kWait;
    c.at = end;
    c.blanks();
    if (!c.eat_end(kClose)) return c.more ? Step::kWait : Step::kContent;
    const std::string_view object[] = {std::string_view(held_).substr(begin, end - begin)};
    if (!call(object)) return Step::kContent;
    take(c.at);
    return Step::kDone;
  }
};

class Llama3 final : public ToolCallParser {
 public:
  explicit Llama3(Config config) : ToolCallParser(std::move(config)) {}

 private:
  static constexpr std::string_view kTag = "<|python_tag|>";

  bool advance(bool last) override {
    Cursor c{held_, last};
    if (start_ || after_call_) {  // a call may begin without the tag
      c.blanks();
      if (after_call_ && (c.eat(";") || c.eat(","))) c.blanks();
      if (c.at == held_.size() && !last) return false;
      if (c.at == held_.size() && after_call_) return take(held_.size()), false;
    }
    const bool bare = (start_ || after_call_) && c.at < held_.size() && held_[c.at] == '{';
    if (!bare) {
      if (start_ && !last && kTag.starts_with(std::string_view(held_).substr(c.at))) return false;
      start_ = false;
      if (!find({kTag}, last)) return false;
      c = {held_, last, kTag.size()};
      c.blanks();
      if (c.at == held_.size() && !last) return false;
    }
    const size_t begin = c.at;
    if (begin < held_.size() && held_[begin] == '{') {
      const size_t end = object_end(begin);
      if (end == kNone && !last) return false;
      const std::string_view object[] = {std::string_view(held_).substr(begin, end - begin)};
      if (end != kNone && call(object)) {
        take(end);
        start_ = false;
        after_call_ = true;
        return true;
      }
    }
    start_ = after_call_ = false;
    give(bare ? begin + 1 : kTag.size());
    return true;
  }

  bool start_ = true;
};

class Mistral final : public Tagged {
 public:
  explicit Mistral(Config config) : Tagged(std::move(config), {kTag}) {}

 private:
  static constexpr std::string_view kTag = "[TOOL_CALLS]", kArguments = "[ARGS]";

  // The list is read as a whole: it is one JSON text.
  Step advance_call(bool last) override {
    Cursor c{held_, last, kTag.size()};
    c.blanks();
    if (c.at == held_.size()) return last ? Step::kContent : Step::kWait;
    if (held_[c.at] != '[') return named(c);
    const size_t begin = c.at, end = object_end(begin);
    if (end == kNone) return last ? Step::kContent : Step::kWait;
    std::vector<std::string_view> objects;
    if (!elements(std::string_view(held_).substr(begin + 1, end - begin - 2), objects)) return Step::kContent;
    if (!call(objects)) return Step::kContent;
    take(end);
    return Step::kDone;
  }

  Step named(Cursor c) {
    const std::string name(trim(c.until(kArguments)));
    if (name.empty()) return c.more ? Step::kWait : Step::kContent;
    c.blanks();
    if (c.at == held_.size()) return c.last ? Step::kContent : Step::kWait;
    if (held_[c.at] != '{') return Step::kContent;
    const size_t end = object_end(c.at);
    if (end == kNone) return c.last ? Step::kContent : Step::kWait;
    if (!call(name, std::string_view(held_).substr(c.at, end - c.at))) return Step::kContent;
    take(end);
    return Step::kDone;
  }

  // The objects between the brackets of a list.
  static bool elements(std::string_view list, std::vector<std::string_view>& out) {
    int depth = 0;
    bool in_string = false;
    size_t begin = 0;
    for (size_t i = 0; i <= list.size(); ++i) {
      const char c = i < list.size() ? list[i] : ',';
      if (in_string) {
        if (c == '\\') {
          ++i;
        } else if (c == '"') {
          in_string = false;
        }
      } else if (c == '"') {
        in_string = true;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if (c == '}' || c == ']') {
        --depth;
      } else if (c == ',' && depth == 0) {
        out.push_back(trim(list.substr(begin, i - begin)));
        if (!out.back().starts_with('{')) return false;
        begin = i + 1;
      }
    }
    return !in_string && depth == 0;
  }
};

class DeepSeek final : public Tagged {
 public:
  explicit DeepSeek(Config config) : Tagged(std::move(config), {kCalls, kOpen}) {}

 private:
  static constexpr std::string_view kCalls = "<｜tool▁calls▁begin｜>", kCallsEnd = "<｜tool▁calls▁end｜>",
                                    kOpen = "<｜tool▁call▁begin｜>", kSeparator = "<｜tool▁sep｜>",
                                    kClose = "<｜tool▁call▁end｜>", kFence = "```";

  Step advance_call(bool last) override {
    Cursor c{held_, last};
    if (c.eat(kCalls)) c.blanks();
    if (!c.eat(kOpen)) return c.more ? Step::kWait : Step::kContent;
    std::string name(trim(c.until(kSeparator)));
    if (name.empty()) return c.more ? Step::kWait : Step::kContent;
    const size_t most = c.at + kLongestName, begin = std::string_view(held_).substr(0, most).find('{', c.at);
    if (begin == kNone) return last || held_.size() >= most ? Step::kContent : Step::kWait;
    // V3 writes the kind first, and the arguments in a fenced block: function<sep>name\n```json\n{…}\n```.
    const std::string_view between = trim(std::string_view(held_).substr(c.at, begin - c.at));
    const size_t fence = between.find(kFence);
    if (fence != kNone) {
      name = std::string(trim(between.substr(0, fence)));
    } else if (!between.empty()) {
      return Step::kContent;
    }
    const size_t end = object_end(begin);
    if (end == kNone) return last ? Step::kContent : Step::kWait;
    c.at = end;
    c.blanks();
    if (fence != kNone && c.eat(kFence)) c.blanks();
    if (c.more) return Step::kWait;
    if (!c.eat_end(kClose)) return c.more ? Step::kWait : Step::kContent;
    const size_t closed = c.at;
    c.blanks();
    if (c.eat(kCallsEnd)) return finish_call(name, begin, end, c.at);
    if (c.more) return Step::kWait;
    return finish_call(name, begin, end, closed);
  }

  Step finish_call(std::string_view name, size_t begin, size_t end, size_t after) {
    if (!call(name, std::string_view(held_).substr(begin, end - begin))) return Step::kContent;
    take(after);
    return Step::kDone;
  }
};

}  // namespace

std::unique_ptr<ToolCallParser> make_tool_call_format(std::string_view format, ToolCallParser::Config config) {
  if (format == "qwen" || format == "qwen25" || format == "hermes") return std::make_unique<Qwen>(std::move(config));
  if (format == "llama3") return std::make_unique<Llama3>(std::move(config));
  if (format == "mistral") return std::make_unique<Mistral>(std::move(config));
  if (format.starts_with("deepseek")) return std::make_unique<DeepSeek>(std::move(config));
  return nullptr;
}

}  // namespace cairn::text
