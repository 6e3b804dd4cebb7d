// Filters on lists and dicts.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "text/jinja/filters.h"
#include "text/jinja/python_text.h"

namespace cairn::text::jinja {
namespace {

using Items = std::vector<Value>;
using Kind = Sequence::Kind;

Value iterator(Run& run, Items items) { return run.list(std::move(items), Kind::kIterator); }

// Looks up "a.b.0" in an item, as the argument `attribute` of many filters asks.
class Path {
 public:
  Path(Run& run, const Value* path, const Value* otherwise = nullptr) : otherwise_(otherwise) {
    if (!path || path->is_none()) return;
    run.need_defined(*path);
    const auto* t = path->as_text();
    if (!t) keys_.push_back(*path);
    if (!t) return;
    for (const auto part : split(t->view(), ".", -1)) {
      const bool number = !part.empty() && part.size() < 18 && part.find_first_not_of("0123456789") == part.npos;
      keys_.push_back(number ? Value(int64_t{std::stoll(std::string(part))}) : run.text(std::string(part)));
    }
  }
  Value operator()(Run& run, Value v) const {
    run.step();
    for (const Value& key : keys_) {
      v = item(run, v, key);
      if (v.is_undefined() && otherwise_ && !otherwise_->is_none()) v = *otherwise_;
    }
    return v;
  }

 private:
  Items keys_;
  const Value* otherwise_;
};

Value folded(Run& run, const Value& v, bool case_sensitive) {
  const auto* t = v.as_text();
  if (!t || case_sensitive) return v;
  run.scan(t->view().size() * 4);
  return run.text(lower(t->view()));
}

struct Keyed {
  Value key, value;
};
void sort_by_key(Run& run, std::vector<Keyed>& v, bool reverse) {
  std::stable_sort(v.begin(), v.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? less(run, b.key, a.key) : less(run, a.key, b.key);
  });
}

Value length_filter(Run& run, const Value& v, const Arguments&) {
  int64_t n = 0;
  if (const auto* t = v.as_text()) run.scan(t->view().size());
  if (!length_of(v, n))
    run.fail(fmt::format("'{}' has no length{}", v.type(), v.as_sequence() ? "; use `| list`" : ""));
  return n;
}

Value list_filter(Run& run, const Value& v, const Arguments&) { return run.list(items_of(run, v)); }

Value first_filter(Run& run, const Value& v, const Arguments&) {
  if (const auto* s = v.as_sequence(); s && s->kind == Kind::kIterator && s->walked < s->items.size())
    return s->items[s->walked++];
  const Items items = items_of(run, v);
  return items.empty() ? run.undefined("No first item, sequence was empty.") : items.front();
}

Value last_filter(Run& run, const Value& v, const Arguments&) {
  if (const auto* s = v.as_sequence(); s && s->kind == Kind::kIterator)
    run.fail("a generator has no last item; use `| list | last`");
  const Items items = items_of(run, v);
  return items.empty() ? run.undefined("No last item, sequence was empty.") : items.back();
}

Value reverse_filter(Run& run, const Value& v, const Arguments&) {
  if (v.as_text()) return slice(run, v, None{}, None{}, -1);
  const auto* s = v.as_sequence();
  const bool walked_once = s && s->kind == Kind::kIterator;
  Items items = items_of(run, v);
  std::reverse(items.begin(), items.end());
  return walked_once ? run.list(std::move(items)) : iterator(run, std::move(items));
}

Value join_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'join'", {"d", "attribute"});
  const std::string between = given[0] ? text_of(run, *given[0]) : "";
  const Path path(run, given[1]);
  Builder out(run);
  bool first = true;
  for (const Value& i : items_of(run, v)) {
    if (!first) out.add(between);
    out.add(text_of(run, path(run, i)));
    first = false;
  }
  return run.text(out.take());
}

Value default_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'default'", {"default_value", "boolean"});
  if (!v.is_undefined() && !(truth_argument(given[1]) && !v.truth())) return v;
  return given[0] ? *given[0] : run.text("");
}

Value items_filter(Run& run, const Value& v, const Arguments&) {
  if (v.is_undefined()) return iterator(run, {});
  if (!v.as_dict()) run.fail(fmt::format("the filter 'items' needs a dict, not {}", v.type()));
  Items out;
  for (const auto& [key, value] : v.as_dict()->entries())
    run.step(), out.push_back(run.list({key, value}, Kind::kTuple));
  return iterator(run, std::move(out));
}

Value dictsort_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'dictsort'", {"case_sensitive", "by", "reverse"});
  run.need_defined(v);
  if (!v.as_dict()) run.fail(fmt::format("the filter 'dictsort' needs a dict, not {}", v.type()));
  const std::string_view by = text_argument(run, given[1], "the argument 'by'", "key");
  if (by != "key" && by != "value") run.fail("dictsort sorts by 'key' or by 'value'");
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : v.as_dict()->entries())
    keyed.push_back(
        {folded(run, by == "key" ? key : value, truth_argument(given[0])), run.list({key, value}, Kind::kTuple)});
  sort_by_key(run, keyed, truth_argument(given[2]));
  Items out;
  for (auto& k : keyed) out.push_back(std::move(k.value));
  return run.list(std::move(out));
}

Value sort_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'sort'", {"reverse", "case_sensitive", "attribute"});
  std::vector<Path> paths;
  Items names;  // of "a,b", which the paths read
  if (given[2] && given[2]->as_text())
    for (const auto part : split(given[2]->as_text()->view(), ",", -1)) names.push_back(run.text(std::string(part)));
  for (const Value& name : names) paths.emplace_back(run, &name);
  if (paths.empty()) paths.emplace_back(run, given[2]);
  std::vector<Keyed> keyed;
  for (const Value& i : items_of(run, v)) {
    Items keys;
    for (const Path& path : paths) keys.push_back(folded(run, path(run, i), truth_argument(given[1])));
    keyed.push_back({run.list(std::move(keys)), i});
  }
  sort_by_key(run, keyed, truth_argument(given[0]));
  Items out;
  for (auto& k : keyed) out.push_back(std::move(k.value));
  return run.list(std::move(out));
}

Value unique_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'unique'", {"case_sensitive", "attribute"});
  const Path path(run, given[1]);
  Dict seen;
  Items out;
  for (const Value& i : items_of(run, v)) {
    const Value key = folded(run, path(run, i), truth_argument(given[0]));
    if (seen.find(run, key)) continue;
    seen.set(run, key, None{});
    out.push_back(i);
  }
  return iterator(run, std::move(out));
}

Value extreme(Run& run, const Value& v, const Arguments& a, bool largest) {
  const auto given = a.bind(run, largest ? "the filter 'max'" : "the filter 'min'", {"case_sensitive", "attribute"});
  const Path path(run, given[1]);
  Value best = run.undefined("No aggregated item, sequence was empty."), best_key;
  bool first = true;
  for (const Value& i : items_of(run, v)) {
    const Value key = folded(run, path(run, i), truth_argument(given[0]));
    if (first || (largest ? less(run, best_key, key) : less(run, key, best_key))) best = i, best_key = key;
    first = false;
  }
  return best;
}
Value min_filter(Run& run, const Value& v, const Arguments& a) { return extreme(run, v, a, false); }
Value max_filter(Run& run, const Value& v, const Arguments& a) { return extreme(run, v, a, true); }

Value sum_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'sum'", {"attribute", "start"});
  const Path path(run, given[0]);
  Value total = given[1] ? *given[1] : Value(0);
  for (const Value& i : items_of(run, v)) total = operate(run, "+", total, path(run, i));
  return total;
}

Value groupby_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'groupby'", {"attribute", "default", "case_sensitive"}, 1);
  const Path path(run, given[0], given[1]);
  std::vector<Keyed> keyed;
  for (const Value& i : items_of(run, v)) keyed.push_back({folded(run, path(run, i), truth_argument(given[2])), i});
  sort_by_key(run, keyed, false);
  Items out;
  for (size_t i = 0; i < keyed.size();) {
    Items group;
    const Value key = keyed[i].key;
    for (; i < keyed.size() && equal(run, keyed[i].key, key); ++i) group.push_back(keyed[i].value);
    if (group.empty()) group.push_back(keyed[i++].value);  // a key that does not equal itself
    const Value name = path(run, group[0]);
    out.push_back(run.list({name, run.list(std::move(group))}, Kind::kGroup));
  }
  return run.list(std::move(out));
}

Value batch_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'batch'", {"linecount", "fill_with"}, 1);
  const int64_t size = integer_argument(run, given[0], "the size of batch", 0);
  Items out, line;
  const Items items = items_of(run, v);
  for (const Value& i : items) {
    if (static_cast<int64_t>(line.size()) == size) out.push_back(run.list(std::exchange(line, {})));
    line.push_back(i);
  }
  if (!line.empty()) {
    while (given[1] && !given[1]->is_none() && static_cast<int64_t>(line.size()) < size)
      run.charge(sizeof(Value)), line.push_back(*given[1]);
    out.push_back(run.list(std::move(line)));
  }
  return iterator(run, std::move(out));
}

Value slice_filter(Run& run, const Value& v, const Arguments& a) {
  const auto given = a.bind(run, "the filter 'slice'", {"slices", "fill_with"}, 1);
  const int64_t slices = integer_argument(run, given[0], "the number of slices", 0);
  if (slices <= 0) run.fail("the filter 'slice' needs at least one slice");
  const Items items = items_of(run, v);
  const int64_t each = static_cast<int64_t>(items.size()) / slices, extra = static_cast<int64_t>(items.size()) % slices;
  Items out;
  auto from = items.begin();
  for (int64_t i = 0; i < slices; ++i) {
    run.step();
    const auto to = from + each + (i < extra ? 1 : 0);
    Items part(from, to);
    if (given[1] && !given[1]->is_none() && i >= extra) part.push_back(*given[1]);
    out.push_back(run.list(std::move(part)));
    from = to;
  }
  return iterator(run, std::move(out));
}

// The name in front of the arguments, taken off them.
std::string take_name(Run& run, Arguments& a, std::string_view what) {
  const std::string name(text_argument(run, &a.positional[0], what, {}));
  a.positional.erase(a.positional.begin());
  return name;
}

Value map_filter(Run& run, const Value& v, const Arguments& given) {
  Arguments a = given;
  Items out;
  if (!v.truth()) return iterator(run, {});
  if (a.positional.empty()) {
    const auto named = a.bind(run, "the filter 'map'", {"attribute", "default"}, 1);
    const Path path(run, named[0], named[1]);
    for (const Value& i : items_of(run, v)) out.push_back(path(run, i));
    return iterator(run, std::move(out));
  }
  const std::string name = take_name(run, a, "the filter for map");
  const FilterEntry* filter = find_filter(name);
  if (!filter) run.fail(fmt::format("unknown filter '{}'{}", name, offer_filter(name)), Code::kUnsupported);
  const Run::Level level(run);  // map('map', 'map', ...) nests
  for (const Value& i : items_of(run, v)) run.step(), out.push_back(filter->apply(run, i, a));
  return iterator(run, std::move(out));
}

Value chosen(Run& run, const Value& v, const Arguments& given, bool wanted, bool by_attribute) {
  if (!v.truth()) return iterator(run, {});
  Arguments a = given;
  Value name_of_path = None{};
  if (by_attribute) {
    if (a.positional.empty()) run.fail("selectattr and rejectattr need the name of an attribute");
    name_of_path = a.positional[0];
    a.positional.erase(a.positional.begin());
  }
  const Path path(run, &name_of_path);
  const TestEntry* test = nullptr;
  if (!a.positional.empty()) {
    const std::string name = take_name(run, a, "the test to choose by");
    test = find_test(name);
    if (!test) run.fail(fmt::format("unknown test '{}'{}", name, offer_test(name)), Code::kUnsupported);
  }
  Items out;
  for (const Value& i : items_of(run, v)) {
    const Value looked_at = path(run, i);
    if ((test ? test->holds(run, looked_at, a) : looked_at.truth()) == wanted) out.push_back(i);
  }
  return iterator(run, std::move(out));
}
Value select_filter(Run& run, const Value& v, const Arguments& a) { return chosen(run, v, a, true, false); }
Value reject_filter(Run& run, const Value& v, const Arguments& a) { return chosen(run, v, a, false, false); }
Value selectattr_filter(Run& run, const Value& v, const Arguments& a) { return chosen(run, v, a, true, true); }
Value rejectattr_filter(Run& run, const Value& v, const Arguments& a) { return chosen(run, v, a, false, true); }

constexpr FilterEntry kFilters[] = {{"batch", batch_filter},
                                    {"count", length_filter},
                                    {"d", default_filter},
                                    {"default", default_filter},
                                    {"dictsort", dictsort_filter},
                                    {"first", first_filter},
                                    {"groupby", groupby_filter},
                                    {"items", items_filter},
                                    {"join", join_filter},
                                    {"last", last_filter},
                                    {"length", length_filter},
                                    {"list", list_filter},
                                    {"map", map_filter},
                                    {"max", max_filter},
                                    {"min", min_filter},
                                    {"reject", reject_filter},
                                    {"rejectattr", rejectattr_filter},
                                    {"reverse", reverse_filter},
                                    {"select", select_filter},
                                    {"selectattr", selectattr_filter},
                                    {"slice", slice_filter},
                                    {"sort", sort_filter},
                                    {"sum", sum_filter},
                                    {"unique", unique_filter}};

}  // namespace

std::span<const FilterEntry> list_filters() { return kFilters; }

const FilterEntry* find_filter(std::string_view name) {
  for (const auto table : {text_filters(), list_filters()})
    for (const FilterEntry& e : table)
      if (e.name == name) return &e;
  return nullptr;
}

std::string offer_filter(std::string_view name) {
  std::vector<std::string> names;
  for (const auto table : {text_filters(), list_filters()})
    for (const FilterEntry& e : table) names.emplace_back(e.name);
  return did_you_mean(name, names);
}

}  // namespace cairn::text::jinja
