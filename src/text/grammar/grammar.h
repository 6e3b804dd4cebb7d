// Constrained decoding: which tokens may come next so that the text fits a JSON schema, a regular expression or an
// EBNF.
//
//   auto tokens = TRY(grammar::TokenSet::of(tokenizer));                 // once for a model
//   grammar::GrammarCache cache(tokens, 64);                             // shared by all requests
//   auto g = TRY(cache.get({grammar::Kind::kJsonSchema, schema_text}));  // off the engine thread
//   grammar::GrammarState state(g, stop_ids);                            // one for a request
//   TRY_VOID(state.mask(bits));  …sample…;  check(TRY(state.accept(token)), "a sampled token that was masked");
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/grammar/automaton.h"
#include "text/grammar/token_set.h"

namespace cairn::text::grammar {

enum class Kind { kJsonObject, kJsonSchema, kRegex, kEbnf };

struct Spec {
  Kind kind = Kind::kJsonObject;
  std::string text;  // the schema, expression or grammar; unused for kJsonObject
};

// The automaton alone, without a vocabulary. Errors say what is not supported, and where.
Result<Automaton> compile(const Spec& spec);

// A grammar for one vocabulary. Its meaning never changes; what was found out about it (moves, masks) is kept for all
// requests behind a mutex, within a bound on memory.
class CompiledGrammar {
 public:
  static Result<std::shared_ptr<const CompiledGrammar>> compile(const Spec& spec,
                                                                std::shared_ptr<const TokenSet> tokens);
  ~CompiledGrammar();
  const TokenSet& tokens() const { return *tokens_; }

 private:
  friend class GrammarState;
  struct Store;
  struct Shared;
  CompiledGrammar(Automaton automaton, std::shared_ptr<const TokenSet> tokens);
  const std::vector<uint32_t>& mask_of(Store& store, uint32_t config) const;
  bool reads_plain_text(Store& store, uint32_t config) const;

  const Automaton automaton_;
  const std::shared_ptr<const TokenSet> tokens_;
  const std::unique_ptr<Shared> shared_;
};

// Where one request stands. Copies are cheap and independent (for drafts of speculative decoding). One thread at a time
// uses a state; states of one grammar may be used by many threads.
class GrammarState {
 public:
  // A stop token is allowed exactly where the text may end.
  GrammarState(std::shared_ptr<const CompiledGrammar> grammar, std::vector<int64_t> stop_ids);

  // Bit id % 32 of word id / 32 is set for tokens that may come next, and cleared for others, padding included. `bits`
  // must have room for the vocabulary. An error means that the request cannot go on: nothing may follow (the text is
  // nested too deeply), or the grammar is too ambiguous to follow.
  Result<void> mask(std::span<uint32_t> bits);
  // False, and nothing changes, for a token that does not fit.
  Result<bool> accept(int64_t token);
  // The text so far is a whole text of the grammar.
  bool may_end() const;
  // A stop token was accepted.
  bool ended() const { return ended_; }

 private:
  void enter();
  std::shared_ptr<const CompiledGrammar> grammar_;
  std::shared_ptr<CompiledGrammar::Store> store_;
  std::vector<int64_t> stop_ids_;
  uint32_t config_ = 0;
  bool may_end_ = false, ended_ = false;
};

// The grammars in use for one vocabulary, the least recently used one forgotten first. Thread-safe: a grammar that many
// threads ask for at once is compiled by one of them while the others wait.
class GrammarCache {
 public:
  GrammarCache(std::shared_ptr<const TokenSet> tokens, size_t capacity);
  ~GrammarCache();
  Result<std::shared_ptr<const CompiledGrammar>> get(const Spec& spec);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::text::grammar
