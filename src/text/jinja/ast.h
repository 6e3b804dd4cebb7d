// What a template is parsed into; immutable after that, and shared by all that render it.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/run.h"

namespace cairn::text::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;
struct FilterEntry;
struct TestEntry;

struct Expression {
  enum class Kind {
    kConstant,    // constant
    kName,        // id, text
    kList,        // kids
    kTuple,       // kids
    kDict,        // kids: key, value, key, value, ...
    kAttribute,   // kids[0].text
    kItem,        // kids[0][kids[1]]
    kSlice,       // kids[0][kids[1]:kids[2]:kids[3]], null where left out
    kCall,        // kids[0](arguments)
    kFilter,      // kids[0] | text(arguments); kids[0] is null in a filter block
    kTest,        // kids[0] is text(arguments)
    kNot,         // kids[0]
    kNegate,      // kids[0]
    kPlus,        // kids[0]
    kArithmetic,  // kids[0] text kids[1]
    kAnd,         // kids[0], kids[1]
    kOr,          // kids[0], kids[1]
    kConcat,      // kids, joined by ~
    kCompare,     // kids[0] operators[0] kids[1] operators[1] kids[2] ...
    kCondition    // kids[1] if kids[0] else kids[2], which may be null
  };
  Kind kind;
  Where where;
  int depth = 1;  // of expressions inside each other
  int id = -1;
  std::string text;
  Value constant;
  std::vector<ExpressionPtr> kids;
  std::vector<std::string> operators;
  // Arguments of a call, filter or test: in order, by name, and as *list and **dict.
  std::vector<ExpressionPtr> arguments;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr spread_list, spread_dict;
  // Null where the name is unknown, which is an error once it is evaluated.
  const FilterEntry* filter = nullptr;
  const TestEntry* test = nullptr;
};

// What {% set %}, {% for %} and {% with %} assign to: a name, a member of a namespace, or several of them.
struct Target {
  int id = -1;
  std::string name, member;  // member is empty for a plain name
  bool many = false;
  std::vector<Target> parts;
  Where where;
};

struct Statement;
using Block = std::vector<Statement>;

struct Statement {
  enum class Kind {
    kText,      // text
    kPrint,     // value
    kIf,        // branches of values and blocks; a block without a value is the else
    kFor,       // targets[0] in value if condition: blocks[0], else blocks[1]
    kSet,       // targets[0] = value
    kSetBlock,  // targets[0] = blocks[0] through the filter in value, which may be null
    kWith,      // targets = values: blocks[0]
    kMacro,     // id, text: parameters, blocks[0]
    kCall,      // value, a call, with blocks[0] as its caller(parameters)
    kFilter,    // blocks[0] through the filter in value
    kScope,     // blocks[0] with variables of its own: {% generation %}
    kBreak,
    kContinue
  };
  struct Parameter {
    int id;
    std::string name;
    ExpressionPtr otherwise;
  };
  Kind kind;
  Where where;
  int id = -1;
  std::string text;
  ExpressionPtr value, condition;
  bool recursive = false;
  unsigned uses = 0;  // of macros and call blocks: the FixedNames inside, as bits
  std::vector<ExpressionPtr> values;
  std::vector<Target> targets;
  std::vector<Block> blocks;
  std::vector<Parameter> parameters;
};

struct Program {
  Block body;
  std::vector<std::string> names;  // of variables, by id
};

// Names that statements set of themselves have fixed ids.
enum FixedName : int { kLoopName, kCallerName, kVarargsName, kKwargsName, kFixedNames };

// Throws Failure, with line and column, on what is no template or nests deeper than kMostNesting levels.
Program parse(std::string_view source, std::string_view name);

}  // namespace cairn::text::jinja
