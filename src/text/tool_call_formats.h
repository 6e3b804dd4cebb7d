// The formats of tool calls, by name. Internal to tool_call_parser.cc.
#pragma once
#include "text/tool_call_parser.h"

namespace cairn::text {

std::unique_ptr<ToolCallParser> make_tool_call_format(std::string_view format, ToolCallParser::Config config);

}  // namespace cairn::text
