#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/library.h"
#include "text/jinja/numbers.h"
#include "text/jinja/parser.h"

namespace cairn::text::jinja {
namespace {
using Is = Expression::Kind;

std::string quoted_name(std::string_view kind, const std::string& name, std::string_view offer) {
  return fmt::format("unknown {} '{}'{}", kind, name, offer);
}
}  // namespace

ExpressionPtr Parser::make(Is kind, Where where) const {
  auto e = std::make_unique<Expression>();
  e->kind = kind;
  e->where = where;
  return e;
}

void Parser::deepen(Expression& parent, const Expression* kid) const {
  if (!kid) return;
  parent.depth = std::max(parent.depth, kid->depth + 1);
  if (parent.depth > kMostNesting)
    fail(parent.where, fmt::format("more than {} operations inside each other", kMostNesting));
}

void Parser::add(Expression& parent, ExpressionPtr kid) const {
  deepen(parent, kid.get());
  parent.kids.push_back(std::move(kid));
}

ExpressionPtr Parser::binary(Is kind, const Token& op, ExpressionPtr left, ExpressionPtr right) const {
  auto e = make(kind, op.where);
  e->text = op.text;
  add(*e, std::move(left));
  add(*e, std::move(right));
  return e;
}

ExpressionPtr Parser::tuple(bool with_condition, std::string_view end, bool parentheses) {
  const Where where = now().where;
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  const auto at_end = [&] {
    const Kind k = now().kind;
    return k == Kind::kVariableEnd || k == Kind::kBlockEnd || now().op(")") || (!end.empty() && now().name(end));
  };
  while (!at_end()) {
    items.push_back(expression(with_condition));
    if (!skip_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items[0]);
  if (!is_tuple && !parentheses) unexpected("an expression");
  auto e = make(Is::kTuple, where);
  for (auto& item : items) add(*e, std::move(item));
  return e;
}

ExpressionPtr Parser::expression(bool with_condition) {
  const Level level(*this);
  auto value = logical(true);
  while (with_condition && now().name("if")) {
    auto e = make(Is::kCondition, next().where);
    ++conditional_;
    add(*e, logical(true));
    add(*e, std::move(value));
    add(*e, skip_name("else") ? expression() : nullptr);
    --conditional_;
    value = std::move(e);
  }
  return value;
}

ExpressionPtr Parser::logical(bool either) {
  const auto operand = [&] { return either ? logical(false) : negation(); };
  auto left = operand();
  while (now().name(either ? "or" : "and")) {
    const Token op = next();
    left = binary(either ? Is::kOr : Is::kAnd, op, std::move(left), operand());
  }
  return left;
}

ExpressionPtr Parser::negation() {
  if (!now().name("not")) return comparison();
  const Level level(*this);
  auto e = make(Is::kNot, next().where);
  add(*e, negation());
  return e;
}

ExpressionPtr Parser::comparison() {
  auto first = sum();
  ExpressionPtr e;
  for (;;) {
    const Token op = now();
    std::string text = op.text;
    if (op.name("not") && after().name("in")) {
      text = "not in";
      next();
    } else if (!op.name("in") && !op.op("==") && !op.op("!=") && !op.op("<") && !op.op("<=") && !op.op(">") &&
               !op.op(">=")) {
      return e ? std::move(e) : std::move(first);
    }
    next();
    if (!e) {
      e = make(Is::kCompare, op.where);
      add(*e, std::move(first));
    }
    e->operators.push_back(std::move(text));
    add(*e, sum());
  }
}

ExpressionPtr Parser::sum() {
  auto left = concatenation();
  while (now().op("+") || now().op("-")) {
    const Token op = next();
    left = binary(Is::kArithmetic, op, std::move(left), concatenation());
  }
  return left;
}

ExpressionPtr Parser::concatenation() {
  auto first = product();
  if (!now().op("~")) return first;
  auto e = make(Is::kConcat, now().where);
  add(*e, std::move(first));
  while (skip_op("~")) add(*e, product());
  return e;
}

ExpressionPtr Parser::product() {
  auto left = power();
  while (now().op("*") || now().op("/") || now().op("//") || now().op("%")) {
    const Token op = next();
    left = binary(Is::kArithmetic, op, std::move(left), power());
  }
  return left;
}

ExpressionPtr Parser::power() {
  auto left = unary();
  while (now().op("**")) {
    const Token op = next();
    left = binary(Is::kArithmetic, op, std::move(left), unary());
  }
  return left;
}

ExpressionPtr Parser::unary(bool with_filter) {
  ExpressionPtr e;
  if (now().op("-") || now().op("+")) {
    const Level level(*this);
    const Token op = next();
    e = make(op.text == "-" ? Is::kNegate : Is::kPlus, op.where);
    add(*e, unary(false));
  } else {
    e = primary();
  }
  e = postfix(std::move(e));
  return with_filter ? filters_and_tests(std::move(e)) : std::move(e);
}

ExpressionPtr Parser::primary() {
  const Token t = now();
  auto constant = [&](Value v) {
    auto e = make(Is::kConstant, t.where);
    e->constant = std::move(v);
    return e;
  };
  const auto text = [](std::string s) { return Text{std::make_shared<const std::string>(std::move(s))}; };
  if (t.op("[")) return list();
  if (t.op("{")) return dict();
  if (t.op("(")) {
    next();
    auto e = tuple(true, {}, true);
    expect_op(")");
    return e;
  }
  if (t.kind == Kind::kString) {
    std::string joined;
    while (now().kind == Kind::kString) joined += next().text;
    return constant(text(std::move(joined)));
  }
  if (t.kind == Kind::kInteger) {
    const auto v = parse_int(t.text, 0);
    if (!v) fail(t.where, fmt::format("the integer {} is too large", t.text));
    return next(), constant(*v);
  }
  if (t.kind == Kind::kFloat) return next(), constant(parse_float(t.text).value_or(0));
  if (t.kind != Kind::kName) unexpected("an expression");
  next();
  if (t.text == "true" || t.text == "True") return constant(true);
  if (t.text == "false" || t.text == "False") return constant(false);
  if (t.text == "none" || t.text == "None") return constant(None{});
  auto e = make(Is::kName, t.where);
  e->text = t.text;
  e->id = id_of(t.text);
  if (e->id < kFixedNames) uses_ |= 1u << e->id;
  return e;
}

ExpressionPtr Parser::list() {
  auto e = make(Is::kList, next().where);
  while (!now().op("]")) {
    if (!e->kids.empty()) expect_op(",");
    if (now().op("]")) break;
    add(*e, expression());
  }
  expect_op("]");
  return e;
}

ExpressionPtr Parser::dict() {
  auto e = make(Is::kDict, next().where);
  while (!now().op("}")) {
    if (!e->kids.empty()) expect_op(",");
    if (now().op("}")) break;
    add(*e, expression());
    expect_op(":");
    add(*e, expression());
  }
  expect_op("}");
  return e;
}

ExpressionPtr Parser::postfix(ExpressionPtr e) {
  for (;;) {
    if (now().op(".") || now().op("["))
      e = subscript(std::move(e));
    else if (now().op("("))
      e = call(std::move(e));
    else
      return e;
  }
}

ExpressionPtr Parser::subscript(ExpressionPtr of) {
  const Token open = next();
  if (open.text == ".") {
    const Token name = next();
    if (name.kind != Kind::kName && name.kind != Kind::kInteger)
      fail(name.where, fmt::format("expected a name or a number after '.', got {}", name.described()));
    auto e = make(name.kind == Kind::kName ? Is::kAttribute : Is::kItem, name.where);
    e->text = name.text;
    add(*e, std::move(of));
    if (name.kind == Kind::kName) return e;
    add(*e, make(Is::kConstant, name.where));
    e->kids[1]->constant = parse_int(name.text, 0).value_or(INT64_MAX);
    return e;
  }
  auto e = make(Is::kItem, open.where);
  add(*e, std::move(of));
  if (!now().op(":")) add(*e, expression());
  if (now().op(":")) {
    e->kind = Is::kSlice;
    if (e->kids.size() == 1) add(*e, nullptr);
    for (int part = 0; part < 2; ++part) {
      const bool given = skip_op(":") && !now().op(":") && !now().op("]");
      add(*e, given ? expression() : nullptr);
    }
  }
  expect_op("]");
  return e;
}

ExpressionPtr Parser::filters_and_tests(ExpressionPtr e) {
  for (;;) {
    if (skip_op("|"))
      e = filter(std::move(e));
    else if (now().name("is"))
      e = test(std::move(e));
    else if (now().op("("))
      e = call(std::move(e));
    else
      return e;
  }
}

ExpressionPtr Parser::filter(ExpressionPtr of) {
  const Token name = expect(Kind::kName, "the name of a filter");
  auto e = make(Is::kFilter, name.where);
  e->text = name.text;
  while (skip_op(".")) e->text += "." + expect(Kind::kName, "the name of a filter").text;
  e->filter = find_filter(e->text);
  if (!e->filter && conditional_ == 0)
    fail(name.where, quoted_name("filter", e->text, offer_filter(e->text)), Code::kUnsupported);
  add(*e, std::move(of));
  if (now().op("(")) arguments(*e);
  return e;
}

ExpressionPtr Parser::test(ExpressionPtr of) {
  const Token is = next();
  const bool negated = skip_name("not");
  const Token name = expect(Kind::kName, "the name of a test");
  auto e = make(Is::kTest, name.where);
  e->text = name.text;
  while (skip_op(".")) e->text += "." + expect(Kind::kName, "the name of a test").text;
  e->test = find_test(e->text);
  if (!e->test && conditional_ == 0)
    fail(name.where, quoted_name("test", e->text, offer_test(e->text)), Code::kUnsupported);
  add(*e, std::move(of));
  const Token& t = now();
  const bool starts_value = t.kind == Kind::kName || t.kind == Kind::kString || t.kind == Kind::kInteger ||
                            t.kind == Kind::kFloat || t.op("[") || t.op("{");
  if (t.op("(")) {
    arguments(*e);
  } else if (t.name("is")) {
    fail(t.where, "tests with 'is' cannot be chained; use 'and'");
  } else if (starts_value && !t.name("else") && !t.name("or") && !t.name("and")) {
    auto argument = postfix(primary());
    deepen(*e, argument.get());
    e->arguments.push_back(std::move(argument));
  }
  if (!negated) return e;
  auto inverse = make(Is::kNot, is.where);
  add(*inverse, std::move(e));
  return inverse;
}

ExpressionPtr Parser::call(ExpressionPtr of) {
  auto e = make(Is::kCall, of->where);
  add(*e, std::move(of));
  arguments(*e);
  return e;
}

void Parser::arguments(Expression& e) {
  expect_op("(");
  while (!now().op(")")) {
    argument(e);
    if (!now().op(")")) expect_op(",");
  }
  expect_op(")");
}

void Parser::argument(Expression& e) {
  const Where where = now().where;
  const auto taken = [&](ExpressionPtr v) {
    deepen(e, v.get());
    return v;
  };
  if (skip_op("*")) {
    if (e.spread_list || e.spread_dict) fail(where, "a call takes one '*' at most, before '**'");
    e.spread_list = taken(expression());
  } else if (skip_op("**")) {
    if (e.spread_dict) fail(where, "a call takes one '**' at most");
    e.spread_dict = taken(expression());
  } else if (now().kind == Kind::kName && after().op("=")) {
    if (e.spread_dict) fail(where, "arguments with names come before '**'");
    std::string name = next().text;
    next();
    e.named.emplace_back(std::move(name), taken(expression()));
  } else {
    if (e.spread_list || e.spread_dict || !e.named.empty()) fail(where, "arguments without names come first in a call");
    e.arguments.push_back(taken(expression()));
  }
}

}  // namespace cairn::text::jinja
