#include <future>
#include <list>
#include <mutex>
#include <unordered_map>

#include "text/grammar/grammar.h"

namespace cairn::text::grammar {

using Compiled = Result<std::shared_ptr<const CompiledGrammar>>;

struct GrammarCache::Impl {
  struct Entry {
    std::shared_future<Compiled> result;
    std::list<std::string>::iterator age;
  };
  std::shared_ptr<const TokenSet> tokens;
  size_t capacity;
  std::mutex mutex;
  std::unordered_map<std::string, Entry> entries;
  std::list<std::string> by_age;  // keys, the newest first
};

GrammarCache::GrammarCache(std::shared_ptr<const TokenSet> tokens, size_t capacity) : impl_(std::make_unique<Impl>()) {
  check(capacity > 0, "a grammar cache that holds something");
  impl_->tokens = std::move(tokens);
  impl_->capacity = capacity;
}
GrammarCache::~GrammarCache() = default;

Compiled GrammarCache::get(const Spec& spec) {
  const std::string key = std::to_string(static_cast<int>(spec.kind)) + ":" + spec.text;
  std::promise<Compiled> promise;
  {
    std::unique_lock lock(impl_->mutex);
    if (const auto known = impl_->entries.find(key); known != impl_->entries.end()) {
      impl_->by_age.splice(impl_->by_age.begin(), impl_->by_age, known->second.age);
      const auto result = known->second.result;
      lock.unlock();
      return result.get();
    }
    impl_->by_age.push_front(key);
    impl_->entries.emplace(key, Impl::Entry{promise.get_future().share(), impl_->by_age.begin()});
    if (impl_->entries.size() > impl_->capacity) {
      impl_->entries.erase(impl_->by_age.back());
      impl_->by_age.pop_back();
    }
  }
  Compiled result = [&]() -> Compiled {
    try {
      return CompiledGrammar::compile(spec, impl_->tokens);
    } catch (const std::exception& e) {  // those who wait must hear of it too
      return failure(Code::kInternal, std::string("compiling the grammar failed: ") + e.what());
    }
  }();
  promise.set_value(result);
  return result;
}

}  // namespace cairn::text::grammar
