#include "text/pretokenizer.h"

#include "text/byte_level.h"
#include "text/splitting.h"
#include "text/unicode.h"

namespace cairn::text {
namespace {

constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

bool flag(const Json& j, std::string_view key, bool otherwise) {
  const Json* v = j.find(key);
  const bool* b = v ? v->as_bool() : nullptr;
  return b ? *b : otherwise;
}

// Writes every piece anew: f(piece's text, offset, out) appends it. Pieces that were cut away do not come back.
template <class F>
void rewrite(Pieces& pieces, F f) {
  Rewriter out(pieces.buffer);
  for (Range& r : pieces.ranges) {
    const auto begin = static_cast<uint32_t>(out.size());
    f(std::string_view(pieces.buffer.text).substr(r.begin, r.end - r.begin), r.begin, out);
    r = {begin, static_cast<uint32_t>(out.size())};
  }
  pieces.buffer = out.take();
}

PreTokenizer split(Pattern pattern, Behavior behavior, bool invert) {
  return [pattern = std::move(pattern), behavior, invert](Pieces& p) { return split_at(p, pattern, behavior, invert); };
}
template <class Is>
PreTokenizer split_on(Behavior behavior, Is is) {
  return [behavior, is](Pieces& p) -> Result<void> { return split_where(p, behavior, is), Result<void>{}; };
}

PreTokenizer space_before_each() {
  return [](Pieces& pieces) -> Result<void> {
    rewrite(pieces, [](std::string_view text, size_t at, Rewriter& out) {
      if (text[0] != ' ') out.put(" ", at);
      out.keep(at, at + text.size());
    });
    return {};
  };
}

PreTokenizer spell_bytes() {
  return [](Pieces& pieces) -> Result<void> {
    rewrite(pieces, [](std::string_view text, size_t at, Rewriter& out) {
      for (size_t i = 0; i < text.size(); ++i) {
        append_byte_level(out.text(), text.substr(i, 1));
        out.stand_for(at + i);
      }
    });
    return {};
  };
}

Result<PreTokenizer> metaspace(const Json& j) {
  const std::string mark = j.text("replacement", "\u2581");
  // Files of before 2024 say add_prefix_space, and mean "always" or "never".
  const std::string scheme = j.text("prepend_scheme", flag(j, "add_prefix_space", true) ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never")
    return corrupt("Metaspace has prepend_scheme \"" + scheme + "\"");
  const bool cut = flag(j, "split", true);
  return PreTokenizer([mark, scheme, cut, pattern = Pattern::literal(mark)](Pieces& pieces) -> Result<void> {
    const bool first_piece = pieces.at_start;
    rewrite(pieces, [&](std::string_view text, size_t at, Rewriter& out) {
      const bool wanted = scheme == "always" || (scheme == "first" && first_piece && at == 0);
      if (wanted && text[0] != ' ' && !text.starts_with(mark)) out.put(mark, at);
      for (size_t i = 0; i < text.size();) {
        if (text[i] == ' ') {
          out.put(mark, at + i++);
        } else {
          const size_t end = std::min(text.find(' ', i), text.size());
          out.keep(at + i, at + end);
          i = end;
        }
      }
    });
    return cut ? split_at(pieces, pattern, Behavior::kMergedWithNext, false) : Result<void>{};
  });
}

Result<void> append(const Json& j, std::vector<PreTokenizer>& out, bool may_end, bool& bytes, int depth);

Result<void> append_byte_level(const Json& j, std::vector<PreTokenizer>& out, bool may_end, bool& bytes) {
  if (flag(j, "add_prefix_space", true)) out.push_back(space_before_each());
  if (flag(j, "use_regex", true)) out.push_back(split(TRY(Pattern::regex(kGpt2)), Behavior::kIsolated, false));
  bytes = may_end;
  if (!may_end) out.push_back(spell_bytes());
  return {};
}

Result<void> append_split(const Json& j, std::vector<PreTokenizer>& out) {
  const Json* pattern = j.find("pattern");
  if (!pattern) return corrupt("pre-tokenizer Split has no pattern");
  const Behavior behavior = TRY(parse_behavior(j.text("behavior")));
  out.push_back(split(TRY(Pattern::from_json(*pattern)), behavior, flag(j, "invert", false)));
  return {};
}

Result<void> append(const Json& j, std::vector<PreTokenizer>& out, bool may_end, bool& bytes, int depth) {
  const std::string type = j.text("type");
  if (depth > 16) return corrupt("pre-tokenizers are nested too deeply");
  if (type == "Sequence") {
    const Json* list = j.find("pretokenizers");
    if (!list || !list->as_array()) return corrupt("pre-tokenizer Sequence holds no list");
    const auto& steps = *list->as_array();
    for (size_t i = 0; i < steps.size(); ++i)
      TRY_VOID(append(steps[i], out, may_end && i + 1 == steps.size(), bytes, depth + 1));
    return {};
  }
  if (type == "ByteLevel") return append_byte_level(j, out, may_end, bytes);
  if (type == "Split") return append_split(j, out);
  if (type == "Metaspace") return out.push_back(TRY(metaspace(j))), Result<void>{};
  if (type == "WhitespaceSplit") return out.push_back(split_on(Behavior::kRemoved, is_space)), Result<void>{};
  if (type == "Whitespace")
    return out.push_back(split(TRY(Pattern::regex(R"(\w+|[^\w\s]+)")), Behavior::kRemoved, true)), Result<void>{};
  if (type == "Punctuation") {
    const Behavior behavior = TRY(parse_behavior(j.text("behavior", "Isolated")));
    return out.push_back(split_on(behavior, is_punctuation)), Result<void>{};
  }
  if (type == "Digits") {
    const auto behavior = flag(j, "individual_digits", false) ? Behavior::kIsolated : Behavior::kContiguous;
    return out.push_back(split_on(behavior, is_numeric)), Result<void>{};
  }
  if (type == "BertPreTokenizer") {
    out.push_back(split_on(Behavior::kRemoved, is_space));
    return out.push_back(split_on(Behavior::kIsolated, is_punctuation)), Result<void>{};
  }
  if (type == "CharDelimiterSplit")
    return out.push_back(split(Pattern::literal(j.text("delimiter")), Behavior::kRemoved, false)), Result<void>{};
  return failure(Code::kUnsupported, "pre-tokenizer \"" + type + "\" is not known");
}

}  // namespace

Result<PreTokenizers> parse_pretokenizers(const Json* j, bool raw_bytes) {
  PreTokenizers out;
  if (j && !j->is_null()) TRY_VOID(append(*j, out.steps, raw_bytes, out.bytes, 0));
  return out;
}

}  // namespace cairn::text
