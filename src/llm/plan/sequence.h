// A request as the scheduler sees it: token ids and counters, no tensors and no sampling parameters.
#pragma once
#include <optional>
#include <vector>

#include "kv/prefix_tree.h"

namespace cairn::llm {

using kv::BlockId;
using kv::Token;
using RequestId = uint64_t;  // in the order of arrival, never used twice

struct Request {
  std::vector<Token> prompt;
  std::optional<int64_t> max_new_tokens{};  // none: as many as fit; 0: only the prompt is computed
  int64_t priority = 0;                     // larger goes first
  // Prompt positions from here on are computed although a cache may have them: for log-probabilities of the prompt.
  std::optional<int64_t> recompute_from{};
  kv::Hash identity{};  // kv::Identity::hash() of the model, the layout, the adapter and the tenant
};

enum class FinishReason { kStop, kLength };

// A request under way. Positions [0, computed) have their keys and values in `blocks`; positions [computed, planned)
// get theirs from plans that are not committed yet, in blocks which those plans own; the tokens of the last `unknown`
// positions are being sampled by such plans.
struct Sequence {
  RequestId id = 0;
  int64_t prompt_size = 0, max_new = 0, priority = 0;
  std::optional<int64_t> recompute_from;
  kv::Hash identity;
  std::vector<Token> tokens;  // the prompt and what has been generated
  bool running = false, prefilling = false;
  int64_t computed = 0, planned = 0, unknown = 0;
  int64_t cached = 0;  // prompt tokens that were found in the cache when it was first admitted
  int64_t retractions = 0;
  int64_t pending = 0;  // plans under way that have a row of it
  int32_t slot = -1;    // a small number of its own while it runs: where a device keeps its last sampled token
  uint32_t epoch = 0;   // a row of an older epoch says nothing about the blocks held now
  std::vector<kv::BlockRef> blocks;
  std::vector<BlockId> table;  // ids of `blocks` and of the blocks that plans hold for it
  kv::PrefixTree::Lock lock;
  int64_t inserted = 0;          // blocks of it that the tree has been given
  std::optional<kv::Hash> lead;  // of the first tokens, by which requests that share them are recognised
  kv::PrefixTree::Peek peek;     // valid for peeked_at == tree.version()
  std::optional<uint64_t> peeked_at;

  int64_t known() const { return static_cast<int64_t>(tokens.size()); }
  int64_t length() const { return known() + unknown; }
  int64_t generated() const { return known() - prompt_size; }
  int64_t to_generate() const { return max_new - generated() - unknown; }
  // All its tokens are planned: the commits under way will finish it.
  bool finishing() const { return !prefilling && to_generate() <= 0; }
};

}  // namespace cairn::llm
