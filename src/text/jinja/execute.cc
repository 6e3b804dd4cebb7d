#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/interpreter.h"

namespace cairn::text::jinja {
using Is = Statement::Kind;

namespace {
bool uses(const Statement& macro, FixedName name) { return (macro.uses >> name & 1) != 0; }
}  // namespace

std::string Interpreter::render(const Json& context) {
  scope_ = run_.open_scope(nullptr);
  for (size_t id = 0; id < program_.names.size(); ++id)
    if (const Json* v = context.find(program_.names[id])) scope_->set(static_cast<int>(id), from_json(run_, *v));
  Scope* top = run_.open_scope(scope_);  // a context is not written to
  scope_ = top;
  Builder out(run_);
  out_ = &out;
  block(program_.body);
  return out.take();
}

Interpreter::Flow Interpreter::block(const Block& statements) {
  for (const Statement& s : statements)
    if (const Flow flow = statement(s); flow != Flow::kOn) return flow;
  return Flow::kOn;
}

Interpreter::Flow Interpreter::statement(const Statement& s) {
  const Run::Level level(run_);
  run_.step();
  run_.at(s.where);
  switch (s.kind) {
    case Is::kText:
      out_->add(s.text);
      break;
    case Is::kPrint: {
      const Value v = evaluate(*s.value);
      run_.at(s.where);
      if (const auto* t = v.as_text())
        out_->add(t->view());
      else
        out_->add(text_of(run_, v));
      break;
    }
    case Is::kIf:
      return if_statement(s);
    case Is::kFor:
      return for_statement(s);
    case Is::kSet:
      assign(s.targets[0], evaluate(*s.value));
      break;
    case Is::kSetBlock: {
      Value v = run_.text(captured(s.blocks[0]));
      assign(s.targets[0], filter_chain(s.value.get(), std::move(v)));
      break;
    }
    case Is::kWith:
      with_statement(s);
      break;
    case Is::kMacro:
      scope_->set(s.id, run_.make_macro({s.text, &s, scope_}));
      break;
    case Is::kCall: {
      const Value caller = run_.make_macro({s.text, &s, scope_});
      const Value v = call(*s.value, &caller);
      out_->add(text_of(run_, v));
      break;
    }
    case Is::kFilter: {
      Value v = run_.text(captured(s.blocks[0]));
      out_->add(text_of(run_, filter_chain(s.value.get(), std::move(v))));
      break;
    }
    case Is::kScope: {
      const Inner inner(*this, scope_);
      return block(s.blocks[0]);
    }
    case Is::kBreak:
      return Flow::kBreak;
    case Is::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

std::string Interpreter::captured(const Block& statements) {
  Builder out(run_);
  const Redirected to(*this, out);
  const Inner inner(*this, scope_);
  block(statements);
  return out.take();
}

Interpreter::Flow Interpreter::if_statement(const Statement& s) {
  for (size_t i = 0; i < s.values.size(); ++i)
    if (evaluate(*s.values[i]).truth()) return block(s.blocks[i]);
  return s.blocks.size() > s.values.size() ? block(s.blocks.back()) : Flow::kOn;
}

void Interpreter::with_statement(const Statement& s) {
  std::vector<Value> values;  // seen from outside
  for (const auto& v : s.values) values.push_back(evaluate(*v));
  const Inner inner(*this, scope_);
  for (size_t i = 0; i < values.size(); ++i) assign(s.targets[i], std::move(values[i]));
  block(s.blocks[0]);
}

void Interpreter::assign(const Target& target, Value value) {
  run_.at(target.where);
  if (target.many) {
    auto items = items_of(run_, value);
    if (items.size() != target.parts.size())
      run_.fail(fmt::format("{} values cannot be unpacked into {} names", items.size(), target.parts.size()));
    for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], std::move(items[i]));
  } else if (target.member.empty()) {
    scope_->set(target.id, std::move(value));
  } else {
    const Value* holder = scope_->find(target.id);
    Namespace* n = holder ? holder->as_namespace() : nullptr;
    if (!n)
      run_.fail(fmt::format("'{}' is no namespace, so '{}.{}' cannot be set; use {{% set {} = namespace() %}}",
                            target.name, target.name, target.member, target.name));
    if (target.member[0] == '_')
      run_.fail(fmt::format("a namespace takes no name with an underscore in front: '{}'", target.member));
    if (Value* old = n->find(target.member)) {
      *old = std::move(value);
    } else {
      run_.charge(sizeof(Value) + target.member.size());
      n->members.emplace_back(target.member, std::move(value));
    }
  }
}

Interpreter::Flow Interpreter::for_statement(const Statement& s) {
  const Value over = evaluate(*s.value);
  run_.at(s.value->where);
  return walk(s, over, scope_, 0);
}

Interpreter::Flow Interpreter::walk(const Statement& s, const Value& over, Scope* outer, int depth0) {
  Loop* loop = loop_over(s, over, outer, depth0);
  if (!loop->items.empty()) return each(s, *loop, outer);
  if (s.blocks.size() < 2) return Flow::kOn;
  const Inner inner(*this, outer);
  return block(s.blocks[1]);
}

// Decides beforehand which items the loop sees.
Loop* Interpreter::loop_over(const Statement& s, const Value& over, Scope* outer, int depth0) {
  Loop* loop = run_.make_loop();
  loop->items = items_of(run_, over);
  run_.charge(loop->items.size() * sizeof(Value));
  loop->depth0 = depth0;
  loop->scope = outer;
  loop->statement = s.recursive ? &s : nullptr;
  if (s.recursive) Run::capture(outer);
  if (!s.condition) return loop;
  std::vector<Value> kept;
  for (const Value& item : loop->items) {
    const Inner inner(*this, outer);
    assign(s.targets[0], item);
    if (evaluate(*s.condition).truth()) kept.push_back(item);
  }
  loop->items = std::move(kept);
  return loop;
}

Interpreter::Flow Interpreter::each(const Statement& s, Loop& loop, Scope* outer) {
  for (loop.at = 0; loop.at < loop.items.size(); ++loop.at) {
    run_.step();
    const Inner inner(*this, outer);
    scope_->set(kLoopName, &loop);
    assign(s.targets[0], loop.items[loop.at]);
    if (block(s.blocks[0]) == Flow::kBreak) break;
  }
  return Flow::kOn;
}

Value Interpreter::call_loop(Loop& loop, const Arguments& arguments) {
  const auto given = arguments.bind(run_, "loop()", {"iterable"}, 1);
  if (!loop.statement) run_.fail("only a loop with 'recursive' can be called");
  const Run::Level level(run_);
  Builder out(run_);
  {
    const Redirected to(*this, out);
    walk(*loop.statement, *given[0], loop.scope, loop.depth0 + 1);
  }
  return run_.text(out.take());
}

Value Interpreter::call_macro(const Macro& macro, const Arguments& arguments, const Value* caller) {
  const Statement& s = *macro.statement;
  const Run::Level level(run_);
  Builder out(run_);
  {
    const Redirected to(*this, out);
    const Inner inner(*this, macro.scope);
    if (uses(s, kCallerName))
      scope_->set(kCallerName, caller ? *caller : run_.undefined("the macro was not called by a call block"));
    else if (caller)
      run_.fail(fmt::format("macro '{}' does not use the caller() that a call block gives", macro.name));
    bind_parameters(s, macro, arguments);
    block(s.blocks[0]);
  }
  return run_.text(out.take());
}

void Interpreter::bind_parameters(const Statement& s, const Macro& macro, const Arguments& arguments) {
  const auto& named = arguments.named;
  const auto of_name = [&](const std::string& name) {
    return std::find_if(named.begin(), named.end(), [&](const auto& n) { return n.first == name; });
  };
  for (size_t i = 0; i < s.parameters.size(); ++i) {
    const auto& p = s.parameters[i];
    const auto by_name = of_name(p.name);
    if (i < arguments.positional.size()) {
      if (by_name != named.end()) run_.fail(fmt::format("macro '{}' got its argument '{}' twice", macro.name, p.name));
      scope_->set(p.id, arguments.positional[i]);
    } else if (by_name != named.end()) {
      scope_->set(p.id, by_name->second);
    } else {
      scope_->set(p.id, run_.undefined(fmt::format("parameter '{}' was not provided", p.name)));
    }
  }
  for (size_t i = arguments.positional.size(); i < s.parameters.size(); ++i) {  // defaults see all parameters
    const auto& p = s.parameters[i];
    if (p.otherwise && of_name(p.name) == named.end()) scope_->set(p.id, evaluate(*p.otherwise));
  }
  collect_rest(s, macro, arguments);
}

// Arguments without a parameter go to `varargs` and `kwargs`, for a macro that looks at those.
void Interpreter::collect_rest(const Statement& s, const Macro& macro, const Arguments& arguments) {
  std::vector<Value> rest;
  for (size_t i = s.parameters.size(); i < arguments.positional.size(); ++i) rest.push_back(arguments.positional[i]);
  if (!rest.empty() && !uses(s, kVarargsName))
    run_.fail(fmt::format("macro '{}' takes not more than {} argument(s)", macro.name, s.parameters.size()));
  Dict others;
  for (const auto& [name, value] : arguments.named) {
    const bool known =
        std::any_of(s.parameters.begin(), s.parameters.end(), [&name = name](const auto& p) { return p.name == name; });
    if (known) continue;
    if (!uses(s, kKwargsName)) run_.fail(fmt::format("macro '{}' takes no argument '{}'", macro.name, name));
    others.set(run_, run_.text(name), value);
  }
  if (uses(s, kVarargsName)) scope_->set(kVarargsName, run_.list(std::move(rest), Sequence::Kind::kTuple));
  if (uses(s, kKwargsName)) scope_->set(kKwargsName, run_.dict(std::move(others)));
}

}  // namespace cairn::text::jinja
