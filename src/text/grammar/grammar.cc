#include "text/grammar/grammar.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "text/grammar/configurations.h"
#include "text/grammar/ebnf.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/regex_syntax.h"

namespace cairn::text::grammar {
namespace {

constexpr size_t kMostStoreBytes = size_t{48} << 20;  // then a new store is begun
constexpr size_t kMostMaskBytes = size_t{32} << 20;

void set(std::vector<uint32_t>& bits, uint32_t id) { bits[id / 32] |= uint32_t{1} << id % 32; }

void walk(Configurations& configs, ConfigId from, const TokenSet::Trie& trie, std::vector<uint32_t>& bits) {
  std::vector<ConfigId> path{from};
  const size_t count = trie.label.size();
  for (size_t i = 0; i < count;) {
    const size_t depth = trie.depth[i];
    const ConfigId to = configs.step(path[depth - 1], trie.label[i]);
    if (to == Configurations::kDead) {
      i = trie.after[i];
      continue;
    }
    if (path.size() <= depth) path.resize(depth + 1);
    path[depth] = to;
    for (uint32_t t = trie.first_token[i]; t < trie.first_token[i + 1]; ++t) set(bits, trie.tokens[t]);
    ++i;
  }
}

}  // namespace

Result<Automaton> compile(const Spec& spec) {
  Ir ir;
  RuleId root = 0;
  switch (spec.kind) {
    case Kind::kJsonObject:
      root = TRY(read_json_schema(R"({"type":"object"})", ir));
      break;
    case Kind::kJsonSchema:
      root = TRY(read_json_schema(spec.text, ir));
      break;
    case Kind::kRegex: {
      const NodeId body = TRY(read_regex(spec.text, ir));
      root = ir.declare("regex");
      ir.define(root, body);
      break;
    }
    case Kind::kEbnf:
      root = TRY(read_ebnf(spec.text, ir));
      break;
  }
  return Automaton::compile(ir, root);
}

// What was found out about a grammar. When it has grown too large a new one takes its place, and states move over at
// their next step.
struct CompiledGrammar::Store {
  explicit Store(const Automaton& a) : configs(a) {}
  Configurations configs;
  std::unordered_map<ConfigId, std::vector<uint32_t>> masks;
};

struct CompiledGrammar::Shared {
  std::mutex mutex;
  std::shared_ptr<Store> store;
};

CompiledGrammar::CompiledGrammar(Automaton automaton, std::shared_ptr<const TokenSet> tokens)
    : automaton_(std::move(automaton)), tokens_(std::move(tokens)), shared_(std::make_unique<Shared>()) {
  shared_->store = std::make_shared<Store>(automaton_);
}
CompiledGrammar::~CompiledGrammar() = default;

Result<std::shared_ptr<const CompiledGrammar>> CompiledGrammar::compile(const Spec& spec,
                                                                        std::shared_ptr<const TokenSet> tokens) {
  Automaton automaton = TRY(grammar::compile(spec));
  return caught([&] {
    return std::shared_ptr<const CompiledGrammar>(new CompiledGrammar(std::move(automaton), std::move(tokens)));
  });
}

// Whether any characters that stand for themselves in a JSON string leave the configuration as it is. Then every plain
// token is allowed, and only the others need looking at.
bool CompiledGrammar::reads_plain_text(Store& store, uint32_t config) const {
  Configurations& c = store.configs;
  const auto all = [&](ConfigId from, uint8_t first, uint8_t last, auto&& holds) {
    int before = -1;
    for (uint32_t b = first; b <= last; ++b) {
      const auto byte = static_cast<uint8_t>(b);
      if (byte == '"' || byte == '\\' || automaton_.class_of[byte] == before) continue;
      before = automaton_.class_of[byte];
      const ConfigId to = c.step(from, byte);
      if (to == Configurations::kDead || !holds(to)) return false;
    }
    return true;
  };
  const auto home = [&](ConfigId to) { return to == config; };
  const auto one = [&](ConfigId to) { return all(to, 0x80, 0xbf, home); };
  const auto two = [&](ConfigId to) { return all(to, 0x80, 0xbf, one); };
  const auto from = [&](uint8_t low, uint8_t high, auto&& holds) {
    return [&all, low, high, &holds](ConfigId to) { return all(to, low, high, holds); };
  };
  return all(config, 0x20, 0x7f, home) && all(config, 0xc2, 0xdf, one) &&
         all(config, 0xe0, 0xe0, from(0xa0, 0xbf, one)) && all(config, 0xe1, 0xec, two) &&
         all(config, 0xed, 0xed, from(0x80, 0x9f, one)) && all(config, 0xee, 0xef, two) &&
         all(config, 0xf0, 0xf0, from(0x90, 0xbf, two)) &&
         all(config, 0xf1, 0xf3, [&](ConfigId to) { return all(to, 0x80, 0xbf, two); }) &&
         all(config, 0xf4, 0xf4, from(0x80, 0x8f, two));
}

const std::vector<uint32_t>& CompiledGrammar::mask_of(Store& store, uint32_t config) const {
  const ConfigId alike = store.configs.alike(config, tokens_->longest());
  const auto known = store.masks.find(alike);
  if (known != store.masks.end()) return known->second;
  std::vector<uint32_t> bits(tokens_->plain_mask().size());
  if (reads_plain_text(store, alike)) {
    bits = tokens_->plain_mask();
  } else {
    walk(store.configs, alike, tokens_->plain(), bits);
  }
  walk(store.configs, alike, tokens_->others(), bits);
  if ((store.masks.size() + 1) * bits.size() * sizeof(uint32_t) > kMostMaskBytes) store.masks.clear();
  return store.masks.emplace(alike, std::move(bits)).first->second;
}

GrammarState::GrammarState(std::shared_ptr<const CompiledGrammar> grammar, std::vector<int64_t> stop_ids)
    : grammar_(std::move(grammar)), stop_ids_(std::move(stop_ids)) {
  const std::lock_guard lock(grammar_->shared_->mutex);
  store_ = grammar_->shared_->store;
  config_ = store_->configs.start();
  may_end_ = store_->configs.may_end(config_);
}

// Moves to the newest store; the mutex is held.
void GrammarState::enter() {
  auto& newest = grammar_->shared_->store;
  if (newest->configs.bytes() > kMostStoreBytes)
    newest = std::make_shared<CompiledGrammar::Store>(grammar_->automaton_);
  if (store_ == newest) return;
  config_ = newest->configs.adopt(store_->configs, config_);
  store_ = newest;
}

Result<void> GrammarState::mask(std::span<uint32_t> bits) {
  const size_t words = (grammar_->tokens().size() + 31) / 32;
  check(bits.size() >= words, "a mask with room for the vocabulary");
  std::ranges::fill(bits, 0);
  return caught([&] {
    if (!ended_) {
      const std::lock_guard lock(grammar_->shared_->mutex);
      enter();
      std::ranges::copy(grammar_->mask_of(*store_, config_), bits.begin());
    }
    for (const int64_t id : stop_ids_) {
      if (id < 0 || static_cast<size_t>(id) / 32 >= bits.size()) continue;
      const uint32_t bit = uint32_t{1} << id % 32;
      uint32_t& word = bits[static_cast<size_t>(id) / 32];
      word = may_end_ ? word | bit : word & ~bit;
    }
    if (std::ranges::all_of(bits, [](uint32_t w) { return w == 0; }) && !may_end_)
      throw Failure({Code::kExhausted,
                     "the grammar allows no further token: the text is nested too deeply, or the "
                     "vocabulary cannot spell what must follow"});
  });
}

Result<bool> GrammarState::accept(int64_t token) {
  if (std::ranges::find(stop_ids_, token) != stop_ids_.end()) {
    ended_ |= may_end_;
    return may_end_;
  }
  const std::string_view bytes = grammar_->tokens().bytes(token);
  if (bytes.empty() || ended_) return false;
  return caught([&] {
    const std::lock_guard lock(grammar_->shared_->mutex);
    enter();
    ConfigId to = config_;
    for (const char b : bytes) {
      to = store_->configs.step(to, static_cast<uint8_t>(b));
      if (to == Configurations::kDead) return false;
    }
    config_ = to;
    may_end_ = store_->configs.may_end(to);
    return true;
  });
}

bool GrammarState::may_end() const { return may_end_; }

}  // namespace cairn::text::grammar
