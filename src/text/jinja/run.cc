#include "text/jinja/run.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::text::jinja {
namespace {
constexpr size_t kObject = 128;  // bytes, roughly, of a small object
}

std::string placed(std::string_view name, Where where, std::string_view what) {
  return fmt::format("chat template {}, line {}, column {}: {}", name, where.line, where.column, what);
}

const Value* Scope::find(int name) const {
  for (const Scope* s = this; s; s = s->parent)
    for (const auto& [n, v] : s->variables)
      if (n == name) return &v;
  return nullptr;
}

void Scope::set(int name, Value value) {
  for (auto& [n, v] : variables)
    if (n == name) {
      v = std::move(value);
      return;
    }
  variables.emplace_back(name, std::move(value));
}

void Run::fail(std::string_view what, Code code) const { throw Failure(Error{code, placed(name_, where_, what)}); }

void Run::need_defined(const Value& v) const {
  if (const auto* u = v.as_undefined()) fail(u->why ? *u->why : "the value is undefined");
}

void Run::too_long() const {
  fail(fmt::format("stopped after {} steps; the template loops without end, or the conversation is too long for it",
                   limits_.most_steps));
}
void Run::too_large(size_t most) const {
  fail(
      fmt::format("stopped: it makes more than {} bytes of text; shorten the conversation or mend the template", most));
}
void Run::too_deep() {
  --depth_;  // the Level that asks is never finished
  fail(fmt::format("stopped: more than {} expressions, blocks and macro calls inside each other", limits_.most_depth));
}

Value Run::text(std::string bytes, bool markup) {
  check_size(bytes.size());
  charge(bytes.size() + kObject / 2);
  return Text{std::make_shared<const std::string>(std::move(bytes)), markup};
}

Value Run::list(std::vector<Value> items, Sequence::Kind kind, std::string label) {
  charge(kObject + items.size() * sizeof(Value));
  auto s = std::make_shared<Sequence>();
  for (const Value& v : items) s->depth = std::max(s->depth, v.depth() + 1);
  s->kind = kind;
  s->items = std::move(items);
  s->label = std::move(label);
  if (s->depth > kMostNesting) fail(fmt::format("a list nests deeper than {} levels", kMostNesting));
  return std::shared_ptr<const Sequence>(std::move(s));
}

Value Run::dict(Dict entries) {
  charge(kObject + entries.entries().size() * sizeof(Dict::Entry));
  if (entries.depth() > kMostNesting) fail(fmt::format("a dict nests deeper than {} levels", kMostNesting));
  return std::shared_ptr<const Dict>(std::make_shared<Dict>(std::move(entries)));
}

Value Run::method(Value self, const MethodEntry* entry) {
  charge(kObject);
  return std::make_shared<const Method>(Method{std::move(self), entry});
}

Namespace* Run::make_namespace() {
  charge(kObject);
  return &namespaces_.emplace_back();
}
Loop* Run::make_loop() {
  charge(2 * kObject);
  return &loops_.emplace_back();
}
const Macro* Run::make_macro(const Macro& m) {
  charge(kObject);
  capture(m.scope);
  return &macros_.emplace_back(m);
}
void Run::capture(Scope* scope) {
  for (; scope && !scope->captured; scope = scope->parent) scope->captured = true;
}

Scope* Run::open_scope(Scope* parent) {
  Scope* s;
  if (free_scopes_.empty()) {
    charge(kObject);
    s = &scopes_.emplace_back();
  } else {
    s = free_scopes_.back();
    free_scopes_.pop_back();
  }
  s->parent = parent;
  return s;
}

void Run::close_scope(Scope* scope) {
  if (scope->captured) return;
  scope->variables.clear();
  free_scopes_.push_back(scope);
}

Value Run::undefined(std::string why) const { return Undefined{std::make_shared<const std::string>(std::move(why))}; }

void Builder::repeat(std::string_view s, int64_t times) {
  if (times <= 0 || s.empty()) return;
  const auto n = static_cast<size_t>(times);
  if (n > SIZE_MAX / s.size()) run_.check_size(SIZE_MAX);
  run_.check_size(out_.size() + n * s.size());
  run_.charge(n * s.size());
  for (size_t i = 0; i < n; ++i) out_ += s;
}

std::vector<const Value*> Arguments::bind(Run& run, std::string_view what, std::vector<std::string_view> names,
                                          size_t required) const {
  if (positional.size() > names.size())
    run.fail(fmt::format("{} takes at most {} argument{}, and got {}", what, names.size(), names.size() == 1 ? "" : "s",
                         positional.size()));
  std::vector<const Value*> out(names.size(), nullptr);
  for (size_t i = 0; i < positional.size(); ++i) out[i] = &positional[i];
  for (const auto& [name, value] : named) {
    const auto at = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (at == names.size()) run.fail(fmt::format("{} has no argument '{}'", what, name));
    if (out[at]) run.fail(fmt::format("{} got its argument '{}' twice", what, name));
    out[at] = &value;
  }
  for (size_t i = 0; i < required; ++i)
    if (!out[i]) run.fail(fmt::format("{} needs the argument '{}'", what, names[i]));
  return out;
}

}  // namespace cairn::text::jinja
