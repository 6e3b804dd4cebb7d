#include "text/stop.h"

#include <algorithm>
#include <deque>

#include "text/grammar/configurations.h"
#include "text/grammar/regex_syntax.h"

namespace cairn::text {
namespace {

constexpr size_t kMostBegun = 1024;  // bytes of text that an expression may hold back

}  // namespace

// An expression is followed from every byte at which a match may begin.
struct StopChecker::Search {
  struct Begun {
    size_t at;  // in the text that is held back
    grammar::ConfigId config;
  };
  std::string expression;
  std::unique_ptr<const grammar::Automaton> automaton;
  std::unique_ptr<grammar::Configurations> configs;
  std::deque<Begun> begun;
  size_t read = 0;  // bytes of the held text

  // The first end of a match in `text`, and its beginning.
  std::optional<std::pair<size_t, size_t>> next(std::string_view text) {
    for (; read < text.size(); ++read) {
      begun.push_back({read, configs->start()});
      if (begun.size() > kMostBegun) begun.pop_front();
      std::optional<size_t> first;
      for (Begun& b : begun) {
        b.config = configs->step(b.config, static_cast<uint8_t>(text[read]));
        if (configs->may_end(b.config) && !first) first = b.at;
      }
      std::erase_if(begun, [](const Begun& b) { return b.config == grammar::Configurations::kDead; });
      if (first) return std::pair(*first, read + 1);
    }
    return std::nullopt;
  }
};

size_t begun_at_end(std::string_view text, std::string_view what) {
  for (size_t n = std::min(text.size(), what.size() - 1); n > 0; --n)
    if (text.ends_with(what.substr(0, n))) return n;
  return 0;
}

StopChecker::StopChecker(StopConfig config) : config_(std::move(config)) {}
StopChecker::StopChecker(StopChecker&&) noexcept = default;
StopChecker::~StopChecker() = default;

Result<StopChecker> StopChecker::make(StopConfig config) {
  for (const std::string& s : config.strings)
    if (s.empty()) return invalid("stop: an empty string would end every text at once");
  StopChecker checker(std::move(config));
  for (const std::string& expression : checker.config_.expressions) {
    const auto within_stop = [](Error e) { return tl::unexpected(within("stop_regex", std::move(e))); };
    grammar::Ir ir;
    const auto body = grammar::read_regex(expression, ir, grammar::Anchors::kRefused);
    if (!body) return within_stop(body.error());
    const grammar::RuleId root = ir.declare("stop");
    ir.define(root, *body);
    auto automaton = grammar::Automaton::compile(ir, root);
    if (!automaton) return within_stop(automaton.error());
    Search search;
    search.expression = expression;
    search.automaton = std::make_unique<const grammar::Automaton>(*std::move(automaton));
    auto configs = caught([&] { return std::make_unique<grammar::Configurations>(*search.automaton); });
    if (!configs) return within_stop(configs.error());
    search.configs = *std::move(configs);
    if (search.configs->may_end(search.configs->start()))
      return invalid("stop_regex: " + expression + " matches the empty text, which would end every text at once");
    checker.searches_.push_back(std::move(search));
  }
  return checker;
}

Result<StopChecker::Piece> StopChecker::push(std::string_view text) {
  Piece piece;
  if (stopped_) return piece;
  const size_t before = held_.size();
  held_ += text;
  size_t begin = 0, end = std::string::npos;
  const auto found = [&](size_t b, size_t e, const std::string& by) {
    if (e > end || (e == end && b >= begin)) return;
    begin = b, end = e;
    piece.matched = by;
  };
  for (const std::string& s : config_.strings) {
    const size_t at = held_.find(s, before < s.size() ? 0 : before - s.size());
    if (at != std::string::npos) found(at, at + s.size(), s);
  }
  size_t keep = held_.size();  // text from here on may become a match
  for (Search& search : searches_) {
    const auto match = TRY(caught([&] { return search.next(held_); }));
    if (match) found(match->first, match->second, search.expression);
    if (!search.begun.empty()) keep = std::min(keep, search.begun.front().at);
  }
  if (end != std::string::npos) {
    piece.stopped = stopped_ = true;
    piece.text = held_.substr(0, config_.no_stop_trim ? end : begin);
    held_.clear();
    return piece;
  }
  for (const std::string& s : config_.strings) keep = std::min(keep, held_.size() - begun_at_end(held_, s));
  // Half a character is not given out either.
  while (keep > 0 && keep < held_.size() && (static_cast<uint8_t>(held_[keep]) & 0xc0) == 0x80) --keep;
  piece.text = held_.substr(0, keep);
  held_.erase(0, keep);
  for (Search& search : searches_) {
    search.read -= keep;
    std::erase_if(search.begun, [&](const Search::Begun& b) { return b.at < keep; });
    for (Search::Begun& b : search.begun) b.at -= keep;
  }
  return piece;
}

std::string StopChecker::finish() { return stopped_ ? std::string() : std::exchange(held_, {}); }

bool StopChecker::is_stop(int64_t id) const { return std::ranges::find(config_.ids, id) != config_.ids.end(); }

}  // namespace cairn::text
