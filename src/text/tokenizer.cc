#include "text/tokenizer.h"

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/folder.h"
#include "text/frame.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/unicode.h"

namespace cairn::text {
namespace {

constexpr size_t kLongestText = size_t{1} << 30;  // offsets are 32 bits wide, and normalizing may lengthen a text
constexpr double kNoLimit = 1e9;                  // model_max_length is 1e30 where a model has none

}  // namespace

struct Tokenizer::Impl {
  std::vector<Normalizer> normalizers;
  AddedTokens added;
  PreTokenizers pretokenizers;
  std::unique_ptr<const Model> model;
  std::vector<Decoder> decoders;
  Frame frame;
  size_t model_max_length = 0;
  std::optional<int64_t> pad, bos, eos;

  static Result<std::shared_ptr<const Impl>> make(const Json& spec, const Json& config, bool from_text);
  Result<void> read_config(const Json& spec, const Json& config);
  std::optional<int64_t> id_of(std::string_view token) const {
    if (const auto id = added.id_of(token)) return *id;
    if (const auto id = model->vocabulary().find(token)) return *id;
    return std::nullopt;
  }

  // The tokens of a whole text, without the frame.
  Result<void> run(std::string_view text, Scratch& scratch, Output& out) const;
  // Those of normalized text that holds no added token any more.
  Result<void> run_model(Buffer buffer, bool at_start, Scratch& scratch, Output& out) const;
  Result<size_t> cut_at(std::string_view text, size_t kept, Scratch& scratch) const;
};

Result<std::shared_ptr<const Tokenizer::Impl>> Tokenizer::Impl::make(const Json& spec, const Json& config,
                                                                     bool from_text) {
  auto impl = std::make_shared<Impl>();
  const Json* model = spec.find("model");
  if (!model || !model->as_object()) return corrupt("no tokenizer: it holds no \"model\"");
  // Files of before 2020 do not name the type.
  const std::string type = model->text("type", model->find("merges") ? "BPE" : "");
  const Json* fallback = model->find("byte_fallback");
  const bool bytes = type == "BPE" && !(fallback && fallback->as_bool() && *fallback->as_bool());
  impl->normalizers = TRY(parse_normalizers(spec.find("normalizer")));
  impl->pretokenizers = TRY(parse_pretokenizers(spec.find("pre_tokenizer"), bytes));
  if (type == "BPE") {
    impl->model = TRY(parse_bpe(*model, impl->pretokenizers.bytes));
  } else if (type == "Unigram") {
    impl->model = TRY(parse_unigram(*model, from_text));
  } else {
    return failure(Code::kUnsupported, "tokenizer model \"" + type + "\" is not known; BPE and Unigram are");
  }
  impl->added = TRY(AddedTokens::parse(spec.find("added_tokens"), impl->model->vocabulary(), impl->normalizers));
  impl->decoders = TRY(parse_decoders(spec.find("decoder")));
  impl->frame = TRY(parse_frame(spec.find("post_processor")));
  TRY_VOID(impl->read_config(spec, config));
  return std::shared_ptr<const Impl>(std::move(impl));
}

Result<void> Tokenizer::Impl::read_config(const Json& spec, const Json& config) {
  const auto named = [&](std::string_view key) {
    const std::string token = special_token(config, key);
    return token.empty() ? std::nullopt : id_of(token);
  };
  bos = named("bos_token");
  eos = named("eos_token");
  pad = named("pad_token");
  const Json* padding = spec.find("padding");
  if (const Json* id = padding ? padding->find("pad_id") : nullptr; !pad && id && id->as_int()) {
    if (*id->as_int() < 0 || *id->as_int() >= kMostIds) return corrupt("pad_id is " + std::to_string(*id->as_int()));
    pad = *id->as_int();
  }
  const Json* truncation = spec.find("truncation");
  const Json* most = config.find("model_max_length");
  if (!most && truncation) most = truncation->find("max_length");
  if (most && most->is_number() && most->number() >= 1 && most->number() < kNoLimit)
    model_max_length = static_cast<size_t>(most->number());
  return {};
}

Result<void> Tokenizer::Impl::run_model(Buffer buffer, bool at_start, Scratch& scratch, Output& out) const {
  if (buffer.text.empty()) return {};
  Pieces pieces;
  pieces.ranges.push_back({0, static_cast<uint32_t>(buffer.text.size())});
  pieces.buffer = std::move(buffer);
  pieces.at_start = at_start;
  for (const auto& step : pretokenizers.steps) {
    TRY_VOID(step(pieces));
    if (pieces.buffer.too_long || pieces.buffer.text.size() > pieces.buffer.most)
      return invalid("the pre-tokenizer makes the text more than 64 times as long");
  }
  const size_t from = out.starts.size();
  for (const Range r : pieces.ranges)
    TRY_VOID(
        model->tokenize(std::string_view(pieces.buffer.text).substr(r.begin, r.end - r.begin), r.begin, scratch, out));
  for (size_t i = from; i < out.starts.size(); ++i) out.starts[i] = pieces.buffer.source[out.starts[i]];
  return {};
}

Result<void> Tokenizer::Impl::run(std::string_view text, Scratch& scratch, Output& out) const {
  for (const Segment& raw : added.split(text, false)) {
    if (raw.id >= 0) {
      out.add(raw.id, raw.begin);
      continue;
    }
    Buffer buffer = Buffer::of(text.substr(raw.begin, raw.end - raw.begin), raw.begin, out.tracked);
    TRY_VOID(normalize(normalizers, buffer));
    for (const Segment& s : added.split(buffer.text, true)) {
      if (s.id >= 0) {
        out.add(s.id, out.tracked ? buffer.source[s.begin] : 0);
      } else {
        TRY_VOID(run_model(buffer.slice(s.begin, s.end), raw.begin == 0 && s.begin == 0, scratch, out));
      }
    }
  }
  return {};
}

// Where in the text the first token starts that is not kept. Only prompts that are too long pay for offsets.
Result<size_t> Tokenizer::Impl::cut_at(std::string_view text, size_t kept, Scratch& scratch) const {
  Output out;
  out.tracked = true;
  TRY_VOID(run(text, scratch, out));
  check(kept < out.starts.size(), "a tracked run has the tokens of the untracked one");
  size_t at = out.starts[kept];
  while (at > 0 && at < text.size() && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80)
    --at;  // a token may start inside a code point
  return at;
}

Result<Encoding> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > kLongestText) return invalid("the text is longer than 1 GiB");
  if (const size_t at = invalid_utf8_at(text); at != std::string_view::npos)
    return invalid("the text is not valid UTF-8 at byte " + std::to_string(at));
  Scratch scratch;
  Output out;
  TRY_VOID(impl_->run(text, scratch, out));

  const Frame none;
  const Frame& frame = options.add_special ? impl_->frame : none;
  Encoding e;
  if (options.max_length > 0) {
    if (options.max_length < frame.size())
      return invalid("a length of " + std::to_string(options.max_length) + " leaves no room for the tokenizer's " +
                     std::to_string(frame.size()) + " special tokens");
    const size_t kept = options.max_length - frame.size();
    if (kept < out.ids.size()) {
      e.lost = text.substr(TRY(impl_->cut_at(text, kept, scratch)));
      out.ids.resize(kept);
    }
  }
  e.ids = std::move(out.ids);
  e.ids.insert(e.ids.begin(), frame.before.begin(), frame.before.end());
  e.ids.insert(e.ids.end(), frame.after.begin(), frame.after.end());
  e.length = e.ids.size();
  if (e.length < options.pad_to) {
    if (!impl_->pad) return invalid("the tokenizer has no padding token");
    e.ids.resize(options.pad_to, *impl_->pad);
  }
  return e;
}

Result<std::string> Tokenizer::decode(std::span<const int64_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int64_t id : ids) {
    const AddedToken* added = id >= 0 && id < kMostIds ? impl_->added.find(static_cast<Id>(id)) : nullptr;
    if (added && added->special && skip_special) continue;
    const std::string_view token = token_of(id);
    if (!token.empty()) tokens.emplace_back(token);
  }
  for (const auto& d : impl_->decoders) TRY_VOID(d(tokens));
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i && impl_->decoders.empty()) out += ' ';
    out += tokens[i];
  }
  return out;
}

size_t Tokenizer::vocabulary_size() const { return std::max(impl_->model->vocabulary().size(), impl_->added.size()); }
size_t Tokenizer::model_max_length() const { return impl_->model_max_length; }
std::optional<int64_t> Tokenizer::pad_id() const { return impl_->pad; }
std::optional<int64_t> Tokenizer::bos_id() const { return impl_->bos; }
std::optional<int64_t> Tokenizer::eos_id() const { return impl_->eos; }
std::optional<int64_t> Tokenizer::id_of(std::string_view token) const { return impl_->id_of(token); }

std::string_view Tokenizer::token_of(int64_t id) const {
  if (id >= 0 && id < kMostIds)
    if (const AddedToken* t = impl_->added.find(static_cast<Id>(id))) return t->content;
  return impl_->model->vocabulary().token(id);
}

Result<Tokenizer> Tokenizer::from_sentencepiece(std::string_view model, std::string_view config_json) {
  const Json config = TRY(Json::parse(config_json));
  return Tokenizer(TRY(Impl::make(TRY(text::from_sentencepiece(model, config)), config, false)));
}

Result<Tokenizer> Tokenizer::from_json(std::string_view tokenizer_json, std::string_view config_json) {
  const Json spec = TRY(Json::parse(tokenizer_json));
  const Json config = TRY(Json::parse(config_json));
  return Tokenizer(TRY(Impl::make(spec, config, true)));
}

namespace {

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// tokenizer_config.json, with what it lacks taken from special_tokens_map.json.
Result<Json> read_configs(const std::string& folder) {
  Json config{Json::Object{}};
  for (const char* name : {"/tokenizer_config.json", "/special_tokens_map.json"}) {
    if (!exists(folder + name)) continue;
    const Json more = TRY(Json::read(folder + name));
    if (!more.as_object()) return corrupt(folder + name + ": expected an object, got " + more.kind());
    for (const auto& [key, value] : *more.as_object())
      if (!config.find(key)) config.set(key, value);
  }
  return config;
}

Result<Json> read_spec(const std::string& folder, const Json& config, std::string& path) {
  if (exists(path = folder + "/tokenizer.json")) return Json::parse(TRY(read_file(path)));
  if (exists(path = folder + "/vocab.json") && exists(folder + "/merges.txt")) {
    Json vocab = TRY(Json::parse(TRY(read_file(path))));
    const std::string merges = TRY(read_file(path = folder + "/merges.txt"));
    return from_vocab_and_merges(std::move(vocab), merges, config);
  }
  if (exists(path = folder + "/spiece.model")) return text::from_sentencepiece(TRY(read_file(path)), config);
  path = folder;
  return failure(Code::kNotFound, "holds neither tokenizer.json, nor vocab.json and merges.txt, nor spiece.model");
}

}  // namespace

Result<Tokenizer> Tokenizer::load(const std::string& folder) {
  const Json config = TRY(read_configs(folder));
  std::string path;
  const auto spec = read_spec(folder, config, path);
  if (!spec) return tl::unexpected(within(path, spec.error()));
  auto impl = Impl::make(*spec, config, path.ends_with("tokenizer.json"));
  if (!impl) return tl::unexpected(within(path, std::move(impl).error()));
  return Tokenizer(*std::move(impl));
}

}  // namespace cairn::text
