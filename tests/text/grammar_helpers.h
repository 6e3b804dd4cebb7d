// What the tests of grammars share.
#pragma once
#include <algorithm>
#include <map>
#include <optional>
#include <random>

#include "text/grammar/configurations.h"
#include "text/grammar/grammar.h"
#include "text/helpers.h"

namespace cairn::text::grammar {

// Follows an automaton byte by byte.
class Reader {
 public:
  explicit Reader(const Spec& spec) : automaton_(value(compile(spec))), configs_(automaton_) {}
  bool reads(std::string_view text) {
    ConfigId at = configs_.start();
    for (const char c : text) at = configs_.step(at, static_cast<uint8_t>(c));
    return configs_.may_end(at);
  }
  // Some text begins like this.
  bool begins(std::string_view text) {
    ConfigId at = configs_.start();
    for (const char c : text) at = configs_.step(at, static_cast<uint8_t>(c));
    return at != Configurations::kDead;
  }

 private:
  Automaton automaton_;
  Configurations configs_;
};

inline std::string error_of(const Spec& spec) {
  const auto r = compile(spec);
  return r ? "" : r.error().what;
}

// The shortest bytes that end the text, when few steps find them.
inline std::optional<std::string> shortest_end(Configurations& configs, ConfigId from) {
  std::map<ConfigId, std::string> seen{{from, ""}};
  std::vector<ConfigId> todo{from};
  for (size_t i = 0; i < todo.size() && todo.size() < 400; ++i) {
    if (configs.may_end(todo[i])) return seen.at(todo[i]);
    for (int b = 0; b < 256; ++b) {
      const ConfigId to = configs.step(todo[i], static_cast<uint8_t>(b));
      if (to == Configurations::kDead || !seen.emplace(to, seen.at(todo[i]) + static_cast<char>(b)).second) continue;
      todo.push_back(to);
    }
  }
  return std::nullopt;
}

// A text of the grammar, of random tokens that the mask allows. A long one is led to its end: brackets are closed more
// often than opened, then the shortest end is taken. Nothing when there was no end within `most` tokens.
inline std::optional<std::string> random_text(const Spec& spec, const std::shared_ptr<const CompiledGrammar>& g,
                                              std::mt19937& rng, size_t most = 400) {
  constexpr int64_t kStop = 0;  // a token without bytes
  const Automaton automaton = value(compile(spec));
  Configurations configs(automaton);
  ConfigId at = configs.start();
  GrammarState state(g, {kStop});
  std::vector<uint32_t> bits((g->tokens().size() + 31) / 32);
  std::string text, rest;
  const size_t patience = 1 + rng() % 80;
  for (size_t n = 0; n < most; ++n) {
    value(state.mask(bits).map([] { return true; }));
    std::vector<int64_t> allowed;
    for (size_t id = 1; id < g->tokens().size(); ++id)
      if (bits[id / 32] >> id % 32 & 1) allowed.push_back(static_cast<int64_t>(id));
    const bool may_end = bits[0] & 1;
    if (may_end != state.may_end()) throw std::runtime_error("the mask and may_end() disagree");
    if (may_end && (allowed.empty() || n > patience || rng() % 8 == 0)) return text;
    if (n > patience && rest.empty()) rest = shortest_end(configs, at).value_or("");
    int64_t token = allowed[rng() % allowed.size()];
    const auto fits = [&](std::string_view b) {
      return rest.empty() ? b.find_first_of("\"]}") != b.npos && b.find_first_of("[{") == b.npos : rest.starts_with(b);
    };
    if (n > patience) {
      const auto good = std::ranges::find_if(allowed, [&](int64_t id) { return fits(g->tokens().bytes(id)); });
      if (good != allowed.end()) token = *good;
    }
    if (!value(state.accept(token))) throw std::runtime_error("a token of the mask was refused");
    const std::string_view b = g->tokens().bytes(token);
    for (const char c : b) at = configs.step(at, static_cast<uint8_t>(c));
    if (at == Configurations::kDead) throw std::runtime_error("a token that leads nowhere");
    if (!rest.empty()) rest.erase(0, rest.starts_with(b) ? b.size() : rest.size());
    text += b;
  }
  return std::nullopt;
}

}  // namespace cairn::text::grammar
