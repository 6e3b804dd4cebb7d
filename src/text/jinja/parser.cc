#include "text/jinja/parser.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::text::jinja {
namespace {
using Is = Statement::Kind;
constexpr int kMostBlocks = 100;  // of statements and brackets inside each other while parsing

Statement made(Is kind, Where where) {
  Statement s{};
  s.kind = kind;
  s.where = where;
  return s;
}
}  // namespace

Parser::Parser(std::vector<Token> tokens, std::string_view name) : tokens_(std::move(tokens)), name_(name) {
  for (const char* fixed : {"loop", "caller", "varargs", "kwargs"}) id_of(fixed);
}

Program parse(std::string_view source, std::string_view name) { return Parser(tokenize(source, name), name).program(); }

Program Parser::program() {
  Program p;
  p.body = block({});
  p.names = std::move(names_);
  return p;
}

Token Parser::next() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }

bool Parser::skip_name(std::string_view name) { return now().name(name) ? (next(), true) : false; }
bool Parser::skip_op(std::string_view op) { return now().op(op) ? (next(), true) : false; }

Token Parser::expect(Kind kind, std::string_view what) {
  if (now().kind != kind) unexpected(what);
  return next();
}
void Parser::expect_op(std::string_view op) {
  if (!skip_op(op)) unexpected(fmt::format("'{}'", op));
}

void Parser::fail(Where where, std::string_view what, Code code) const {
  throw Failure(Error{code, placed(name_, where, what)});
}
void Parser::unexpected(std::string_view wanted) const {
  fail(now().where, fmt::format("expected {}, got {}", wanted, now().described()));
}

void Parser::enter() {
  if (++depth_ <= kMostBlocks) return;
  --depth_;
  fail(now().where, fmt::format("more than {} blocks and brackets inside each other", kMostBlocks));
}

int Parser::id_of(const std::string& name) {
  const auto [at, is_new] = ids_.try_emplace(name, static_cast<int>(names_.size()));
  if (is_new) names_.push_back(name);
  return at->second;
}

Block Parser::block(Words ends) {
  const Level level(*this);
  Block out;
  for (;;) {
    const Token& t = now();
    if (t.kind == Kind::kEnd) return out;
    if (t.kind == Kind::kData) {
      out.push_back(made(Is::kText, t.where));
      out.back().text = next().text;
    } else if (t.kind == Kind::kVariableBegin) {
      next();
      out.push_back(made(Is::kPrint, now().where));
      out.back().value = tuple();
      expect(Kind::kVariableEnd, "'}}'");
    } else {
      next();
      if (std::any_of(ends.begin(), ends.end(), [&](auto e) { return now().name(e); })) return out;
      out.push_back(statement());
      expect(Kind::kBlockEnd, "'%}'");
    }
  }
}

Block Parser::body(Words ends, std::string_view open) {
  const Where where = now().where;
  skip_op(":");
  expect(Kind::kBlockEnd, "'%}'");
  Block out = block(ends);
  if (now().kind == Kind::kEnd)
    fail(where, fmt::format("the '{}' that starts here has no '{}'", open, *(ends.end() - 1)));
  return out;
}

void Parser::end_of(std::string_view tag) {
  if (!skip_name(tag)) unexpected(fmt::format("'{}'", tag));
}

Statement Parser::statement() {
  const Token tag = expect(Kind::kName, "the name of a statement");
  const std::string& t = tag.text;
  if (t == "if") return if_statement(tag.where);
  if (t == "for") return for_statement(tag.where);
  if (t == "set") return set_statement(tag.where);
  if (t == "with") return with_statement(tag.where);
  if (t == "macro") return macro_statement(tag.where);
  if (t == "call") return call_statement(tag.where);
  if (t == "filter") return filter_statement(tag.where);
  if (t == "break") return loop_control(tag.where, Is::kBreak);
  if (t == "continue") return loop_control(tag.where, Is::kContinue);
  if (t != "generation") fail(tag.where, fmt::format("unknown or unexpected statement '{}'", t), Code::kUnsupported);
  Statement s = made(Is::kScope, tag.where);
  s.blocks.push_back(body({"endgeneration"}, t));
  end_of("endgeneration");
  return s;
}

Statement Parser::if_statement(Where where) {
  Statement s = made(Is::kIf, where);
  ++conditional_;
  for (;;) {
    s.values.push_back(tuple(false));
    s.blocks.push_back(body({"elif", "else", "endif"}, "if"));
    if (!skip_name("elif")) break;
  }
  if (skip_name("else")) s.blocks.push_back(body({"endif"}, "else"));
  end_of("endif");
  --conditional_;
  return s;
}

Statement Parser::for_statement(Where where) {
  Statement s = made(Is::kFor, where);
  s.targets.push_back(target(false, "in"));
  if (!skip_name("in")) unexpected("'in'");
  s.value = tuple(false, "recursive");
  if (skip_name("if")) s.condition = expression();
  s.recursive = skip_name("recursive");
  ++loops_;
  s.blocks.push_back(body({"else", "endfor"}, "for"));
  --loops_;
  if (skip_name("else")) s.blocks.push_back(body({"endfor"}, "else"));
  end_of("endfor");
  return s;
}

Statement Parser::loop_control(Where where, Statement::Kind kind) {
  if (loops_ == 0) fail(where, "'break' and 'continue' belong inside a loop");
  return made(kind, where);
}

Statement Parser::set_statement(Where where) {
  Statement s = made(Is::kSet, where);
  s.targets.push_back(target(true, {}));
  if (skip_op("=")) {
    s.value = tuple();
    return s;
  }
  s.kind = Is::kSetBlock;
  while (skip_op("|")) s.value = filter(std::move(s.value));
  const int loops = std::exchange(loops_, 0);
  s.blocks.push_back(body({"endset"}, "set"));
  loops_ = loops;
  end_of("endset");
  return s;
}

Statement Parser::with_statement(Where where) {
  Statement s = made(Is::kWith, where);
  while (now().kind != Kind::kBlockEnd) {
    if (!s.targets.empty()) expect_op(",");
    s.targets.push_back(one_target(false));
    expect_op("=");
    s.values.push_back(expression());
  }
  s.blocks.push_back(body({"endwith"}, "with"));
  end_of("endwith");
  return s;
}

void Parser::signature(Statement& s) {
  expect_op("(");
  while (!now().op(")")) {
    if (!s.parameters.empty()) expect_op(",");
    const Token name = expect(Kind::kName, "the name of a parameter");
    s.parameters.push_back({id_of(name.text), name.text, nullptr});
    if (skip_op("="))
      s.parameters.back().otherwise = expression();
    else if (s.parameters.size() > 1 && s.parameters[s.parameters.size() - 2].otherwise)
      fail(name.where, fmt::format("the parameter '{}' without default follows one that has a default", name.text));
  }
  expect_op(")");
}

void Parser::macro_body(Statement& s, std::string_view end, std::string_view open) {
  const int loops = std::exchange(loops_, 0);
  const unsigned uses = std::exchange(uses_, 0);
  s.blocks.push_back(body({end}, open));
  s.uses = uses_;
  uses_ |= uses;
  loops_ = loops;
  end_of(end);
}

Statement Parser::macro_statement(Where where) {
  Statement s = made(Is::kMacro, where);
  s.text = expect(Kind::kName, "the name of the macro").text;
  s.id = id_of(s.text);
  signature(s);
  macro_body(s, "endmacro", "macro");
  return s;
}

Statement Parser::call_statement(Where where) {
  Statement s = made(Is::kCall, where);
  s.text = "caller";
  if (now().op("(")) signature(s);
  s.value = expression();
  if (s.value->kind != Expression::Kind::kCall) fail(s.value->where, "'call' needs the call of a macro");
  macro_body(s, "endcall", "call");
  return s;
}

Statement Parser::filter_statement(Where where) {
  Statement s = made(Is::kFilter, where);
  s.value = filter(nullptr);
  while (skip_op("|")) s.value = filter(std::move(s.value));
  const int loops = std::exchange(loops_, 0);
  s.blocks.push_back(body({"endfilter"}, "filter"));
  loops_ = loops;
  end_of("endfilter");
  return s;
}

Target Parser::one_target(bool with_members) {
  Target t;
  const Level level(*this);
  t.where = now().where;
  if (skip_op("(")) {
    t = target(false, ")");
    expect_op(")");
    return t;
  }
  t.name = expect(Kind::kName, "the name of a variable").text;
  static constexpr std::string_view kConstants[] = {"true", "True", "false", "False", "none", "None"};
  if (std::find(std::begin(kConstants), std::end(kConstants), t.name) != std::end(kConstants))
    fail(t.where, fmt::format("'{}' cannot be assigned to", t.name));
  t.id = id_of(t.name);
  if (with_members && skip_op(".")) t.member = expect(Kind::kName, "the name of a member").text;
  return t;
}

Target Parser::target(bool with_members, std::string_view end) {
  const Where where = now().where;
  Target first = one_target(with_members);
  if (!now().op(",")) return first;
  Target t;
  t.many = true;
  t.where = where;
  t.parts.push_back(std::move(first));
  while (skip_op(",")) {
    if (now().name(end) || now().op(end) || now().op("=") || now().kind == Kind::kBlockEnd) break;
    t.parts.push_back(one_target(with_members));
  }
  return t;
}

}  // namespace cairn::text::jinja
