// The values of a template while it renders: Python's, as far as templates can tell the difference.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"

namespace cairn::text::jinja {

class Run;
class Value;
struct Sequence;
class Dict;
struct Namespace;
struct Loop;
struct Macro;
struct Function;
struct Method;

// What a missing name or member is: empty when printed, an error (`why`) when worked with.
struct Undefined {
  std::shared_ptr<const std::string> why;
};
struct None {};
// UTF-8. `markup` marks what `escape` and `safe` gave: adding it to other text escapes that text.
struct Text {
  std::shared_ptr<const std::string> bytes;
  bool markup = false;
  const std::string& view() const { return *bytes; }
};

// Containers are immutable once made, and know how deep they nest (see Run::list), so that walking one recursively is
// safe. Namespaces, loops and macros belong to the Run; values only point to them.
class Value {
 public:
  Value() = default;  // undefined, without a reason
  Value(Undefined v) : value_(std::move(v)) {}
  Value(None v) : value_(v) {}
  Value(bool v) : value_(v) {}
  Value(int v) : value_(int64_t{v}) {}
  Value(int64_t v) : value_(v) {}
  Value(double v) : value_(v) {}
  Value(Text v) : value_(std::move(v)) {}
  Value(std::shared_ptr<const Sequence> v) : value_(std::move(v)) {}
  Value(std::shared_ptr<const Dict> v) : value_(std::move(v)) {}
  Value(std::shared_ptr<const Method> v) : value_(std::move(v)) {}
  Value(Namespace* v) : value_(v) {}
  Value(Loop* v) : value_(v) {}
  Value(const Macro* v) : value_(v) {}
  Value(const Function* v) : value_(v) {}

  bool is_undefined() const { return std::holds_alternative<Undefined>(value_); }
  bool is_none() const { return std::holds_alternative<None>(value_); }
  const Undefined* as_undefined() const { return std::get_if<Undefined>(&value_); }
  const bool* as_bool() const { return std::get_if<bool>(&value_); }
  const double* as_float() const { return std::get_if<double>(&value_); }
  const Text* as_text() const { return std::get_if<Text>(&value_); }
  const Sequence* as_sequence() const { return pointed<Sequence>(); }
  const Dict* as_dict() const { return pointed<Dict>(); }
  const Method* as_method() const { return pointed<Method>(); }
  Namespace* as_namespace() const { return raw<Namespace*>(); }
  Loop* as_loop() const { return raw<Loop*>(); }
  const Macro* as_macro() const { return raw<const Macro*>(); }
  const Function* as_function() const { return raw<const Function*>(); }

  // An integer or a boolean, as Python counts with both; false when it is neither.
  bool integer(int64_t& out) const;
  // Any of integer, boolean, float.
  bool number(double& out) const;
  bool is_integer() const { return std::holds_alternative<int64_t>(value_); }
  bool is_number() const { return is_integer() || as_bool() || as_float(); }
  bool callable() const { return as_method() || as_macro() || as_function() || as_loop(); }

  // How many containers lie inside each other, this one included; 0 for the rest.
  int depth() const;
  bool truth() const;
  // Python's name of the type: "str", "dict", "NoneType".
  const char* type() const;

 private:
  template <class T>
  const T* pointed() const {
    const auto* p = std::get_if<std::shared_ptr<const T>>(&value_);
    return p ? p->get() : nullptr;
  }
  template <class P>
  P raw() const {
    const P* p = std::get_if<P>(&value_);
    return p ? *p : nullptr;
  }
  std::variant<Undefined, None, bool, int64_t, double, Text, std::shared_ptr<const Sequence>,
               std::shared_ptr<const Dict>, std::shared_ptr<const Method>, Namespace*, Loop*, const Macro*,
               const Function*>
      value_;
};

// Lists, and what behaves nearly like one. An iterator (what `map` or `select` give) is walked once, has no length and
// cannot be indexed; a view (of a dict) has a length only; a group is a pair with the names `grouper` and `list`.
struct Sequence {
  enum class Kind { kList, kTuple, kGroup, kRange, kKeys, kValues, kItems, kIterator };
  Kind kind = Kind::kList;
  std::vector<Value> items;
  int depth = 1;
  std::string label;          // how a range prints
  mutable size_t walked = 0;  // of an iterator: how many items are gone

  bool tuple() const { return kind == Kind::kTuple || kind == Kind::kGroup; }
  bool indexable() const { return kind == Kind::kList || tuple() || kind == Kind::kRange; }
};

// Keeps the order in which keys came.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;
  // Replaces the value of an equal key. The key must be hashable.
  void set(Run& run, Value key, Value value);
  const Value* find(Run& run, const Value& key) const;
  const Value* find(std::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  int depth() const { return depth_; }

 private:
  size_t slot(Run& run, const Value& key, size_t hash) const;
  void index(size_t hash, size_t at);
  std::vector<Entry> entries_;
  std::vector<uint32_t> table_;  // open addressing over entries_ (number plus one), empty while there are few
  std::vector<size_t> hashes_;
  int depth_ = 1;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> members;
  Value* find(std::string_view name);
};

// Equality and order as in Python; order fails for types that have none.
bool equal(Run& run, const Value& a, const Value& b, int depth = 0);
// a < b
bool less(Run& run, const Value& a, const Value& b, int depth = 0);
// `item in holder`
bool contains(Run& run, const Value& holder, const Value& item);
// Fails for lists and dicts.
size_t hash(Run& run, const Value& v);

// str() and repr().
std::string text_of(Run& run, const Value& v);
std::string repr_of(Run& run, const Value& v);

// The items that a loop over the value sees; uses up an iterator. Fails for what is not iterable.
std::vector<Value> items_of(Run& run, const Value& v);
// len(); false for what has none.
bool length_of(const Value& v, int64_t& out);

Value from_json(Run& run, const Json& j, int depth = 0);

struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false, lines = false;
  std::string indent, item = ", ", key = ": ";
};
std::string to_json(Run& run, const Value& v, const JsonStyle& style);

}  // namespace cairn::text::jinja
