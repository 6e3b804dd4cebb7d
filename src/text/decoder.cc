#include "text/decoder.h"

#include "text/byte_level.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace cairn::text {
namespace {

using Tokens = std::vector<std::string>;

constexpr size_t kLongestText = size_t{1} << 26;  // of one token: replacements may be nested by a bad file

void byte_level(Tokens& tokens) {
  std::string bytes;
  for (const auto& t : tokens) bytes += from_byte_level(t).value_or(t);
  tokens = {repair_utf8(bytes)};
}

// The byte that "<0x41>" stands for, or -1.
int byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

// Runs of byte tokens become text; a run that is no UTF-8 becomes one U+FFFD for each byte.
void byte_fallback(Tokens& tokens) {
  Tokens out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (invalid_utf8_at(bytes) == std::string::npos) {
      out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xef\xbf\xbd");
    }
    bytes.clear();
  };
  for (auto& t : tokens) {
    if (const int b = byte_of(t); b >= 0) {
      bytes += static_cast<char>(b);
    } else {
      flush();
      out.push_back(std::move(t));
    }
  }
  flush();
  tokens = std::move(out);
}

std::string replaced(std::string_view text, std::string_view what, std::string_view by) {
  std::string out;
  size_t at = 0;
  for (size_t next; !what.empty() && (next = text.find(what, at)) != std::string_view::npos; at = next + what.size()) {
    out += text.substr(at, next - at);
    out += by;
  }
  return out += text.substr(at);
}

Decoder replace(Pattern pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)](Tokens& tokens) -> Result<void> {
    std::vector<Match> matches;
    for (auto& t : tokens) {
      matches.clear();
      TRY_VOID(pattern.find_all(t, matches));
      std::string out;
      size_t at = 0;
      if (matches.size() * content.size() > kLongestText) return invalid("the decoder makes the text too long");
      for (const Match& m : matches) {
        out.append(t, at, m.begin - at).append(content);
        at = m.end;
      }
      t = out.append(t, at);
    }
    return {};
  };
}

Decoder strip(std::string content, int64_t start, int64_t stop) {
  return [=](Tokens& tokens) -> Result<void> {
    if (content.empty()) return {};
    for (auto& t : tokens) {
      std::string_view rest = t;
      for (int64_t i = 0; i < start && rest.starts_with(content); ++i) rest.remove_prefix(content.size());
      for (int64_t i = 0; i < stop && rest.ends_with(content); ++i) rest.remove_suffix(content.size());
      t = std::string(rest);
    }
    return {};
  };
}

Decoder metaspace(std::string mark, bool prepended) {
  return [=](Tokens& tokens) -> Result<void> {
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = replaced(tokens[i], mark, i == 0 && prepended ? "" : " ");
    return {};
  };
}

// WordPiece's tidying of English punctuation.
std::string tidy(std::string text) {
  constexpr std::pair<const char*, const char*> rules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : rules) text = replaced(text, from, to);
  return text;
}

Decoder word_piece(std::string prefix, bool cleanup) {
  return [=](Tokens& tokens) -> Result<void> {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0)
        tokens[i] =
            tokens[i].starts_with(prefix) && !prefix.empty() ? tokens[i].substr(prefix.size()) : " " + tokens[i];
      if (cleanup) tokens[i] = tidy(std::move(tokens[i]));
    }
    return {};
  };
}

Result<void> append(const Json& j, std::vector<Decoder>& out, int depth) {
  const std::string type = j.text("type");
  const auto flag = [&](std::string_view key, bool otherwise) {
    const Json* v = j.find(key);
    return v && v->as_bool() ? *v->as_bool() : otherwise;
  };
  const auto count = [&](std::string_view key) {
    const Json* v = j.find(key);
    return v && v->as_int() ? *v->as_int() : 0;
  };
  const auto plain = [&](void (*f)(Tokens&)) {
    out.push_back([f](Tokens& t) -> Result<void> { return f(t), Result<void>{}; });
  };
  if (depth > 16) return corrupt("decoders are nested too deeply");
  if (type == "Sequence") {
    const Json* list = j.find("decoders");
    if (!list || !list->as_array()) return corrupt("decoder Sequence holds no list");
    for (const Json& inner : *list->as_array()) TRY_VOID(append(inner, out, depth + 1));
  } else if (type == "ByteLevel") {
    plain(byte_level);
  } else if (type == "ByteFallback") {
    plain(byte_fallback);
  } else if (type == "Fuse") {
    plain([](Tokens& tokens) {
      std::string all;
      for (const auto& t : tokens) all += t;
      tokens = {all};
    });
  } else if (type == "Metaspace") {
    const bool prepended =
        j.find("prepend_scheme") ? j.text("prepend_scheme") != "never" : flag("add_prefix_space", true);
    out.push_back(metaspace(j.text("replacement", "\u2581"), prepended));
  } else if (type == "Strip") {
    out.push_back(strip(j.text("content"), count("start"), count("stop")));
  } else if (type == "WordPiece") {
    out.push_back(word_piece(j.text("prefix", "##"), flag("cleanup", true)));
  } else if (type == "BPEDecoder") {
    out.push_back([suffix = j.text("suffix", "</w>")](Tokens& tokens) -> Result<void> {
      for (size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = replaced(tokens[i], suffix, i + 1 < tokens.size() ? " " : "");
      return {};
    });
  } else if (type == "Replace") {
    const Json* pattern = j.find("pattern");
    if (!pattern) return corrupt("decoder Replace has no pattern");
    out.push_back(replace(TRY(Pattern::from_json(*pattern)), j.text("content")));
  } else {
    return failure(Code::kUnsupported, "decoder \"" + type + "\" is not known");
  }
  return {};
}

}  // namespace

Result<std::vector<Decoder>> parse_decoders(const Json* j) {
  std::vector<Decoder> out;
  if (j && !j->is_null()) TRY_VOID(append(*j, out, 0));
  return out;
}

}  // namespace cairn::text
