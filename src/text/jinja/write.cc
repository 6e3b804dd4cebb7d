// str(), repr() and json.dumps() of values.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja/numbers.h"
#include "text/jinja/python_text.h"
#include "text/jinja/run.h"
#include "text/unicode.h"

namespace cairn::text::jinja {
namespace {

void repr(Builder& out, Run& run, const Value& v, int depth);

void repr_items(Builder& out, Run& run, const std::vector<Value>& items, int depth) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i) out.add(", ");
    repr(out, run, items[i], depth);
  }
}

void repr_sequence(Builder& out, Run& run, const Sequence& s, const char* type, int depth) {
  const bool view =
      s.kind == Sequence::Kind::kKeys || s.kind == Sequence::Kind::kValues || s.kind == Sequence::Kind::kItems;
  if (s.kind == Sequence::Kind::kIterator) run.fail("a generator has no text of its own; use `| list` or `| join`");
  if (s.kind == Sequence::Kind::kRange) return out.add(s.label);
  if (view) out.add(type), out.add("(");
  out.add(s.tuple() ? '(' : '[');
  repr_items(out, run, s.items, depth);
  if (s.tuple() && s.items.size() == 1) out.add(',');
  out.add(s.tuple() ? ')' : ']');
  if (view) out.add(')');
}

void repr_object(Builder& out, Run& run, const Value& v, int depth) {
  if (auto* n = v.as_namespace()) {
    out.add("<Namespace {");
    for (size_t i = 0; i < n->members.size(); ++i) {
      if (i) out.add(", ");
      out.add(quoted(n->members[i].first));
      out.add(": ");
      repr(out, run, n->members[i].second, depth);
    }
    return out.add("}>");
  }
  if (auto* l = v.as_loop()) return out.add(fmt::format("<LoopContext {}/{}>", l->at + 1, l->items.size()));
  if (auto* m = v.as_macro()) return out.add(fmt::format("<Macro '{}'>", m->name));
  run.fail("a function has no text of its own; call it with ()");
}

void repr(Builder& out, Run& run, const Value& v, int depth) {
  run.step();
  if (depth > 2 * kMostNesting) run.fail("the values nest too deeply to be written");
  int64_t i = 0;
  if (const auto* t = v.as_text()) {
    run.scan(t->view().size() * 8);
    out.add(t->markup ? fmt::format("Markup({})", quoted(t->view())) : quoted(t->view()));
  } else if (v.is_undefined()) {
    out.add("Undefined");
  } else if (v.is_none()) {
    out.add("None");
  } else if (const auto* b = v.as_bool()) {
    out.add(*b ? "True" : "False");
  } else if (v.integer(i)) {
    out.add(std::to_string(i));
  } else if (const auto* f = v.as_float()) {
    out.add(float_text(*f));
  } else if (const auto* s = v.as_sequence()) {
    repr_sequence(out, run, *s, v.type(), depth + 1);
  } else if (const auto* d = v.as_dict()) {
    out.add('{');
    for (size_t k = 0; k < d->entries().size(); ++k) {
      if (k) out.add(", ");
      repr(out, run, d->entries()[k].first, depth + 1);
      out.add(": ");
      repr(out, run, d->entries()[k].second, depth + 1);
    }
    out.add('}');
  } else {
    repr_object(out, run, v, depth + 1);
  }
}

class JsonWriter {
 public:
  JsonWriter(Run& run, const JsonStyle& style) : run_(run), style_(style), out_(run) {}
  void write(const Value& v, int depth) {
    run_.step();
    if (depth > 2 * kMostNesting) run_.fail("the values nest too deeply for tojson");
    const auto* s = v.as_sequence();
    if (const auto* t = v.as_text()) return string(t->view());
    if (const auto* d = v.as_dict()) return object(*d, depth);
    if (s && (s->kind == Sequence::Kind::kList || s->tuple())) return array(s->items, depth);
    if (const auto scalar = plain(v); !scalar.empty()) return out_.add(scalar);
    run_.fail(fmt::format("Object of type {} is not JSON serializable", v.type()));
  }
  std::string take() { return out_.take(); }

 private:
  // Numbers, booleans and null; empty for the rest.
  std::string plain(const Value& v) const {
    int64_t i = 0;
    if (v.is_none()) return "null";
    if (const auto* b = v.as_bool()) return *b ? "true" : "false";
    if (v.integer(i)) return std::to_string(i);
    const auto* f = v.as_float();
    if (!f) return {};
    if (std::isnan(*f)) return "NaN";
    return std::isinf(*f) ? (*f > 0 ? "Infinity" : "-Infinity") : float_text(*f);
  }
  void line(int depth) {
    if (!style_.lines) return;
    out_.add('\n');
    out_.repeat(style_.indent, depth);
  }
  void array(const std::vector<Value>& items, int depth) {
    out_.add('[');
    for (size_t i = 0; i < items.size(); ++i) {
      if (i) out_.add(style_.item);
      line(depth + 1);
      write(items[i], depth + 1);
    }
    if (!items.empty()) line(depth);
    out_.add(']');
  }
  void object(const Dict& d, int depth) {
    std::vector<const Dict::Entry*> entries;
    for (const auto& e : d.entries()) entries.push_back(&e);
    if (style_.sort_keys)
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto* a, const auto* b) { return less(run_, a->first, b->first); });
    out_.add('{');
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i) out_.add(style_.item);
      line(depth + 1);
      const auto& [key, value] = *entries[i];
      const std::string scalar = plain(key);
      if (const auto* t = key.as_text())
        string(t->view());
      else if (!scalar.empty())
        string(scalar);
      else
        run_.fail(fmt::format("keys of JSON are texts or numbers, not {}", key.type()));
      out_.add(style_.key);
      write(value, depth + 1);
    }
    if (!entries.empty()) line(depth);
    out_.add('}');
  }
  void string(std::string_view s) {
    run_.scan(s.size() * 4);
    out_.add('"');
    for (size_t at = 0; at < s.size();) {
      size_t end = at;  // of a run that needs no escape
      while (end < s.size() && !special(s[end])) ++end;
      out_.add(s.substr(at, end - at));
      if (end == s.size()) break;
      const CodePoint c = code_point_at(s, end);
      escape(c.value);
      at = end + c.size;
    }
    out_.add('"');
  }
  bool special(char c) const {
    const auto u = static_cast<unsigned char>(c);
    return u < 0x20 || c == '"' || c == '\\' || (style_.ensure_ascii && u >= 0x7f);
  }
  void escape(char32_t c) {
    switch (c) {
      case '"':
        return out_.add("\\\"");
      case '\\':
        return out_.add("\\\\");
      case '\n':
        return out_.add("\\n");
      case '\r':
        return out_.add("\\r");
      case '\t':
        return out_.add("\\t");
      case '\b':
        return out_.add("\\b");
      case '\f':
        return out_.add("\\f");
      default:
        break;
    }
    const auto unit = [&](uint32_t u) { out_.add(fmt::format("\\u{:04x}", u)); };
    if (c < 0x10000) return unit(c);
    unit(0xd800 + ((c - 0x10000) >> 10));
    unit(0xdc00 + ((c - 0x10000) & 0x3ff));
  }

  Run& run_;
  const JsonStyle& style_;
  Builder out_;
};

}  // namespace

std::string repr_of(Run& run, const Value& v) {
  Builder out(run);
  repr(out, run, v, 0);
  return out.take();
}

std::string text_of(Run& run, const Value& v) {
  if (const auto* t = v.as_text()) return t->view();
  return v.is_undefined() ? std::string() : repr_of(run, v);
}

std::string to_json(Run& run, const Value& v, const JsonStyle& style) {
  JsonWriter writer(run, style);
  writer.write(v, 0);
  return writer.take();
}

}  // namespace cairn::text::jinja
