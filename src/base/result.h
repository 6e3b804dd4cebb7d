// Errors that input, files, peers or load can cause travel as Result<T>; a broken assumption of ours throws Bug.
#pragma once
#include <stdexcept>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace cairn {

// What went wrong, by who can mend it. http_status() maps a code to the status a server answers.
enum class Code {
  kInvalidArgument,
  kNotFound,
  kCorrupt,
  kUnsupported,
  kExhausted,
  kUnavailable,
  kCancelled,
  kInternal
};

int http_status(Code code);

struct Error {
  Code code = Code::kInternal;
  std::string what;  // a sentence or two for the user: names the thing, and the way out
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> failure(Code code, std::string what) {
  return tl::unexpected<Error>(Error{code, std::move(what)});
}
inline tl::unexpected<Error> invalid(std::string what) { return failure(Code::kInvalidArgument, std::move(what)); }
inline tl::unexpected<Error> corrupt(std::string what) { return failure(Code::kCorrupt, std::move(what)); }

// The same failure with "where: " in front, for a caller that knows the file or the request.
inline Error within(std::string_view where, Error e) {
  e.what = std::string(where) + ": " + e.what;
  return e;
}

// Thrown by constructors that meet bad input, and turned into a Result by caught() where loading ends.
class Failure : public std::runtime_error {
 public:
  explicit Failure(Error e) : std::runtime_error(e.what), error_(std::move(e)) {}
  const Error& error() const { return error_; }

 private:
  Error error_;
};

// A broken assumption of the program itself. Caught in one place, the engine's step.
class Bug : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

inline void check(bool ok, const char* what) {
  if (!ok) throw Bug(what);
}

// Throws a Failure when the result holds an error: for constructors.
template <class T>
T or_throw(Result<T> r) {
  if (!r) throw Failure(std::move(r).error());
  if constexpr (!std::is_void_v<T>) return *std::move(r);
}

// Runs f and returns its value, or the Failure that it threw.
template <class F>
auto caught(F&& f) -> Result<decltype(f())> {
  try {
    if constexpr (std::is_void_v<decltype(f())>) {
      f();
      return {};
    } else {
      return f();
    }
  } catch (const Failure& e) { return tl::unexpected<Error>(e.error()); }
}

}  // namespace cairn

// `auto x = TRY(expression)`: the value of a Result, or return its error from the enclosing function.
#define CAIRN_JOIN_(a, b) a##b
#define CAIRN_JOIN(a, b) CAIRN_JOIN_(a, b)
#define TRY_NAMED_(name, ...)                                                \
  ({                                                                         \
    auto name = (__VA_ARGS__);                                               \
    if (!name) return tl::unexpected<cairn::Error>(std::move(name).error()); \
    std::move(name).operator*();                                             \
  })
#define TRY(...) TRY_NAMED_(CAIRN_JOIN(try_result_, __COUNTER__), __VA_ARGS__)
// The same for a Result<void>.
#define TRY_VOID(...)                                                                                                  \
  do {                                                                                                                 \
    if (auto try_void_ = (__VA_ARGS__); !try_void_) return tl::unexpected<cairn::Error>(std::move(try_void_).error()); \
  } while (false)
