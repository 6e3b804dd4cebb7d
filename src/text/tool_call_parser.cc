#include "text/tool_call_parser.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <random>

#include "base/json.h"
#include "base/strings.h"
#include "text/stop.h"
#include "text/tool_call_formats.h"

namespace cairn::text {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

std::string random_id() {
  thread_local std::mt19937_64 rng{std::random_device{}()};
  return fmt::format("call_{:016x}{:08x}", rng(), static_cast<uint32_t>(rng()));
}

// The text of a member's value in a well-formed object.
std::optional<std::string_view> raw_member(std::string_view object, std::string_view key) {
  int depth = 0;
  bool in_string = false, is_key = true;
  size_t begin = 0, value = 0;
  std::optional<std::string_view> found;
  bool wanted = false;
  for (size_t i = 0; i < object.size(); ++i) {
    const char c = object[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
        if (depth == 1 && is_key) {
          const auto name = Json::parse(object.substr(begin, i + 1 - begin));
          wanted = name && name->as_string() && *name->as_string() == key;
        }
      }
    } else if (c == '"') {
      in_string = true;
      begin = i;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == ':' && depth == 1) {
      is_key = false;
      value = i + 1;
    } else if ((c == ',' && depth == 1) || ((c == '}' || c == ']') && --depth == 0)) {
      if (wanted && !is_key) found = trim(object.substr(value, i - value));  // of a repeated key the last counts
      is_key = true;
      wanted = false;
    }
  }
  return found;
}

}  // namespace

ToolCallParser::Piece ToolCallParser::push(std::string_view text) {
  held_ += text;
  while (advance(false)) {}
  return std::exchange(out_, {});
}

ToolCallParser::Piece ToolCallParser::finish() {
  while (!held_.empty() && advance(true)) {}
  return std::exchange(out_, {});
}

size_t ToolCallParser::object_end(size_t at) {
  if (scan_.begin != at) scan_ = {at, at, 0, false, false};
  for (; scan_.at < held_.size(); ++scan_.at) {
    const char c = held_[scan_.at];
    if (scan_.in_string) {
      if (scan_.escaped || c == '\\') {
        scan_.escaped = !scan_.escaped;
      } else if (c == '"') {
        scan_.in_string = false;
      }
    } else if (c == '"') {
      scan_.in_string = true;
    } else if (c == '{' || c == '[') {
      ++scan_.depth;
    } else if ((c == '}' || c == ']') && --scan_.depth <= 0) {
      return scan_.at + 1;
    }
  }
  return std::string::npos;
}

bool ToolCallParser::may_be_called(const Call& call) const {
  const auto arguments = Json::parse(call.arguments);
  return !call.name.empty() && arguments && arguments->as_object() &&
         (config_.names.empty() || std::ranges::find(config_.names, call.name) != config_.names.end());
}

std::optional<ToolCallParser::Call> ToolCallParser::read(std::string_view object) const {
  const auto parsed = Json::parse(object);
  const Json* name = parsed ? parsed->find("name") : nullptr;
  if (!name || !name->as_string()) return std::nullopt;
  Call call{*name->as_string(), "{}"};
  for (const char* key : {"arguments", "parameters"}) {
    const Json* arguments = parsed->find(key);
    if (!arguments || arguments->is_null()) continue;
    const auto* text = arguments->as_string();  // JSON within JSON
    call.arguments = text ? *text : std::string(raw_member(object, key).value_or(""));
    break;
  }
  return may_be_called(call) ? std::optional(std::move(call)) : std::nullopt;
}

void ToolCallParser::add(Call call) {
  const size_t index = count_++;
  out_.calls.push_back({index, config_.new_id ? config_.new_id() : random_id(), std::move(call.name), ""});
  out_.calls.push_back({index, "", "", std::move(call.arguments)});
  blanks_.clear();
}

bool ToolCallParser::call(std::string_view name, std::string_view arguments) {
  Call call{std::string(name), std::string(arguments)};
  if (!may_be_called(call)) return false;
  add(std::move(call));
  return true;
}

bool ToolCallParser::call(std::span<const std::string_view> objects) {
  std::vector<Call> calls;
  for (const std::string_view object : objects) {
    auto one = read(object);
    if (!one) return false;
    calls.push_back(*std::move(one));
  }
  for (Call& one : calls) add(std::move(one));
  return !calls.empty();
}

void ToolCallParser::take(size_t bytes) {
  held_.erase(0, bytes);
  scan_ = {};
}

void ToolCallParser::give(size_t bytes) {
  if (bytes == 0) return;
  out_.content += std::exchange(blanks_, {});
  out_.content.append(held_, 0, bytes);
  after_call_ = false;
  take(bytes);
}

bool ToolCallParser::find(const std::vector<std::string_view>& tags, bool last) {
  if (after_call_)
    if (const size_t blanks = std::min(held_.find_first_not_of(kBlanks), held_.size()); blanks > 0) take(blanks);
  size_t tag = std::string::npos;
  for (const std::string_view t : tags) tag = std::min(tag, held_.find(t));
  if (tag == 0) return true;
  size_t end = std::min(tag, held_.size());
  if (tag == std::string::npos && last) {
    give(end);
    return false;
  }
  if (tag == std::string::npos)
    for (const std::string_view t : tags) end = std::min(end, held_.size() - begun_at_end(held_, t));
  const size_t text = std::string_view(held_).substr(0, end).find_last_not_of(kBlanks) + 1;  // npos + 1 is 0
  give(text);
  if (tag == std::string::npos) return false;
  blanks_ = held_.substr(0, end - text);
  take(end - text);
  return true;
}

Result<std::unique_ptr<ToolCallParser>> ToolCallParser::make(std::string_view format, Config config) {
  if (auto parser = make_tool_call_format(format, config)) return parser;
  const std::vector<std::string> names{"qwen",    "qwen25",   "hermes",     "llama3",
                                       "mistral", "deepseek", "deepseekv3", "deepseekv31"};
  return invalid("tool call parser \"" + std::string(format) + "\" is not known" + did_you_mean(format, names) +
                 "; there are " + join(names, ", "));
}

}  // namespace cairn::text
