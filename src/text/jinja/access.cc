// Members, indices, slices and arithmetic.
#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/library.h"
#include "text/jinja/numbers.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace cairn::text::jinja {
namespace {

std::string kind_of(const Value& v) { return v.is_none() ? "None" : std::string(v.type()) + " object"; }

Value no_attribute(Run& run, const Value& of, std::string_view name) {
  return run.undefined(fmt::format("'{}' has no attribute '{}'", kind_of(of), name));
}

// The members that are no methods; undefined when there is none of that name.
Value loop_member(Run& run, const Loop& l, std::string_view name) {
  const auto size = static_cast<int64_t>(l.items.size()), at = static_cast<int64_t>(l.at);
  if (name == "index") return at + 1;
  if (name == "index0") return at;
  if (name == "revindex") return size - at;
  if (name == "revindex0") return size - at - 1;
  if (name == "first") return at == 0;
  if (name == "last") return at + 1 >= size;
  if (name == "length") return size;
  if (name == "depth") return int64_t{l.depth0} + 1;
  if (name == "depth0") return int64_t{l.depth0};
  if (name == "previtem") return at > 0 ? l.items[l.at - 1] : run.undefined("there is no previous item");
  if (name == "nextitem") return at + 1 < size ? l.items[l.at + 1] : run.undefined("there is no next item");
  return {};
}

Value own_member(Run& run, const Value& of, std::string_view name) {
  if (auto* n = of.as_namespace()) {
    const Value* v = n->find(name);
    return v ? *v : Value();
  }
  if (const auto* l = of.as_loop())
    if (Value v = loop_member(run, *l, name); !v.is_undefined() || name == "previtem" || name == "nextitem") return v;
  const auto* s = of.as_sequence();
  if (s && s->kind == Sequence::Kind::kGroup && (name == "grouper" || name == "list"))
    return s->items[name == "grouper" ? 0 : 1];
  if (const auto* m = of.as_macro(); m && name == "name") return run.text(std::string(m->name));
  if (const auto* e = find_method(of, name)) return run.method(of, e);
  if (mutates(of, name))
    return run.undefined(fmt::format("access to attribute '{}' of '{}' object is unsafe", name, of.type()));
  return {};
}

// The place of a Python index in a sequence of that size, or -1.
int64_t place(int64_t index, int64_t size) {
  if (index < 0) index += size;
  return index >= 0 && index < size ? index : -1;
}

// The item under the key, or null where Python's [] would fail.
bool plain_item(Run& run, const Value& of, const Value& key, Value& out) {
  if (const auto* d = of.as_dict()) {
    if (key.as_dict() || (key.as_sequence() && !key.as_sequence()->tuple())) return false;  // unhashable
    const Value* v = d->find(run, key);
    return v ? (out = *v, true) : false;
  }
  int64_t index = 0;
  if (!key.integer(index)) return false;
  if (const auto* s = of.as_sequence(); s && s->indexable()) {
    const int64_t at = place(index, static_cast<int64_t>(s->items.size()));
    return at >= 0 ? (out = s->items[static_cast<size_t>(at)], true) : false;
  }
  const auto* t = of.as_text();
  if (!t) return false;
  const std::string& bytes = t->view();
  run.scan(bytes.size());
  const int64_t at = place(index, static_cast<int64_t>(length(bytes)));
  if (at < 0) return false;
  const size_t begin = offset_of(bytes, static_cast<size_t>(at));
  out = run.text(bytes.substr(begin, code_point_at(bytes, begin).size), t->markup);
  return true;
}

// Start, stop and step as Python resolves them for a sequence of that size.
struct Range {
  int64_t start, stop, step;
};
Range resolve(Run& run, const Value& start, const Value& stop, const Value& step, int64_t size) {
  const auto whole_of = [&](const Value& v, int64_t otherwise) {
    int64_t out = otherwise;
    if (!v.is_none() && !v.integer(out)) {
      run.need_defined(v);
      run.fail(fmt::format("slice indices must be integers, not {}", v.type()));
    }
    return out;
  };
  Range r{0, 0, whole_of(step, 1)};
  if (r.step == 0) run.fail("the step of a slice cannot be zero");
  r.step = std::clamp<int64_t>(r.step, -size - 1, size + 1);
  const int64_t low = r.step > 0 ? 0 : -1, high = r.step > 0 ? size : size - 1;
  const auto bound = [&](const Value& v, int64_t otherwise) {
    if (v.is_none()) return otherwise;
    const int64_t i = whole_of(v, 0);
    return std::clamp(i < 0 ? (i < -size ? low : i + size) : i, low, high);
  };
  r.start = bound(start, r.step > 0 ? low : high);
  r.stop = bound(stop, r.step > 0 ? high : low);
  return r;
}

Value repeated(Run& run, const Value& what, int64_t times) {
  if (const auto* t = what.as_text()) {
    Builder out(run);
    out.repeat(t->view(), times);
    return run.text(out.take(), t->markup);
  }
  const auto& items = what.as_sequence()->items;
  std::vector<Value> out;
  if (times > 0 && !items.empty()) {
    if (static_cast<size_t>(times) > SIZE_MAX / sizeof(Value) / items.size()) run.charge(SIZE_MAX);
    run.charge(items.size() * static_cast<size_t>(times) * sizeof(Value));
    run.step(items.size() * static_cast<size_t>(times));
    for (int64_t i = 0; i < times; ++i) out.insert(out.end(), items.begin(), items.end());
  }
  return run.list(std::move(out), what.as_sequence()->kind);
}

bool list_or_tuple(const Value& v) {
  const auto* s = v.as_sequence();
  return s && (s->kind == Sequence::Kind::kList || s->tuple());
}

Value joined(Run& run, const Value& a, const Value& b) {
  const auto *t = a.as_text(), *u = b.as_text();
  const bool markup = t->markup || u->markup;
  Builder out(run);
  out.add(markup ? escaped(run, a).as_text()->view() : t->view());
  out.add(markup ? escaped(run, b).as_text()->view() : u->view());
  return run.text(out.take(), markup);
}

}  // namespace

Value attribute(Run& run, const Value& of, std::string_view name) {
  run.need_defined(of);
  if (name.size() > 4 && name.starts_with("__") && name.ends_with("__"))
    return run.undefined(fmt::format("access to attribute '{}' of '{}' object is unsafe", name, of.type()));
  if (Value v = own_member(run, of, name); !v.is_undefined() || v.as_undefined()->why) return v;
  if (const auto* d = of.as_dict())
    if (const Value* v = d->find(name)) return *v;
  return no_attribute(run, of, name);
}

Value item(Run& run, const Value& of, const Value& key) {
  run.need_defined(of);
  Value out;
  if (plain_item(run, of, key, out)) return out;
  if (const auto* name = key.as_text()) {
    if (Value v = own_member(run, of, name->view()); !v.is_undefined() || v.as_undefined()->why) return v;
    return no_attribute(run, of, name->view());
  }
  return run.undefined(fmt::format("'{}' has no element of that key", kind_of(of)));
}

Value slice(Run& run, const Value& of, const Value& start, const Value& stop, const Value& step) {
  run.need_defined(of);
  int64_t size = 0;
  const auto* t = of.as_text();
  const auto* s = of.as_sequence();
  if (!t && !(s && s->indexable())) run.fail(fmt::format("'{}' object cannot be sliced", of.type()));
  length_of(of, size);
  const Range r = resolve(run, start, stop, step, size);
  if (!t) {
    std::vector<Value> out;
    for (int64_t i = r.start; r.step > 0 ? i < r.stop : i > r.stop; i += r.step)
      out.push_back(s->items[static_cast<size_t>(i)]);
    run.step(out.size());
    return run.list(std::move(out), s->tuple() ? Sequence::Kind::kTuple : s->kind);
  }
  const std::string& bytes = t->view();
  run.scan(2 * bytes.size());
  if (r.step == 1) {
    const size_t begin = offset_of(bytes, static_cast<size_t>(r.start));
    const size_t count = static_cast<size_t>(std::max<int64_t>(r.stop - r.start, 0));
    const size_t end = offset_of(std::string_view(bytes).substr(begin), count);
    return run.text(bytes.substr(begin, end), t->markup);
  }
  std::vector<uint32_t> starts;
  for (size_t at = 0; at < bytes.size(); at += code_point_at(bytes, at).size)
    starts.push_back(static_cast<uint32_t>(at));
  std::string out;
  for (int64_t i = r.start; r.step > 0 ? i < r.stop : i > r.stop; i += r.step) {
    const size_t at = starts[static_cast<size_t>(i)];
    out += bytes.substr(at, code_point_at(bytes, at).size);
  }
  return run.text(std::move(out), t->markup);
}

Value escaped(Run& run, const Value& v) {
  const auto* t = v.as_text();
  if (t && t->markup) return v;
  const std::string plain = text_of(run, v);
  Builder out(run);
  size_t from = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    const char c = plain[i];
    const char* name = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&#34;" : "&#39;";
    if (c != '&' && c != '<' && c != '>' && c != '"' && c != '\'') continue;
    out.add(std::string_view(plain).substr(from, i - from));
    out.add(name);
    from = i + 1;
  }
  out.add(std::string_view(plain).substr(from));
  return run.text(out.take(), true);
}

Value operate(Run& run, std::string_view op, const Value& a, const Value& b) {
  if (op == "%" && a.as_text()) return format_percent(run, *a.as_text(), b);
  run.need_defined(a);
  run.need_defined(b);
  if (a.is_number() && b.is_number()) return arithmetic(run, op, a, b);
  if (op == "+" && a.as_text() && b.as_text()) return joined(run, a, b);
  if (op == "+" && list_or_tuple(a) && list_or_tuple(b) && a.as_sequence()->tuple() == b.as_sequence()->tuple()) {
    const auto &x = a.as_sequence()->items, &y = b.as_sequence()->items;
    run.step(x.size() + y.size());
    std::vector<Value> out(x);
    out.insert(out.end(), y.begin(), y.end());
    return run.list(std::move(out), a.as_sequence()->tuple() ? Sequence::Kind::kTuple : Sequence::Kind::kList);
  }
  int64_t times = 0;
  if (op == "*" && b.integer(times) && (a.as_text() || list_or_tuple(a))) return repeated(run, a, times);
  if (op == "*" && a.integer(times) && (b.as_text() || list_or_tuple(b))) return repeated(run, b, times);
  run.fail(fmt::format("'{}' cannot take values of type '{}' and '{}'", op, a.type(), b.type()));
}

Value negate(Run& run, const Value& v) {
  run.need_defined(v);
  if (const auto* f = v.as_float()) return -*f;
  if (!v.is_number()) run.fail(fmt::format("'-' cannot take a value of type '{}'", v.type()));
  return arithmetic(run, "-", 0, v);
}

std::string_view text_argument(Run& run, const Value* v, std::string_view what, std::string_view otherwise) {
  if (!v) return otherwise;
  run.need_defined(*v);
  if (!v->as_text()) run.fail(fmt::format("{} must be a text, not {}", what, v->type()));
  return v->as_text()->view();
}

int64_t integer_argument(Run& run, const Value* v, std::string_view what, int64_t otherwise) {
  int64_t out = otherwise;
  if (!v) return out;
  run.need_defined(*v);
  if (!v->integer(out)) run.fail(fmt::format("{} must be an integer, not {}", what, v->type()));
  return out;
}

bool truth_argument(const Value* v, bool otherwise) { return v ? v->truth() : otherwise; }

}  // namespace cairn::text::jinja
