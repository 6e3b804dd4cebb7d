// What one rendering owns and may spend.
#pragma once
#include <ctime>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/jinja/limits.h"
#include "text/jinja/value.h"

namespace cairn::text::jinja {

// A place in the source of a template, both counted from one; columns count code points.
struct Where {
  uint32_t line = 1, column = 1;
};
// "chat template NAME, line 3, column 7: what"
std::string placed(std::string_view name, Where where, std::string_view what);

// Containers and expressions that nest deeper than this are refused: everything that walks them recurses.
constexpr int kMostNesting = 300;

// Sets of variables, one per template, loop, macro call or block; names are numbers given by the parser.
struct Scope {
  Scope* parent = nullptr;
  bool captured = false;  // a macro looks into it: it lives as long as the rendering
  std::vector<std::pair<int, Value>> variables;

  const Value* find(int name) const;
  void set(int name, Value value);
};

// The state of one {% for %}, which is also its variable `loop`.
struct Loop {
  std::vector<Value> items;
  size_t at = 0;  // the current item
  int depth0 = 0;
  std::vector<Value> seen;  // what `changed` was last asked
  bool asked = false;
  const struct Statement* statement = nullptr;  // of a recursive loop
  Scope* scope = nullptr;                       // around it
};

// What a call passes: f(1, 2, name=3).
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // Places the arguments under the parameters' names; null where one is absent. Fails, naming `what`, on too many, on
  // unknown or repeated names, and when one of the first `required` is absent.
  std::vector<const Value*> bind(Run& run, std::string_view what, std::vector<std::string_view> names,
                                 size_t required = 0) const;
};

// A macro, or the caller() of a call block, with the scope in which it was met.
struct Macro {
  std::string_view name;
  const struct Statement* statement = nullptr;
  Scope* scope = nullptr;
};

struct Method {
  Value self;
  const struct MethodEntry* entry;
};

class Run {
 public:
  Run(std::string_view name, const RenderLimits& limits, const std::tm& now)
      : limits_(limits), now_(now), name_(name) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  // Where errors are reported to be.
  void at(Where where) { where_ = where; }
  Where where() const { return where_; }
  [[noreturn]] void fail(std::string_view what, Code code = Code::kInvalidArgument) const;
  // Fails with the undefined value's reason when v is one.
  void need_defined(const Value& v) const;

  void step(size_t n = 1) {
    steps_ += static_cast<int64_t>(n);
    if (steps_ > limits_.most_steps) too_long();
  }
  // Of work that reads so many bytes.
  void scan(size_t bytes) { step(bytes / 64); }
  void charge(size_t bytes) {
    if (bytes > limits_.most_bytes || (bytes_ += bytes) > limits_.most_bytes) too_large(limits_.most_bytes);
  }
  void check_size(size_t bytes) const {
    if (bytes > limits_.most_output) too_large(limits_.most_output);
  }
  // A level of recursion while the object lives.
  class Level {
   public:
    explicit Level(Run& run) : run_(run) {
      if (++run_.depth_ > run_.limits_.most_depth) run_.too_deep();
    }
    ~Level() { --run_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Run& run_;
  };

  Value text(std::string bytes, bool markup = false);
  Value list(std::vector<Value> items, Sequence::Kind kind = Sequence::Kind::kList, std::string label = {});
  Value dict(Dict entries);
  Value method(Value self, const struct MethodEntry* entry);
  Namespace* make_namespace();
  Loop* make_loop();
  const Macro* make_macro(const Macro& m);
  // Keeps the scope and those around it for the whole rendering.
  static void capture(Scope* scope);
  Scope* open_scope(Scope* parent);
  void close_scope(Scope* scope);
  Value undefined(std::string why) const;

  const std::tm& now() const { return now_; }

 private:
  [[noreturn]] void too_long() const;
  [[noreturn]] void too_large(size_t most) const;
  [[noreturn]] void too_deep();

  RenderLimits limits_;
  std::tm now_;
  std::string_view name_;
  Where where_;
  int64_t steps_ = 0;
  size_t bytes_ = 0;
  int depth_ = 0;
  std::deque<Namespace> namespaces_;
  std::deque<Loop> loops_;
  std::deque<Macro> macros_;
  std::deque<Scope> scopes_;
  std::vector<Scope*> free_scopes_;
};

// Text under construction, whose growth is paid for.
class Builder {
 public:
  explicit Builder(Run& run) : run_(run) {}
  void add(std::string_view s) {
    run_.check_size(out_.size() + s.size());
    run_.charge(s.size());
    out_ += s;
  }
  void add(char c) { add(std::string_view(&c, 1)); }
  void repeat(std::string_view s, int64_t times);
  std::string take() { return std::move(out_); }
  size_t size() const { return out_.size(); }

 private:
  Run& run_;
  std::string out_;
};

}  // namespace cairn::text::jinja
