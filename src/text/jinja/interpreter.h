// Runs a parsed template against its variables.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/library.h"

namespace cairn::text::jinja {

class Interpreter {
 public:
  Interpreter(Run& run, const Program& program) : run_(run), program_(program) {}

  // The text of the whole template. `context` is an object; members that no name of the template asks for are skipped.
  // Throws Failure.
  std::string render(const Json& context);

 private:
  enum class Flow { kOn, kBreak, kContinue };

  // execute.cc
  Flow block(const Block& statements);
  Flow statement(const Statement& s);
  Flow if_statement(const Statement& s);
  Flow for_statement(const Statement& s);
  Flow walk(const Statement& s, const Value& over, Scope* outer, int depth0);
  Flow each(const Statement& s, Loop& loop, Scope* outer);
  Loop* loop_over(const Statement& s, const Value& over, Scope* outer, int depth0);
  void with_statement(const Statement& s);
  void assign(const Target& target, Value value);
  // What the block writes, in variables of its own.
  std::string captured(const Block& statements);
  Value call_macro(const Macro& macro, const Arguments& arguments, const Value* caller);
  void bind_parameters(const Statement& s, const Macro& macro, const Arguments& arguments);
  void collect_rest(const Statement& s, const Macro& macro, const Arguments& arguments);

  // evaluate.cc
  Value evaluate(const Expression& e);
  Value name(const Expression& e);
  Value sequence(const Expression& e);
  Value dict(const Expression& e);
  Value slice_of(const Expression& e);
  Value concatenated(const Expression& e);
  Value compared(const Expression& e);
  Value both_or_either(const Expression& e);
  Value conditional(const Expression& e);
  Value call(const Expression& e, const Value* caller = nullptr);
  Value filtered(const Expression& e, const Value& to);
  Value filter_chain(const Expression* e, Value v);
  Value tested(const Expression& e);
  Arguments arguments(const Expression& e);
  Value call_loop(Loop& loop, const Arguments& arguments);

  // Variables of a block, until the object goes.
  class Inner {
   public:
    Inner(Interpreter& i, Scope* parent) : i_(i), before_(i.scope_), scope_(i.run_.open_scope(parent)) {
      i_.scope_ = scope_;
    }
    ~Inner() {
      i_.scope_ = before_;
      i_.run_.close_scope(scope_);
    }
    Inner(const Inner&) = delete;
    Inner& operator=(const Inner&) = delete;

   private:
    Interpreter& i_;
    Scope* before_;
    Scope* scope_;
  };
  // Output goes to the builder until the object goes.
  class Redirected {
   public:
    Redirected(Interpreter& i, Builder& to) : i_(i), before_(i.out_) { i_.out_ = &to; }
    ~Redirected() { i_.out_ = before_; }
    Redirected(const Redirected&) = delete;
    Redirected& operator=(const Redirected&) = delete;

   private:
    Interpreter& i_;
    Builder* before_;
  };

  Run& run_;
  const Program& program_;
  Scope* scope_ = nullptr;
  Builder* out_ = nullptr;
};

}  // namespace cairn::text::jinja
