// Finds the tool calls in what a model writes.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::text {

// A part of a call, as OpenAI streams it: the first part of a call has its id and name, the parts after it have pieces
// of its arguments, which joined are a JSON object.
struct ToolCallDelta {
  size_t index = 0;
  std::string id, name, arguments;
};

// For one answer. The parts joined are the same however the text was cut. A call is given out when it is complete and
// well-formed, since what was given out cannot be taken back; anything else that looks like a call comes as content, as
// the model wrote it. Blanks beside calls belong to neither.
class ToolCallParser {
 public:
  struct Config {
    std::vector<std::string> names;       // of the tools that may be called; empty: any
    std::function<std::string()> new_id;  // empty: "call_" and 24 random hexadecimal digits
  };
  // "qwen" (also "qwen25", "hermes"): <tool_call>{"name": …, "arguments": {…}}</tool_call>
  // "llama3": {"name": …, "parameters": {…}} at the start or after <|python_tag|>, more of them after a semicolon
  // "mistral": [TOOL_CALLS] [{"name": …, "arguments": {…}}, …], or [TOOL_CALLS]name[ARGS]{…}
  // "deepseekv3", "deepseekv31" (also "deepseek"): between <｜tool▁call▁begin｜> and <｜tool▁call▁end｜>
  static Result<std::unique_ptr<ToolCallParser>> make(std::string_view format, Config config);
  virtual ~ToolCallParser() = default;

  struct Piece {
    std::string content;
    std::vector<ToolCallDelta> calls;
  };
  Piece push(std::string_view text);
  Piece finish();
  size_t calls() const { return count_; }  // so far; finish_reason is tool_calls when there is one

 protected:
  explicit ToolCallParser(Config config) : config_(std::move(config)) {}

  // Reads a part of held_ and takes it off, or returns false when more text is needed. `last`: none will come.
  virtual bool advance(bool last) = 0;

  // Where the JSON object that begins at held_[at] ends, or npos. What was looked at is remembered until take().
  size_t object_end(size_t at);
  // The calls that the JSON objects say: all of them, or none and false.
  bool call(std::span<const std::string_view> objects);
  // A call by name with the text of its arguments.
  bool call(std::string_view name, std::string_view arguments);
  void take(size_t bytes);  // off held_, unseen
  void give(size_t bytes);  // off held_, as content, after the blanks before it
  // Gives held text up to the first of the tags, and keeps back the blanks before it. True: held_ begins with the tag.
  bool find(const std::vector<std::string_view>& tags, bool last);

  std::string held_;
  bool after_call_ = false;  // blanks are left out

 private:
  struct Call {
    std::string name, arguments;
  };
  std::optional<Call> read(std::string_view object) const;
  bool may_be_called(const Call& call) const;
  void add(Call call);

  Config config_;
  Piece out_;
  std::string blanks_;  // before the tag that held_ begins with
  size_t count_ = 0;
  struct {
    size_t begin = std::string::npos, at = 0;
    int depth = 0;
    bool in_string = false, escaped = false;
  } scan_;
};

}  // namespace cairn::text
