#include "serve/http/json_writer.h"

#include <fmt/core.h>

#include <cmath>

namespace cairn::serve {
namespace {

// The length of the well-formed UTF-8 sequence that `text` begins with, or 0 (RFC 3629: no surrogates, no overlong
// forms).
size_t sequence_length(std::string_view text) {
  const auto at = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto follows = [&](size_t i) { return (at(i) & 0xC0u) == 0x80u; };
  const unsigned first = at(0), second = at(1);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4 || !follows(1)) return 0;
  if (first < 0xE0) return 2;
  if (first < 0xF0) {
    const bool legal = !(first == 0xE0 && second < 0xA0) && !(first == 0xED && second > 0x9F);
    return legal && follows(2) ? 3 : 0;
  }
  const bool legal = !(first == 0xF0 && second < 0x90) && !(first == 0xF4 && second > 0x8F);
  return legal && follows(2) && follows(3) ? 4 : 0;
}

void escape(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const char c = text.front();
    size_t length = 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
        } else if (length = sequence_length(text); length > 0) {
          out.append(text, 0, length);
        } else {
          out += "\xEF\xBF\xBD";
          length = 1;
        }
    }
    text.remove_prefix(length);
  }
}

}  // namespace

// A value needs a comma before it unless it is the first of its list or follows its key; strings end in a quote, so the
// last character alone tells.
void JsonWriter::comma() {
  if (!out_.empty() && out_.back() != '{' && out_.back() != '[' && out_.back() != ':') out_ += ',';
}

JsonWriter& JsonWriter::open(char c) {
  comma();
  out_ += c;
  return *this;
}

JsonWriter& JsonWriter::close(char c) {
  out_ += c;
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  value(name);
  out_ += ':';
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  comma();
  out_ += '"';
  escape(out_, text);
  out_ += '"';
  return *this;
}

JsonWriter& JsonWriter::value(double v) {
  if (!std::isfinite(v)) return null();
  std::string text = fmt::format("{}", v);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";  // a real stays one for typed readers
  return raw(text);
}

JsonWriter& JsonWriter::raw(std::string_view json) {
  comma();
  out_ += json;
  return *this;
}

}  // namespace cairn::serve
