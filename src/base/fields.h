// One description per option. A struct names its members once, with help and bounds,
//
//   struct Shape {
//     int64_t heads = 0;
//     std::optional<double> scale;
//     void fields(auto& f) { f("heads", heads, "attention heads", required().between(1, 1024))("scale", scale, "softmax
//     scale"); }
//   };
//
// and visitors do the rest: read() from JSON or YAML, write() back, list() for --help, flags and the docs.
// Members: bool, int64_t, double, std::string, std::optional and std::vector of those, and structs with fields.
#pragma once
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace cairn {

// What a value must satisfy, and the other names it goes by.
struct Rule {
  double least = -std::numeric_limits<double>::infinity(), most = std::numeric_limits<double>::infinity();
  std::vector<std::string> choices, names;  // names: aliases
  bool needed = false;

  Rule&& between(double a, double b) && { return least = a, most = b, std::move(*this); }
  Rule&& at_least(double a) && { return least = a, std::move(*this); }
  Rule&& one_of(std::vector<std::string> c) && { return choices = std::move(c), std::move(*this); }
  Rule&& alias(std::vector<std::string> n) && { return names = std::move(n), std::move(*this); }
};
inline Rule required() {
  Rule r;
  r.needed = true;
  return r;
}
inline Rule between(double a, double b) { return Rule{}.between(a, b); }
inline Rule at_least(double a) { return Rule{}.at_least(a); }
inline Rule one_of(std::vector<std::string> c) { return Rule{}.one_of(std::move(c)); }
inline Rule alias(std::vector<std::string> n) { return Rule{}.alias(std::move(n)); }

enum class Unknown { kReject, kIgnore };  // what read() does with a key that no field has

namespace detail {

// Accepts any visitor call; exists so that the concept below can name a visitor.
struct Probe {
  template <class T>
  Probe& operator()(std::string_view, T&, std::string_view = "", const Rule& = {}) {
    return *this;
  }
};

template <class T>
concept Struct = requires(T t, Probe& p) {
  t.fields(p);
};

Result<bool> to_bool(const Json& j);
Result<int64_t> to_int(const Json& j);
Result<double> to_double(const Json& j);
Result<std::string> to_string(const Json& j);
Result<void> obeys(const Rule& rule, double v);
Result<void> obeys(const Rule& rule, const std::string& v);

}  // namespace detail

// JSON -> struct. Collects the first error, which names the path of the value ("transformer.num_layers").
class FieldReader {
 public:
  FieldReader(const Json& from, std::string where, Unknown unknown)
      : from_(from), where_(std::move(where)), unknown_(unknown) {
    if (!from.as_object())
      fail(where_.empty() ? "value" : where_, std::string("expected an object, got ") + from.kind());
  }

  template <class T>
  FieldReader& operator()(std::string_view name, T& value, std::string_view = "", const Rule& rule = {}) {
    const Json* j = take(name);
    for (size_t i = 0; !j && i < rule.names.size(); ++i) j = take(rule.names[i]);
    for (const auto& other : rule.names) known_.push_back(other);
    if (error_) return *this;
    if (j && !j->is_null()) {
      if (auto ok = assign(value, *j, rule, path(name)); !ok) error_ = std::move(ok).error();
    } else if (rule.needed) {
      fail(path(name), "is missing");
    } else if constexpr (requires { value.reset(); }) {
      if (j) value.reset();
    }
    return *this;
  }

  Result<void> finish();

 private:
  const Json* take(std::string_view name);
  std::string path(std::string_view name) const {
    return where_.empty() ? std::string(name) : where_ + "." + std::string(name);
  }
  void fail(const std::string& at, const std::string& what) {
    if (!error_) error_ = Error{Code::kInvalidArgument, at + ": " + what};
  }

  template <class T>
  Result<void> scalar(T& value, Result<T> got, const Rule& rule, const std::string& at) {
    if (!got) return tl::unexpected(within(at, std::move(got).error()));
    if constexpr (std::is_same_v<T, std::string>) {
      if (auto ok = detail::obeys(rule, *got); !ok) return tl::unexpected(within(at, std::move(ok).error()));
    } else if constexpr (!std::is_same_v<T, bool>) {
      if (auto ok = detail::obeys(rule, static_cast<double>(*got)); !ok)
        return tl::unexpected(within(at, std::move(ok).error()));
    }
    value = *std::move(got);
    return {};
  }
  Result<void> assign(bool& v, const Json& j, const Rule& r, const std::string& at) {
    return scalar(v, detail::to_bool(j), r, at);
  }
  Result<void> assign(int64_t& v, const Json& j, const Rule& r, const std::string& at) {
    return scalar(v, detail::to_int(j), r, at);
  }
  Result<void> assign(double& v, const Json& j, const Rule& r, const std::string& at) {
    return scalar(v, detail::to_double(j), r, at);
  }
  Result<void> assign(std::string& v, const Json& j, const Rule& r, const std::string& at) {
    return scalar(v, detail::to_string(j), r, at);
  }
  Result<void> assign(Json& v, const Json& j, const Rule&, const std::string&) { return v = j, Result<void>{}; }
  template <class T>
  Result<void> assign(std::optional<T>& v, const Json& j, const Rule& r, const std::string& at) {
    T inner{};
    TRY_VOID(assign(inner, j, r, at));
    v = std::move(inner);
    return {};
  }
  template <class T>
  Result<void> assign(std::vector<T>& v, const Json& j, const Rule& r, const std::string& at) {
    const auto* a = j.as_array();
    if (!a) return invalid(at + ": expected a list, got " + j.kind());
    std::vector<T> out(a->size());
    for (size_t i = 0; i < a->size(); ++i) TRY_VOID(assign(out[i], (*a)[i], r, at + "[" + std::to_string(i) + "]"));
    v = std::move(out);
    return {};
  }
  template <detail::Struct T>
  Result<void> assign(T& v, const Json& j, const Rule&, const std::string& at) {
    FieldReader inner(j, at, unknown_);
    v.fields(inner);
    return inner.finish();
  }

  const Json& from_;
  std::string where_;
  Unknown unknown_;
  std::vector<std::string> known_;
  std::optional<Error> error_;
};

// Overwrites the fields of `into` that the object has. `where` prefixes errors.
template <detail::Struct T>
Result<void> read_into(T& into, const Json& from, const std::string& where = "", Unknown unknown = Unknown::kReject) {
  FieldReader reader(from, where, unknown);
  into.fields(reader);
  return reader.finish();
}

template <detail::Struct T>
Result<T> read(const Json& from, const std::string& where = "", Unknown unknown = Unknown::kReject) {
  T out{};
  TRY_VOID(read_into(out, from, where, unknown));
  return out;
}

// Struct -> JSON; empty optionals are left out.
class FieldWriter {
 public:
  template <class T>
  FieldWriter& operator()(std::string_view name, T& value, std::string_view = "", const Rule& = {}) {
    put(name, value);
    return *this;
  }
  Json out = Json(Json::Object{});

 private:
  template <class T>
  static Json json(T& v) {
    if constexpr (detail::Struct<T>) {
      FieldWriter w;
      v.fields(w);
      return std::move(w.out);
    } else {
      return Json(v);
    }
  }
  template <class T>
  void put(std::string_view name, T& v) {
    out.set(name, json(v));
  }
  template <class T>
  void put(std::string_view name, std::optional<T>& v) {
    if (v) put(name, *v);
  }
  template <class T>
  void put(std::string_view name, std::vector<T>& v) {
    Json::Array a;
    for (T x : v) a.push_back(json(x));
    out.set(name, std::move(a));
  }
};

template <detail::Struct T>
Json write(T value) {
  FieldWriter w;
  value.fields(w);
  return std::move(w.out);
}

// The name, help, rule and default of every field: what --help and the tables in docs/ print.
struct FieldInfo {
  std::string name, help, type, fallback;
  Rule rule;
};

class FieldLister {
 public:
  template <class T>
  FieldLister& operator()(std::string_view name, T& value, std::string_view help = "", const Rule& rule = {}) {
    FieldWriter w;
    w(name, value);
    const Json* v = w.out.find(name);
    out.push_back({std::string(name), std::string(help), type(value), v ? v->dump() : "null", rule});
    return *this;
  }
  std::vector<FieldInfo> out;

 private:
  static std::string type(bool) { return "bool"; }
  static std::string type(int64_t) { return "int"; }
  static std::string type(double) { return "float"; }
  static std::string type(const std::string&) { return "string"; }
  static std::string type(const Json&) { return "any"; }
  template <class T>
  static std::string type(const std::optional<T>&) {
    return type(T{});
  }
  template <class T>
  static std::string type(const std::vector<T>&) {
    return "list of " + type(T{});
  }
  template <detail::Struct T>
  static std::string type(const T&) {
    return "object";
  }
};

template <detail::Struct T>
std::vector<FieldInfo> list_fields() {
  T value{};
  FieldLister l;
  value.fields(l);
  return std::move(l.out);
}

}  // namespace cairn
