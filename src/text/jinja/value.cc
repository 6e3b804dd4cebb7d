#include "text/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "text/jinja/run.h"
#include "text/unicode.h"

namespace cairn::text::jinja {
namespace {

constexpr size_t kFew = 8;  // entries of a dict that are searched one by one

void check_depth(Run& run, int depth) {
  if (depth > 2 * kMostNesting) run.fail("the values nest too deeply");
}

template <class F>
bool same_items(const std::vector<Value>& a, const std::vector<Value>& b, F&& same) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!same(a[i], b[i])) return false;
  return true;
}

bool equal_dicts(Run& run, const Dict& a, const Dict& b, int depth) {
  if (a.entries().size() != b.entries().size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(run, key);
    if (!other || !equal(run, value, *other, depth)) return false;
  }
  return true;
}

// Python compares integers with floats exactly; a double stands for every integer up to 2^53, and order within the
// rounding of larger ones is given up.
bool equal_numbers(const Value& a, const Value& b) {
  int64_t i = 0, j = 0;
  if (a.integer(i) && b.integer(j)) return i == j;
  double x = 0, y = 0;
  return a.number(x) && b.number(y) && x == y;
}

}  // namespace

bool Value::integer(int64_t& out) const {
  if (const auto* i = std::get_if<int64_t>(&value_)) return out = *i, true;
  if (const auto* b = as_bool()) return out = *b, true;
  return false;
}

bool Value::number(double& out) const {
  if (const auto* d = as_float()) return out = *d, true;
  int64_t i = 0;
  return integer(i) ? (out = static_cast<double>(i), true) : false;
}

int Value::depth() const {
  if (const auto* s = as_sequence()) return s->depth;
  if (const auto* d = as_dict()) return d->depth();
  if (const auto* m = as_method()) return 1 + m->self.depth();
  return 0;
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (const auto* t = as_text()) return !t->view().empty();
  if (const auto* s = as_sequence()) return s->kind == Sequence::Kind::kIterator || !s->items.empty();
  if (const auto* d = as_dict()) return !d->entries().empty();
  double n = 0;
  if (number(n)) return n != 0;
  return true;
}

const char* Value::type() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (as_bool()) return "bool";
  if (is_integer()) return "int";
  if (as_float()) return "float";
  if (as_text()) return "str";
  if (as_dict()) return "dict";
  if (as_namespace()) return "Namespace";
  if (as_loop()) return "LoopContext";
  if (as_macro()) return "Macro";
  if (!as_sequence()) return "function";
  switch (as_sequence()->kind) {
    case Sequence::Kind::kList:
      return "list";
    case Sequence::Kind::kTuple:
    case Sequence::Kind::kGroup:
      return "tuple";
    case Sequence::Kind::kRange:
      return "range";
    case Sequence::Kind::kKeys:
      return "dict_keys";
    case Sequence::Kind::kValues:
      return "dict_values";
    case Sequence::Kind::kItems:
      return "dict_items";
    case Sequence::Kind::kIterator:
      break;
  }
  return "generator";
}

Value* Namespace::find(std::string_view name) {
  for (auto& [n, v] : members)
    if (n == name) return &v;
  return nullptr;
}

// The place of the key in entries_, or their number.
size_t Dict::slot(Run& run, const Value& key, size_t h) const {
  if (table_.empty()) {
    for (size_t i = 0; i < entries_.size(); ++i)
      if (hashes_[i] == h && equal(run, entries_[i].first, key)) return i;
    return entries_.size();
  }
  const size_t mask = table_.size() - 1;
  for (size_t at = h & mask; table_[at]; at = (at + 1) & mask) {
    const size_t i = table_[at] - 1;
    if (hashes_[i] == h && equal(run, entries_[i].first, key)) return i;
    run.step();
  }
  return entries_.size();
}

void Dict::index(size_t h, size_t at) {
  const size_t mask = table_.size() - 1;
  size_t to = h & mask;
  while (table_[to]) to = (to + 1) & mask;
  table_[to] = static_cast<uint32_t>(at + 1);
}

void Dict::set(Run& run, Value key, Value value) {
  const size_t h = hash(run, key);
  depth_ = std::max({depth_, key.depth() + 1, value.depth() + 1});
  const size_t at = slot(run, key, h);
  if (at < entries_.size()) {
    entries_[at].second = std::move(value);
    return;
  }
  run.charge(sizeof(Entry));
  entries_.emplace_back(std::move(key), std::move(value));
  hashes_.push_back(h);
  if (!table_.empty() && table_.size() >= 2 * entries_.size()) return index(h, at);
  if (entries_.size() <= kFew) return;
  table_.assign(table_.empty() ? 4 * kFew : 2 * table_.size(), 0);
  for (size_t i = 0; i < hashes_.size(); ++i) index(hashes_[i], i);
}

const Value* Dict::find(Run& run, const Value& key) const {
  const size_t at = slot(run, key, hash(run, key));
  return at < entries_.size() ? &entries_[at].second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  const size_t h = std::hash<std::string_view>()(key);
  const auto is = [&](size_t i) {
    const Text* t = hashes_[i] == h ? entries_[i].first.as_text() : nullptr;
    return t && t->view() == key;
  };
  if (table_.empty()) {
    for (size_t i = 0; i < entries_.size(); ++i)
      if (is(i)) return &entries_[i].second;
    return nullptr;
  }
  const size_t mask = table_.size() - 1;
  for (size_t at = h & mask; table_[at]; at = (at + 1) & mask)
    if (is(table_[at] - 1)) return &entries_[table_[at] - 1].second;
  return nullptr;
}

size_t hash(Run& run, const Value& v) {
  if (const auto* t = v.as_text()) return run.scan(t->view().size()), std::hash<std::string_view>()(t->view());
  double n = 0;
  if (v.number(n)) return std::hash<double>()(n);
  if (const auto* s = v.as_sequence()) {
    if (s->kind == Sequence::Kind::kList || s->kind == Sequence::Kind::kKeys || s->kind == Sequence::Kind::kItems)
      run.fail(fmt::format("unhashable type: '{}'", v.type()));
    if (!s->tuple()) return std::hash<const void*>()(s);
    size_t h = 7;
    for (const Value& item : s->items) run.step(), h = h * 1000003 ^ hash(run, item);
    return h;
  }
  if (v.as_dict()) run.fail("unhashable type: 'dict'");
  if (auto* p = v.as_namespace()) return std::hash<const void*>()(p);
  if (auto* p = v.as_macro()) return std::hash<const void*>()(p);
  return v.is_none() ? 1 : 2;
}

bool equal(Run& run, const Value& a, const Value& b, int depth) {
  run.step();
  check_depth(run, depth);
  if (const auto* t = a.as_text()) {
    const auto* u = b.as_text();
    if (!u || t->view().size() != u->view().size()) return false;
    run.scan(t->view().size());
    return t->view() == u->view();
  }
  if (a.is_undefined() || a.is_none()) return a.is_none() ? b.is_none() : b.is_undefined();
  if (a.is_number()) return equal_numbers(a, b);
  if (const auto* s = a.as_sequence()) {
    const auto* o = b.as_sequence();
    if (!o) return false;
    if (s == o) return true;
    if (s->tuple() ? !o->tuple() : s->kind != o->kind) return false;
    if (s->kind == Sequence::Kind::kIterator || s->kind == Sequence::Kind::kValues) return false;
    return same_items(s->items, o->items, [&](const auto& x, const auto& y) { return equal(run, x, y, depth + 1); });
  }
  if (const auto* d = a.as_dict())
    return b.as_dict() && (d == b.as_dict() || equal_dicts(run, *d, *b.as_dict(), depth + 1));
  if (a.as_namespace()) return a.as_namespace() == b.as_namespace();
  if (a.as_loop()) return a.as_loop() == b.as_loop();
  if (a.as_macro()) return a.as_macro() == b.as_macro();
  if (a.as_function()) return a.as_function() == b.as_function();
  const auto *m = a.as_method(), *n = b.as_method();
  return m && n && m->entry == n->entry && equal(run, m->self, n->self, depth + 1);
}

bool less(Run& run, const Value& a, const Value& b, int depth) {
  run.step();
  check_depth(run, depth);
  run.need_defined(a);
  run.need_defined(b);
  if (a.is_number() && b.is_number()) {
    int64_t i = 0, j = 0;
    if (a.integer(i) && b.integer(j)) return i < j;
    double x = 0, y = 0;
    return a.number(x) && b.number(y) && x < y;
  }
  if (a.as_text() && b.as_text()) {
    run.scan(std::min(a.as_text()->view().size(), b.as_text()->view().size()));
    return a.as_text()->view() < b.as_text()->view();  // bytes of UTF-8 are in the order of code points
  }
  const auto *s = a.as_sequence(), *t = b.as_sequence();
  if (s && t && ((s->tuple() && t->tuple()) || (s->kind == Sequence::Kind::kList && t->kind == s->kind))) {
    for (size_t i = 0; i < s->items.size() && i < t->items.size(); ++i)
      if (!equal(run, s->items[i], t->items[i], depth + 1)) return less(run, s->items[i], t->items[i], depth + 1);
    return s->items.size() < t->items.size();
  }
  run.fail(fmt::format("values of type '{}' and '{}' have no order", a.type(), b.type()));
}

bool contains(Run& run, const Value& holder, const Value& item) {
  if (const auto* t = holder.as_text()) {
    const auto* part = item.as_text();
    if (!part) run.fail(fmt::format("'in' a text looks for a text, not for {}", item.type()));
    run.scan(t->view().size() + part->view().size());
    return t->view().find(part->view()) != std::string::npos;
  }
  if (const auto* d = holder.as_dict()) return d->find(run, item) != nullptr;
  if (const auto* s = holder.as_sequence()) {
    for (size_t& i = s->walked; s->kind == Sequence::Kind::kIterator && i < s->items.size();)
      if (equal(run, s->items[i++], item)) return true;
    if (s->kind == Sequence::Kind::kIterator) return false;
    return std::any_of(s->items.begin(), s->items.end(), [&](const Value& v) { return equal(run, v, item); });
  }
  for (const Value& v : items_of(run, holder))
    if (equal(run, v, item)) return true;
  return false;
}

std::vector<Value> items_of(Run& run, const Value& v) {
  if (v.is_undefined()) return {};
  std::vector<Value> out;
  if (const auto* s = v.as_sequence()) {
    run.step(s->items.size());
    if (s->kind != Sequence::Kind::kIterator) return s->items;
    out.assign(s->items.begin() + static_cast<std::ptrdiff_t>(s->walked), s->items.end());
    s->walked = s->items.size();
  } else if (const auto* d = v.as_dict()) {
    run.step(d->entries().size());
    for (const auto& e : d->entries()) out.push_back(e.first);
  } else if (const auto* t = v.as_text()) {
    const std::string& bytes = t->view();
    run.step(bytes.size());
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = code_point_at(bytes, at).size;
      out.push_back(run.text(bytes.substr(at, size)));
      at += size;
    }
  } else if (const auto* l = v.as_loop()) {
    run.fail(fmt::format("'{}' object is not iterable here; loop over the sequence itself", l ? "LoopContext" : ""));
  } else {
    run.fail(fmt::format("'{}' object is not iterable", v.type()));
  }
  return out;
}

bool length_of(const Value& v, int64_t& out) {
  if (const auto* t = v.as_text()) {
    out = std::count_if(t->view().begin(), t->view().end(), [](char c) { return (c & 0xc0) != 0x80; });
  } else if (const auto* s = v.as_sequence()) {
    if (s->kind == Sequence::Kind::kIterator) return false;
    out = static_cast<int64_t>(s->items.size());
  } else if (const auto* d = v.as_dict()) {
    out = static_cast<int64_t>(d->entries().size());
  } else if (const auto* l = v.as_loop()) {
    out = static_cast<int64_t>(l->items.size());
  } else {
    out = 0;
    return v.is_undefined();
  }
  return true;
}

Value from_json(Run& run, const Json& j, int depth) {
  run.step();
  if (depth > kMostNesting - 4) run.fail(fmt::format("the input nests deeper than {} levels", kMostNesting - 4));
  if (const auto* b = j.as_bool()) return *b;
  if (const auto* i = j.as_int()) return *i;
  if (j.is_number()) return j.number();
  if (const auto* s = j.as_string()) {
    if (invalid_utf8_at(*s) != std::string_view::npos) run.fail("a text of the input is not valid UTF-8");
    return run.text(*s);
  }
  if (const auto* a = j.as_array()) {
    std::vector<Value> items;
    items.reserve(a->size());
    for (const Json& item : *a) items.push_back(from_json(run, item, depth + 1));
    return run.list(std::move(items));
  }
  if (const auto* o = j.as_object()) {
    Dict d;
    for (const auto& [key, value] : *o) {
      if (invalid_utf8_at(key) != std::string_view::npos) run.fail("a key of the input is not valid UTF-8");
      d.set(run, run.text(key), from_json(run, value, depth + 1));
    }
    return run.dict(std::move(d));
  }
  return None{};
}

}  // namespace cairn::text::jinja
