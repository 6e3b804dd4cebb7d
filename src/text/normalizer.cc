#include "text/normalizer.h"

#include "text/byte_level.h"
#include "text/charsmap.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace cairn::text {
namespace {

// A normalizer that rewrites code points one by one: f(code point, out) appends what replaces it.
template <class F>
Normalizer by_code_point(F f) {
  return [f](Buffer& b) -> Result<void> {
    Rewriter out(b);
    for (size_t at = 0; at < b.text.size();) {
      const CodePoint c = code_point_at(b.text, at);
      f(c.value, out.text());
      out.stand_for(at);
      at += c.size;
    }
    b = out.take();
    return {};
  };
}

bool flag(const Json& j, std::string_view key, bool otherwise) {
  const Json* v = j.find(key);
  const bool* b = v ? v->as_bool() : nullptr;
  return b ? *b : otherwise;
}

Normalizer in_form(Form form) {
  return [form](Buffer& b) -> Result<void> { return apply_form(b, form), Result<void>{}; };
}
Normalizer lowercase() {
  return by_code_point([](char32_t c, std::string& out) { append_lower(out, c); });
}
Normalizer strip_accents() {
  return by_code_point([](char32_t c, std::string& out) {
    if (!is_nonspacing_mark(c)) append_utf8(out, c);
  });
}

// sentencepiece's "nmt" rules: control characters go, odd spaces become spaces.
void nmt(char32_t c, std::string& out) {
  if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f) return;
  const bool space = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
                     c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd;
  append_utf8(out, space ? U' ' : c);
}

void bert_clean(char32_t c, std::string& out) {
  if (c == '\t' || c == '\n' || c == '\r' || is_space(c)) {
    out += ' ';
  } else if (c != 0 && c != 0xfffd && !is_control(c)) {
    append_utf8(out, c);
  }
}

void pad_chinese(char32_t c, std::string& out) {
  const bool chinese = (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
                       (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) ||
                       (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
  if (chinese) out += ' ';
  append_utf8(out, c);
  if (chinese) out += ' ';
}

Normalizer strip(bool left, bool right) {
  return [left, right](Buffer& b) -> Result<void> {
    size_t begin = 0, end = b.text.size();
    while (left && begin < end && is_space(code_point_at(b.text, begin).value))
      begin += code_point_at(b.text, begin).size;
    while (right && end > begin && is_space(code_point_at(b.text, previous_code_point(b.text, end)).value))
      end = previous_code_point(b.text, end);
    b = b.slice(begin, end);
    return {};
  };
}

Normalizer replace(Pattern pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)](Buffer& b) -> Result<void> {
    std::vector<Match> matches;
    TRY_VOID(pattern.find_all(b.text, matches));
    if (matches.empty()) return {};
    Rewriter out(b);
    size_t at = 0;
    for (const Match& m : matches) {
      out.keep(at, m.begin);
      out.put(content, m.begin);
      at = m.end;
    }
    out.keep(at, b.text.size());
    b = out.take();
    return {};
  };
}

Normalizer prepend(std::string prefix) {
  return [prefix = std::move(prefix)](Buffer& b) -> Result<void> {
    if (b.text.empty()) return {};
    Rewriter out(b);
    out.put(prefix, 0);
    out.keep(0, b.text.size());
    b = out.take();
    return {};
  };
}

Result<std::string> base64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int have = 0;
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  out.reserve(text.size() * 3 / 4);
  for (const char c : text) {
    const int v = c >= 'A' && c <= 'Z'   ? c - 'A'
                  : c >= 'a' && c <= 'z' ? c - 'a' + 26
                  : c >= '0' && c <= '9' ? c - '0' + 52
                  : c == '+'             ? 62
                  : c == '/'             ? 63
                                         : -1;
    if (v < 0) return corrupt("precompiled charsmap is not base64");
    bits = bits << 6 | static_cast<uint32_t>(v);
    have += 6;
    if (have >= 8) out += static_cast<char>(bits >> (have -= 8) & 0xff);
  }
  return out;
}

Result<void> append(const Json& j, std::vector<Normalizer>& out, int depth);

Result<void> append_sequence(const Json& j, std::vector<Normalizer>& out, int depth) {
  const Json* list = j.find("normalizers");
  if (!list || !list->as_array()) return corrupt("normalizer Sequence holds no list");
  for (const Json& inner : *list->as_array()) TRY_VOID(append(inner, out, depth + 1));
  return {};
}

Result<void> append(const Json& j, std::vector<Normalizer>& out, int depth) {
  const std::string type = j.text("type");
  if (depth > 16) return corrupt("normalizers are nested too deeply");
  if (type == "Sequence") return append_sequence(j, out, depth);
  if (type == "NFC") return out.push_back(in_form(Form::kNfc)), Result<void>{};
  if (type == "NFD") return out.push_back(in_form(Form::kNfd)), Result<void>{};
  if (type == "NFKC") return out.push_back(in_form(Form::kNfkc)), Result<void>{};
  if (type == "NFKD") return out.push_back(in_form(Form::kNfkd)), Result<void>{};
  if (type == "Lowercase") return out.push_back(lowercase()), Result<void>{};
  if (type == "StripAccents") return out.push_back(strip_accents()), Result<void>{};
  if (type == "Nmt") return out.push_back(by_code_point(nmt)), Result<void>{};
  if (type == "Prepend") return out.push_back(prepend(j.text("prepend"))), Result<void>{};
  if (type == "Strip")
    return out.push_back(strip(flag(j, "strip_left", true), flag(j, "strip_right", true))), Result<void>{};
  if (type == "ByteLevel") {
    out.push_back(by_code_point([](char32_t c, std::string& text) {
      std::string bytes;
      append_utf8(bytes, c);
      append_byte_level(text, bytes);
    }));
    return {};
  }
  if (type == "Replace") {
    const Json* pattern = j.find("pattern");
    if (!pattern) return corrupt("normalizer Replace has no pattern");
    out.push_back(replace(TRY(Pattern::from_json(*pattern)), j.text("content")));
    return {};
  }
  if (type == "Precompiled") {
    const std::string bytes = TRY(base64(j.text("precompiled_charsmap")));
    if (bytes.empty()) return {};
    auto map = std::make_shared<const Charsmap>(TRY(Charsmap::parse(bytes)));
    out.push_back([map](Buffer& b) -> Result<void> { return map->apply(b), Result<void>{}; });
    return {};
  }
  if (type == "BertNormalizer") {
    const bool lower = flag(j, "lowercase", true);
    if (flag(j, "clean_text", true)) out.push_back(by_code_point(bert_clean));
    if (flag(j, "handle_chinese_chars", true)) out.push_back(by_code_point(pad_chinese));
    if (flag(j, "strip_accents", lower)) out.push_back(in_form(Form::kNfd)), out.push_back(strip_accents());
    if (lower) out.push_back(lowercase());
    return {};
  }
  return failure(Code::kUnsupported, "normalizer \"" + type + "\" is not known");
}

}  // namespace

Result<std::vector<Normalizer>> parse_normalizers(const Json* j) {
  std::vector<Normalizer> out;
  if (j && !j->is_null()) TRY_VOID(append(*j, out, 0));
  return out;
}

Result<void> normalize(const std::vector<Normalizer>& all, Buffer& buffer) {
  for (const auto& f : all) {
    if (buffer.text.empty()) return {};
    TRY_VOID(f(buffer));
    if (buffer.too_long || buffer.text.size() > buffer.most)
      return invalid("the normalizer makes the text more than 64 times as long");
  }
  return {};
}

}  // namespace cairn::text
