// The grammar of expressions and statements, by recursive descent.
#pragma once
#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace cairn::text::jinja {

class Parser {
 public:
  Parser(std::vector<Token> tokens, std::string_view name);
  Program program();

 private:
  using Kind = Token::Kind;
  using Words = std::initializer_list<std::string_view>;

  // parser.cc: tokens and statements
  const Token& now() const { return tokens_[at_]; }
  const Token& after() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token next();
  bool skip_name(std::string_view name);
  bool skip_op(std::string_view op);
  Token expect(Kind kind, std::string_view what);
  void expect_op(std::string_view op);
  [[noreturn]] void fail(Where where, std::string_view what, Code code = Code::kInvalidArgument) const;
  [[noreturn]] void unexpected(std::string_view wanted) const;
  int id_of(const std::string& name);

  Block block(Words ends);                        // up to a tag of that name, which is left to be read
  Block body(Words ends, std::string_view open);  // the same, from the end of the opening tag; fails at the end
  void end_of(std::string_view tag);              // reads the closing tag's name
  Statement statement();
  Statement if_statement(Where where);
  Statement for_statement(Where where);
  Statement set_statement(Where where);
  Statement with_statement(Where where);
  Statement macro_statement(Where where);
  Statement call_statement(Where where);
  Statement filter_statement(Where where);
  Statement loop_control(Where where, Statement::Kind kind);
  void signature(Statement& s);
  void macro_body(Statement& s, std::string_view end, std::string_view open);
  Target target(bool with_members, std::string_view end);
  Target one_target(bool with_members);

  // parse_expressions.cc
  ExpressionPtr tuple(bool with_condition = true, std::string_view end = {}, bool parentheses = false);
  ExpressionPtr expression(bool with_condition = true);
  ExpressionPtr logical(bool either);
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filter = true);
  ExpressionPtr primary();
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr postfix(ExpressionPtr e);
  ExpressionPtr subscript(ExpressionPtr e);
  ExpressionPtr filters_and_tests(ExpressionPtr e);
  ExpressionPtr filter(ExpressionPtr e);  // from the filter's name on
  ExpressionPtr test(ExpressionPtr e);
  ExpressionPtr call(ExpressionPtr e);
  void arguments(Expression& e);
  void argument(Expression& e);

  ExpressionPtr make(Expression::Kind kind, Where where) const;
  void add(Expression& parent, ExpressionPtr kid) const;
  void deepen(Expression& parent, const Expression* kid) const;
  ExpressionPtr binary(Expression::Kind kind, const Token& op, ExpressionPtr left, ExpressionPtr right) const;

  // A level of nesting, of blocks or of brackets.
  class Level {
   public:
    explicit Level(Parser& p) : p_(p) { p_.enter(); }
    ~Level() { --p_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Parser& p_;
  };
  void enter();

  std::vector<Token> tokens_;
  std::string_view name_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;        // loops around, for break and continue
  int conditional_ = 0;  // inside what may never be evaluated: unknown filters and tests are no error yet
  unsigned uses_ = 0;    // FixedNames met, as bits
  std::unordered_map<std::string, int> ids_;
  std::vector<std::string> names_;
};

}  // namespace cairn::text::jinja
