#include "serve/api/multipart.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/strings.h"

namespace cairn::serve {
namespace {

constexpr size_t kMostParameters = 16;

bool is_alphanumeric(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_token(char c) {
  return is_alphanumeric(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}
bool is_boundary(char c) {
  return is_alphanumeric(c) || std::string_view("'()+_,-./:=? ").find(c) != std::string::npos;
}
bool is_control(char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; }

using Parameter = std::pair<std::string, std::string>;  // the name in lower case

// `value; a=b; c="d"`: what stands before the first semicolon, in lower case, and the parameters. Nothing when it is
// not formed so, or when a name repeats.
struct Disposition {
  std::string value;
  std::vector<Parameter> parameters;
  const std::string* find(std::string_view name) const {
    const auto at = std::ranges::find(parameters, name, &Parameter::first);
    return at == parameters.end() ? nullptr : &at->second;
  }
};
std::optional<Disposition> parse_parameters(std::string_view text) {
  size_t at = std::min(text.find(';'), text.size());
  Disposition out{lower_ascii(trim(text.substr(0, at))), {}};
  const auto skip_space = [&] {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\t')) ++at;
  };
  const auto token = [&] {
    const size_t begin = at;
    while (at < text.size() && is_token(text[at])) ++at;
    return text.substr(begin, at - begin);
  };
  for (; at < text.size(); skip_space()) {
    if (text[at++] != ';') return std::nullopt;
    skip_space();
    if (at == text.size()) break;  // a semicolon at the end
    const std::string name = lower_ascii(token());
    if (name.empty() || at == text.size() || text[at++] != '=') return std::nullopt;
    std::string value;
    if (at < text.size() && text[at] == '"') {
      for (++at;; ++at) {
        if (at >= text.size()) return std::nullopt;
        if (text[at] == '"') break;
        // Only these two are escapes: old browsers send Windows paths as they are.
        if (text[at] == '\\' && at + 1 < text.size() && (text[at + 1] == '"' || text[at + 1] == '\\')) ++at;
        value += text[at];
      }
      ++at;
    } else {
      value = token();
      if (value.empty()) return std::nullopt;
    }
    if (out.find(name) || out.parameters.size() == kMostParameters) return std::nullopt;
    out.parameters.emplace_back(name, std::move(value));
  }
  return out;
}

Parsed<std::string> boundary_of(std::string_view content_type) {
  const auto type = parse_parameters(content_type);
  if (!type || type->value != "multipart/form-data")
    return refused("",
                   fmt::format("the header Content-Type must be multipart/form-data with a boundary, and got \"{}\"",
                               content_type.substr(0, 100)));
  const std::string* boundary = type->find("boundary");
  if (!boundary) return refused("", "the header Content-Type says multipart/form-data without a boundary");
  if (boundary->empty() || boundary->size() > 70 || boundary->back() == ' ' ||
      !std::ranges::all_of(*boundary, is_boundary))
    return refused("",
                   "the boundary in the header Content-Type must be 1 to 70 letters, digits or any of '()+_,-./:=?");
  return *boundary;
}

tl::unexpected<ApiError> broken(size_t part, std::string_view what) {
  return refused("", fmt::format("part {} of the form: {}", part + 1, what));
}

// The header lines of one part, without the empty line that ends them.
Parsed<FormPart> read_head(size_t index, std::string_view head) {
  FormPart out;
  bool disposed = false, typed = false;
  while (!head.empty()) {
    const size_t end = std::min(head.find("\r\n"), head.size());
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + 2, head.size()));
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0 || !std::ranges::all_of(line.substr(0, colon), is_token))
      return broken(index, "a line of its header is not \"Name: value\"");
    const std::string_view value = trim(line.substr(colon + 1));
    if (std::ranges::any_of(value, is_control)) return broken(index, "a control character in its header");
    const std::string name = lower_ascii(line.substr(0, colon));
    if (name == "content-disposition") {
      const auto what = parse_parameters(value);
      if (std::exchange(disposed, true) || !what || what->value != "form-data")
        return broken(index, "its Content-Disposition must be form-data with a name, once");
      const std::string *field = what->find("name"), *file = what->find("filename");
      if (!field || field->empty()) return broken(index, "its Content-Disposition has no name");
      if (!valid_utf8(*field)) return broken(index, "its name is not valid UTF-8");
      out.name = *field;
      if (file) out.filename = *file;
    } else if (name == "content-type") {
      if (std::exchange(typed, true)) return broken(index, "has two headers Content-Type");
      out.content_type = std::string(value);
    } else if (name == "content-transfer-encoding") {
      const std::string how = lower_ascii(value);
      if (how != "binary" && how != "8bit" && how != "7bit")
        return broken(index, fmt::format("Content-Transfer-Encoding {} is not understood; send the bytes as they are",
                                         how.substr(0, 40)));
    }
  }
  if (!disposed) return broken(index, "has no Content-Disposition");
  return out;
}

}  // namespace

Parsed<std::vector<FormPart>> parse_form(std::string_view content_type, std::string_view body,
                                         const FormLimits& limits) {
  auto boundary = boundary_of(content_type);
  if (!boundary) return tl::unexpected(std::move(boundary).error());
  const std::string delimiter = "\r\n--" + *boundary;
  if (!body.starts_with(std::string_view(delimiter).substr(2)))
    return refused("", "the form does not begin with the boundary that the header Content-Type names");
  body.remove_prefix(delimiter.size() - 2);
  std::vector<FormPart> out;
  // Each turn begins behind a boundary.
  while (!body.starts_with("--")) {
    const size_t index = out.size();
    if (index == limits.parts) return refused("", fmt::format("a form of more than {} parts", limits.parts));
    body.remove_prefix(std::min(body.find_first_not_of(" \t"), body.size()));
    if (!body.starts_with("\r\n")) return broken(index, "its boundary does not end its line");
    // The line break stays where a part has no header at all, so that the empty line is found there, too.
    const size_t end = body.substr(0, limits.header_bytes + 6).find("\r\n\r\n");
    if (end == std::string_view::npos)
      return broken(index, fmt::format("no end of its header within {} bytes", limits.header_bytes));
    auto part = read_head(index, end == 0 ? "" : body.substr(2, end - 2));
    if (!part) return tl::unexpected(std::move(part).error());
    body.remove_prefix(end + 2);  // the line break before the data belongs to the boundary when there is no data
    const size_t next = body.find(delimiter);
    if (next == std::string_view::npos) return broken(index, "breaks off before a boundary ends it");
    if (next > 0) part->data = std::string(body.substr(2, next - 2));
    if (next == 0) return broken(index, "no empty line between its header and its boundary");
    body.remove_prefix(next + delimiter.size());
    out.push_back(*std::move(part));
  }
  body.remove_prefix(2);
  if (!trim(body).empty()) return refused("", "bytes behind the last boundary of the form");
  return out;
}

}  // namespace cairn::serve
