#include "text/folder.h"

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "text/spiece.h"

namespace cairn::text {
namespace {

using Object = Json::Object;
using Array = Json::Array;

constexpr std::string_view kClip =
    R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::array kNamed = {"bos_token", "eos_token", "unk_token", "sep_token",
                               "pad_token", "cls_token", "mask_token"};
constexpr int64_t kMostExtraIds = 10000;

Json typed(const char* type) { return Object{{"type", type}}; }
Json regex(std::string_view expression) { return Object{{"Regex", expression}}; }
Json byte_level(bool prefix_space, bool use_regex) {
  return Object{
      {"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}
Json metaspace() {
  return Object{{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "always"}, {"split", true}};
}
Json split(std::string_view expression, const char* behavior, bool invert) {
  return Object{{"type", "Split"}, {"pattern", regex(expression)}, {"behavior", behavior}, {"invert", invert}};
}

// The added tokens that the configuration names; the first description of a token counts. Ids come from the vocabulary.
class Added {
 public:
  void put(const Json& token, bool special) {
    const auto* bare = token.as_string();
    const std::string content = bare ? *bare : token.text("content");
    if (content.empty() || known(content)) return;
    Json entry = bare ? Json(Object{{"content", content}, {"normalized", false}}) : token;
    if (special || !entry.find("special")) entry.set("special", special);
    list_.push_back(std::move(entry));
  }
  void put_all(const Json& config) {
    if (const Json* decoder = config.find("added_tokens_decoder"); decoder && decoder->as_object())
      for (const auto& [id, token] : *decoder->as_object()) put(token, false);
    for (const char* key : kNamed)
      if (const Json* token = config.find(key)) put(*token, true);
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"})
      if (const Json* more = config.find(key); more && more->as_array())
        for (const Json& token : *more->as_array()) put(token, true);
  }
  Json take() { return std::move(list_); }

 private:
  bool known(const std::string& content) const {
    for (const Json& t : list_)
      if (t.text("content") == content) return true;
    return false;
  }
  Array list_;
};

Result<Array> read_merges(std::string_view text) {
  Array out;
  size_t number = 0;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.starts_with("#version") || line.empty()) continue;
    if (line.find(' ') == std::string_view::npos)
      return corrupt("line " + std::to_string(number) + " of the merges is no pair");
    out.emplace_back(line);
  }
  return out;
}

Result<int64_t> id_in(const Json& vocab, const std::string& token) {
  const Json* id = vocab.find(token);
  if (!id || !id->as_int()) return corrupt("the vocabulary lacks the special token \"" + token + "\"");
  return *id->as_int();
}

Result<Json> clip(Json vocab, Array merges, Json config) {
  for (const auto& [key, token] : {std::pair("unk_token", "<|endoftext|>"),
                                   {"bos_token", "<|startoftext|>"},
                                   {"eos_token", "<|endoftext|>"},
                                   {"pad_token", "<|endoftext|>"}})
    if (special_token(config, key).empty()) config.set(key, token);
  const std::string begin = special_token(config, "bos_token"), end = special_token(config, "eos_token");
  Json post = Object{{"type", "RobertaProcessing"},
                     {"sep", Array{end, TRY(id_in(vocab, end))}},
                     {"cls", Array{begin, TRY(id_in(vocab, begin))}}};
  Added added;
  added.put_all(config);
  Json spaces = Object{{"type", "Replace"}, {"pattern", regex(R"(\s+)")}, {"content", " "}};
  Json normalizer =
      Object{{"type", "Sequence"}, {"normalizers", Array{typed("NFC"), std::move(spaces), typed("Lowercase")}}};
  Json cut =
      Object{{"type", "Sequence"}, {"pretokenizers", Array{split(kClip, "Removed", true), byte_level(false, true)}}};
  Json model = Object{{"type", "BPE"},
                      {"unk_token", special_token(config, "unk_token")},
                      {"end_of_word_suffix", "</w>"},
                      {"vocab", std::move(vocab)},
                      {"merges", std::move(merges)}};
  return Json(Object{{"added_tokens", added.take()},
                     {"normalizer", std::move(normalizer)},
                     {"pre_tokenizer", std::move(cut)},
                     {"post_processor", std::move(post)},
                     {"decoder", typed("ByteLevel")},
                     {"model", std::move(model)}});
}

Result<Json> byte_level_bpe(Json vocab, Array merges, const Json& config, bool qwen) {
  const Json* space = config.find("add_prefix_space");
  const bool prefix_space = space && space->as_bool() && *space->as_bool();
  Added added;
  added.put_all(config);
  Json cut =
      qwen ? Json(Object{{"type", "Sequence"},
                         {"pretokenizers", Array{split(kQwen2, "Isolated", false), byte_level(prefix_space, false)}}})
           : byte_level(prefix_space, true);
  Json model = Object{{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}};
  return Json(Object{{"added_tokens", added.take()},
                     {"normalizer", qwen ? typed("NFC") : Json()},
                     {"pre_tokenizer", std::move(cut)},
                     {"decoder", typed("ByteLevel")},
                     {"model", std::move(model)}});
}

std::string base64(std::string_view bytes) {
  constexpr const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve(bytes.size() * 4 / 3 + 4);
  uint32_t bits = 0;
  int have = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<uint8_t>(c);
    for (have += 8; have >= 6;) out += digits[bits >> (have -= 6) & 63];
  }
  if (have) out += digits[bits << (6 - have) & 63];
  return out;
}

}  // namespace

std::string special_token(const Json& config, std::string_view key) {
  const Json* v = config.find(key);
  if (!v) return {};
  return v->as_string() ? *v->as_string() : v->text("content");
}

Result<Json> from_vocab_and_merges(Json vocab, std::string_view merges, const Json& config) {
  if (!vocab.as_object()) return corrupt(std::string("the vocabulary must be an object, not ") + vocab.kind());
  Array pairs = TRY(read_merges(merges));
  std::string kind = config.text("tokenizer_class");
  if (kind.ends_with("Fast")) kind.resize(kind.size() - 4);
  if (kind.empty()) kind = merges.find("</w>") != std::string_view::npos ? "CLIPTokenizer" : "GPT2Tokenizer";
  if (kind == "CLIPTokenizer") return clip(std::move(vocab), std::move(pairs), config);
  if (kind == "GPT2Tokenizer" || kind == "Qwen2Tokenizer")
    return byte_level_bpe(std::move(vocab), std::move(pairs), config, kind[0] == 'Q');
  return failure(Code::kUnsupported, "tokenizer class " + kind + " needs a tokenizer.json");
}

Result<Json> from_sentencepiece(std::string_view proto, const Json& given) {
  SentencePieceModel model = TRY(parse_sentencepiece(proto));
  if (model.model_type != 1)
    return failure(Code::kUnsupported, "this sentencepiece model is no Unigram model; convert it to tokenizer.json");
  Json config = given.is_null() ? Json(Object{}) : given;
  for (const auto& [key, token] : {std::pair("eos_token", "</s>"), {"unk_token", "<unk>"}, {"pad_token", "<pad>"}})
    if (special_token(config, key).empty()) config.set(key, token);
  const Json* extra = config.find("extra_ids");
  const int64_t extra_ids = extra && extra->as_int() ? *extra->as_int() : 100;  // T5Tokenizer's default
  if (extra_ids < 0 || extra_ids > kMostExtraIds) return corrupt("extra_ids is " + std::to_string(extra_ids));

  const std::string end = special_token(config, "eos_token");
  Array vocab;
  vocab.reserve(model.pieces.size() + static_cast<size_t>(extra_ids));
  Added added;
  added.put_all(config);
  int64_t end_id = -1;
  for (auto& p : model.pieces) {
    if (p.text == end) end_id = static_cast<int64_t>(vocab.size());
    if (p.type == 3 || p.type == 4) added.put(p.text, p.type == 3);
    vocab.push_back(Array{std::move(p.text), p.score});
  }
  if (end_id < 0) return corrupt("the sentencepiece model lacks the end token \"" + end + "\"");
  for (int64_t i = extra_ids; i-- > 0;) {
    const std::string token = "<extra_id_" + std::to_string(i) + ">";
    added.put(token, true);
    vocab.push_back(Array{token, 0.0});
  }

  Json normalizer = model.charsmap.empty()
                        ? Json()
                        : Json(Object{{"type", "Precompiled"}, {"precompiled_charsmap", base64(model.charsmap)}});
  Json cut = Object{{"type", "Sequence"}, {"pretokenizers", Array{typed("WhitespaceSplit"), metaspace()}}};
  Json post = Object{
      {"type", "TemplateProcessing"},
      {"single", Array{Object{{"Sequence", Object{{"id", "A"}}}}, Object{{"SpecialToken", Object{{"id", end}}}}}},
      {"special_tokens", Object{{end, Object{{"ids", Array{end_id}}}}}}};
  Json unigram = Object{{"type", "Unigram"},
                        {"unk_id", model.unk_id},
                        {"byte_fallback", model.byte_fallback},
                        {"vocab", std::move(vocab)}};
  return Json(Object{{"added_tokens", added.take()},
                     {"normalizer", std::move(normalizer)},
                     {"pre_tokenizer", std::move(cut)},
                     {"post_processor", std::move(post)},
                     {"decoder", metaspace()},
                     {"model", std::move(unigram)}});
}

}  // namespace cairn::text
