#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/model.h"
#include "text/trie.h"
#include "text/unicode.h"

namespace cairn::text {
namespace {

constexpr double kUnknownPenalty = 10;  // sentencepiece's: an unknown code point scores that much below the worst token

// The most probable segmentation (Kudo 2018), found as sentencepiece's Viterbi search finds it.
class Unigram final : public Model {
 public:
  Unigram(Vocabulary v, std::vector<double> scores, std::optional<Id> unk, bool byte_fallback)
      : Model(std::move(v)), scores_(std::move(scores)), unk_(unk) {
    if (byte_fallback) bytes_ = byte_tokens(vocabulary_);
    std::vector<std::pair<std::string_view, int32_t>> entries(vocabulary_.all().begin(), vocabulary_.all().end());
    trie_ = Trie(std::move(entries));
    unk_score_ = (scores_.empty() ? 0 : *std::min_element(scores_.begin(), scores_.end())) - kUnknownPenalty;
  }

  Result<void> tokenize(std::string_view piece, size_t base, Scratch& s, Output& out) const override {
    auto& nodes = s.nodes;  // by the place where a token ends
    nodes.assign(piece.size() + 1, {0, 0, -1, false});
    for (size_t at = 0, size; at < piece.size(); at += size) {
      size = code_point_at(piece, at).size;
      const double before = nodes[at].score;
      bool single = false;
      const auto reach = [&](size_t end, double score, Id id) {
        auto& n = nodes[end];
        if (!n.reached || score > n.score) n = {score, static_cast<uint32_t>(at), id, true};
      };
      trie_.prefixes(piece, at, [&](size_t length, Id id) {
        reach(at + length, scores_[static_cast<size_t>(id)] + before, id);
        single |= length == size;
      });
      if (single) continue;
      if (!unk_) return corrupt("the text needs an unknown token, and the tokenizer has none");
      reach(at + size, unk_score_ + before, *unk_);
    }
    auto& path = s.symbols;
    path.clear();
    for (size_t end = piece.size(); end > 0; end = nodes[end].begin)
      path.push_back({nodes[end].id, -1, -1, nodes[end].begin, static_cast<uint32_t>(end - nodes[end].begin)});
    for (size_t i = path.size(); i > 0;) {
      const auto& token = path[--i];
      if (token.id != unk_) {
        out.add(token.id, base + token.begin);
        continue;
      }
      size_t size = token.size;  // neighbouring unknowns are one
      while (i > 0 && path[i - 1].id == unk_) size += path[--i].size;
      add_unknown(piece.substr(token.begin, size), base + token.begin, out);
    }
    return {};
  }

 private:
  void add_unknown(std::string_view text, size_t start, Output& out) const {
    if (const auto id = vocabulary_.find(text)) return out.add(*id, start);
    const auto has_token = [&](char c) { return bytes_[static_cast<uint8_t>(c)] >= 0; };
    if (bytes_.empty() || !std::all_of(text.begin(), text.end(), has_token)) return out.add(*unk_, start);
    for (size_t i = 0; i < text.size(); ++i) out.add(bytes_[static_cast<uint8_t>(text[i])], start + i);
  }

  std::vector<double> scores_;
  std::optional<Id> unk_;
  std::vector<Id> bytes_;
  Trie trie_;
  double unk_score_ = 0;
};

// The shortest digits that mean x, taken as one integer and divided by a power of ten: two roundings where one is
// right.
double as_serde_reads(double x) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, std::abs(x), std::chars_format::fixed).ptr;
  if (x == 0 || end > text + 24) return x;
  uint64_t digits = 0;
  int decimals = 0;
  bool point = false;
  for (const char* c = text; c != end; ++c) {
    if (*c == '.') {
      point = true;
      continue;
    }
    digits = digits * 10 + static_cast<uint64_t>(*c - '0');
    decimals += point;
  }
  if (digits >= uint64_t{1} << 63 || decimals > 22) return x;
  return std::copysign(static_cast<double>(digits) / std::pow(10.0, decimals), x);
}

}  // namespace

Result<std::unique_ptr<const Model>> parse_unigram(const Json& j, bool from_text) {
  const Json* vocab = j.find("vocab");
  const auto* list = vocab ? vocab->as_array() : nullptr;
  if (!list) return corrupt("the Unigram model holds no list \"vocab\"");
  Vocabulary v;
  std::vector<double> scores;
  scores.reserve(list->size());
  for (const Json& entry : *list) {
    const auto* pair = entry.as_array();
    if (!pair || pair->size() != 2 || !(*pair)[0].as_string() || !(*pair)[1].is_number())
      return corrupt("entry " + std::to_string(scores.size()) + " of the vocabulary is no pair of a token and a score");
    TRY_VOID(v.add(*(*pair)[0].as_string(), static_cast<int64_t>(scores.size())));
    scores.push_back(from_text ? as_serde_reads((*pair)[1].number()) : (*pair)[1].number());
  }
  std::optional<Id> unk;
  if (const Json* u = j.find("unk_id"); u && u->as_int()) {
    if (*u->as_int() < 0 || *u->as_int() >= static_cast<int64_t>(scores.size()))
      return corrupt("unk_id is not in the vocabulary");
    unk = static_cast<Id>(*u->as_int());
  }
  const Json* fallback = j.find("byte_fallback");
  const bool bytes = fallback && fallback->as_bool() && *fallback->as_bool();
  return std::make_unique<const Unigram>(std::move(v), std::move(scores), unk, bytes);
}

}  // namespace cairn::text
