// The model of a tokenizer.json: a piece of text -> token ids.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "text/vocabulary.h"

namespace cairn::text {

// Ids so far and, when wanted, where each token starts: first in the pieces' buffer, then in the user's text.
struct Output {
  std::vector<int64_t> ids;
  std::vector<uint32_t> starts;
  bool tracked = false;
  void add(int64_t id, size_t start) {
    ids.push_back(id);
    if (tracked) starts.push_back(static_cast<uint32_t>(start));
  }
};

// What a model works in, kept from piece to piece of one call.
struct Scratch {
  struct Symbol {
    Id id;
    int32_t previous, next;  // -1: none
    uint32_t begin, size;    // bytes of the piece; size 0: merged away
  };
  struct Candidate {
    uint32_t rank;
    int32_t left;
    Id merged;
    uint32_t size;  // of both halves: a stale entry does not fit any more
  };
  struct Node {
    double score;
    uint32_t begin;
    Id id;
    bool reached;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::vector<Node> nodes;
  std::unordered_map<std::string, std::vector<Id>, Hash, std::equal_to<>> words;
};

class Model {
 public:
  virtual ~Model() = default;
  // Appends the tokens of a piece that is not empty; `base` is added to their starts.
  virtual Result<void> tokenize(std::string_view piece, size_t base, Scratch& scratch, Output& out) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  explicit Model(Vocabulary v) : vocabulary_(std::move(v)) {}
  Vocabulary vocabulary_;
};

// The entry "model". `raw_bytes`: pieces are raw bytes while the vocabulary spells them in byte-level characters.
Result<std::unique_ptr<const Model>> parse_bpe(const Json& j, bool raw_bytes);
// `from_text`: the scores were read from a tokenizer.json, which the tokenizers library reads with an error of up to
// one ulp (serde_json without float_roundtrip); equally good segmentations are told apart by that.
Result<std::unique_ptr<const Model>> parse_unigram(const Json& j, bool from_text);

// The ids of <0x00> to <0xFF>, -1 where one is missing.
std::vector<Id> byte_tokens(const Vocabulary& v);

}  // namespace cairn::text
