#include <fmt/format.h>

#include "text/jinja/interpreter.h"

namespace cairn::text::jinja {
using Is = Expression::Kind;

Value Interpreter::evaluate(const Expression& e) {
  const Run::Level level(run_);
  run_.step();
  run_.at(e.where);
  switch (e.kind) {
    case Is::kConstant:
      return e.constant;
    case Is::kName:
      return name(e);
    case Is::kList:
    case Is::kTuple:
      return sequence(e);
    case Is::kDict:
      return dict(e);
    case Is::kAttribute: {
      const Value of = evaluate(*e.kids[0]);
      run_.at(e.where);
      return attribute(run_, of, e.text);
    }
    case Is::kItem: {
      const Value of = evaluate(*e.kids[0]), key = evaluate(*e.kids[1]);
      run_.at(e.where);
      return item(run_, of, key);
    }
    case Is::kSlice:
      return slice_of(e);
    case Is::kCall:
      return call(e);
    case Is::kFilter:
      return filtered(e, evaluate(*e.kids[0]));
    case Is::kTest:
      return tested(e);
    case Is::kNot:
      return !evaluate(*e.kids[0]).truth();
    case Is::kNegate:
    case Is::kPlus: {
      const Value v = evaluate(*e.kids[0]);
      run_.at(e.where);
      return e.kind == Is::kNegate ? negate(run_, v) : operate(run_, "+", 0, v);
    }
    case Is::kArithmetic: {
      const Value a = evaluate(*e.kids[0]), b = evaluate(*e.kids[1]);
      run_.at(e.where);
      return operate(run_, e.text, a, b);
    }
    case Is::kAnd:
    case Is::kOr:
      return both_or_either(e);
    case Is::kConcat:
      return concatenated(e);
    case Is::kCompare:
      return compared(e);
    case Is::kCondition:
      return conditional(e);
  }
  throw Bug("an expression of no kind");
}

Value Interpreter::name(const Expression& e) {
  if (const Value* v = scope_->find(e.id)) return *v;
  if (const Function* f = find_function(e.text)) return f;
  return run_.undefined(fmt::format("'{}' is undefined", e.text));
}

Value Interpreter::sequence(const Expression& e) {
  std::vector<Value> items;
  items.reserve(e.kids.size());
  for (const auto& kid : e.kids) items.push_back(evaluate(*kid));
  run_.at(e.where);
  return run_.list(std::move(items), e.kind == Is::kTuple ? Sequence::Kind::kTuple : Sequence::Kind::kList);
}

Value Interpreter::dict(const Expression& e) {
  Dict d;
  for (size_t i = 0; i + 1 < e.kids.size(); i += 2) {
    Value key = evaluate(*e.kids[i]), value = evaluate(*e.kids[i + 1]);
    run_.at(e.where);
    d.set(run_, std::move(key), std::move(value));
  }
  return run_.dict(std::move(d));
}

Value Interpreter::slice_of(const Expression& e) {
  const auto part = [&](size_t i) { return e.kids[i] ? evaluate(*e.kids[i]) : Value(None{}); };
  const Value of = evaluate(*e.kids[0]), start = part(1), stop = part(2), step = part(3);
  run_.at(e.where);
  return slice(run_, of, start, stop, step);
}

Value Interpreter::concatenated(const Expression& e) {
  Builder out(run_);
  for (const auto& kid : e.kids) {
    const Value v = evaluate(*kid);
    run_.at(e.where);
    out.add(text_of(run_, v));
  }
  return run_.text(out.take());
}

Value Interpreter::compared(const Expression& e) {
  Value left = evaluate(*e.kids[0]);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    Value right = evaluate(*e.kids[i + 1]);
    run_.at(e.where);
    const std::string& op = e.operators[i];
    bool holds = false;
    if (op == "==")
      holds = equal(run_, left, right);
    else if (op == "!=")
      holds = !equal(run_, left, right);
    else if (op == "in")
      holds = contains(run_, right, left);
    else if (op == "not in")
      holds = !contains(run_, right, left);
    else if (op == "<")
      holds = less(run_, left, right);
    else if (op == ">")
      holds = less(run_, right, left);
    else if (op == "<=")
      holds = less(run_, left, right) || equal(run_, left, right);
    else
      holds = less(run_, right, left) || equal(run_, left, right);
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::both_or_either(const Expression& e) {
  Value first = evaluate(*e.kids[0]);
  return first.truth() == (e.kind == Is::kOr) ? first : evaluate(*e.kids[1]);
}

Value Interpreter::conditional(const Expression& e) {
  if (evaluate(*e.kids[0]).truth()) return evaluate(*e.kids[1]);
  if (e.kids[2]) return evaluate(*e.kids[2]);
  run_.at(e.where);
  return run_.undefined("the inline if has no else, and its condition is false");
}

Arguments Interpreter::arguments(const Expression& e) {
  Arguments a;
  for (const auto& kid : e.arguments) a.positional.push_back(evaluate(*kid));
  for (const auto& [name, kid] : e.named) a.named.emplace_back(name, evaluate(*kid));
  if (e.spread_list)
    for (Value& v : items_of(run_, evaluate(*e.spread_list))) a.positional.push_back(std::move(v));
  if (e.spread_dict) {
    const Value more = evaluate(*e.spread_dict);
    if (!more.as_dict()) run_.fail(fmt::format("'**' needs a dict, not {}", more.type()));
    for (const auto& [key, value] : more.as_dict()->entries())
      a.named.emplace_back(text_argument(run_, &key, "a name after '**'", {}), value);
  }
  run_.at(e.where);
  return a;
}

Value Interpreter::call(const Expression& e, const Value* caller) {
  const Value callee = evaluate(*e.kids[0]);
  const Arguments a = arguments(e);
  run_.need_defined(callee);
  if (const auto* m = callee.as_method()) {
    if (const auto* t = m->self.as_text()) run_.scan(t->view().size());
    return m->entry->call(run_, m->self, a);
  }
  if (const auto* m = callee.as_macro()) return call_macro(*m, a, caller);
  if (auto* l = callee.as_loop()) return call_loop(*l, a);
  if (const auto* f = callee.as_function()) return f->call(run_, a);
  run_.fail(fmt::format("'{}' object is not callable", callee.type()));
}

Value Interpreter::filtered(const Expression& e, const Value& to) {
  run_.at(e.where);
  if (!e.filter) run_.fail(fmt::format("unknown filter '{}'{}", e.text, offer_filter(e.text)), Code::kUnsupported);
  const Arguments a = arguments(e);
  if (const auto* t = to.as_text()) run_.scan(t->view().size());
  return e.filter->apply(run_, to, a);
}

// The filters of a block, whose innermost one has no operand of its own.
Value Interpreter::filter_chain(const Expression* e, Value v) {
  if (!e) return v;
  return filtered(*e, filter_chain(e->kids[0].get(), std::move(v)));
}

Value Interpreter::tested(const Expression& e) {
  const Value of = evaluate(*e.kids[0]);
  run_.at(e.where);
  if (!e.test) run_.fail(fmt::format("unknown test '{}'{}", e.text, offer_test(e.text)), Code::kUnsupported);
  const Arguments a = arguments(e);
  return e.test->holds(run_, of, a);
}

}  // namespace cairn::text::jinja
