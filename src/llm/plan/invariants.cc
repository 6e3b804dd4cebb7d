#include "llm/plan/invariants.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "kv/invariants.h"

namespace cairn::llm {
namespace {

using Row = SchedulerSnapshot::Row;

std::vector<std::string> sequence_faults(const Row& s, const SchedulerSnapshot& all) {
  std::vector<std::string> out;
  const auto require = [&](bool ok, std::string what) {
    if (!ok) out.push_back(fmt::format("request {}: {}", s.id, what));
  };
  const auto size = all.pool.block_size;
  const auto owned = static_cast<int64_t>(s.blocks.size()), listed = static_cast<int64_t>(s.table.size());
  require(s.pending >= 0 && s.pending <= static_cast<int64_t>(all.underway.size()),
          fmt::format("{} rows in {} plans", s.pending, all.underway.size()));
  require(s.unknown >= 0 && s.unknown <= s.pending, fmt::format("{} tokens from {} rows", s.unknown, s.pending));
  require(s.known + s.unknown - s.prompt <= s.max_new, "more tokens than max_new_tokens");
  if (!s.running) {
    require(s.computed == 0 && s.planned == 0 && owned == 0 && listed == 0 && s.slot < 0,
            "it waits, and has computed tokens, blocks or a slot");
    return out;
  }
  require(0 <= s.computed && s.computed <= s.planned && s.planned <= s.known + s.unknown && s.computed <= s.known,
          fmt::format("computed {}, planned {}, known {}, unknown {}", s.computed, s.planned, s.known, s.unknown));
  require(owned * size >= s.computed, fmt::format("{} computed tokens in {} blocks", s.computed, owned));
  require(listed * size >= s.planned, fmt::format("{} planned tokens in {} blocks", s.planned, listed));
  require(listed >= owned && std::equal(s.blocks.begin(), s.blocks.end(), s.table.begin()),
          "its table does not begin with the blocks it owns");
  require(s.slot >= 0 && s.slot < all.max_running, fmt::format("slot {}", s.slot));
  return out;
}

// A block that is yet to be written has one reader: the sequence that writes it.
std::vector<std::string> writing_faults(const SchedulerSnapshot& all) {
  std::vector<std::string> out;
  std::map<BlockId, int> tables;
  for (const Row& s : all.sequences)
    for (const BlockId id : s.table) ++tables[id];
  std::set<BlockId> cached;
  for (const auto& node : all.tree.nodes) cached.insert(node.blocks.begin(), node.blocks.end());
  for (const Row& s : all.sequences) {
    for (auto i = static_cast<size_t>(s.computed / all.pool.block_size); i < s.table.size(); ++i) {
      if (tables[s.table[i]] > 1)
        out.push_back(fmt::format("request {}: another one has block {}, which it writes", s.id, s.table[i]));
      if (cached.contains(s.table[i]))
        out.push_back(fmt::format("request {}: the cache has block {}, which it writes", s.id, s.table[i]));
    }
  }
  return out;
}

std::vector<std::string> ownership_faults(const SchedulerSnapshot& all) {
  std::vector<std::string> out;
  std::vector<int32_t> owners(all.pool.owners.size());
  const auto count = [&](const std::vector<BlockId>& ids) {
    for (const BlockId id : ids)
      if (id >= 0 && static_cast<size_t>(id) < owners.size()) ++owners[static_cast<size_t>(id)];
  };
  for (const auto& node : all.tree.nodes) count(node.blocks);
  for (const Row& s : all.sequences) count(s.blocks);
  for (const auto& u : all.underway) count(u.reserved), count(u.late);
  count(all.external);
  for (size_t id = 0; id < owners.size(); ++id)
    if (owners[id] != all.pool.owners[id])
      out.push_back(fmt::format("block {} counts {} owners and has {}", id, all.pool.owners[id], owners[id]));
  return out;
}

}  // namespace

std::vector<std::string> invariants(const SchedulerSnapshot& all) {
  std::vector<std::string> out;
  const auto add = [&](std::vector<std::string> more) { std::ranges::move(more, std::back_inserter(out)); };
  add(kv::invariants(all.pool));
  add(kv::invariants(all.tree, all.pool));
  std::set<int32_t> slots;
  int64_t running = 0;
  for (const Row& s : all.sequences) {
    add(sequence_faults(s, all));
    if (!s.running) continue;
    ++running;
    if (!slots.insert(s.slot).second) out.push_back(fmt::format("request {}: slot {} is taken", s.id, s.slot));
  }
  if (running > all.max_running) out.push_back(fmt::format("{} requests run, {} may", running, all.max_running));
  if (running + all.waiting != static_cast<int64_t>(all.sequences.size()))
    out.push_back(fmt::format("{} requests: {} run and {} wait", all.sequences.size(), running, all.waiting));
  add(writing_faults(all));
  add(ownership_faults(all));
  return out;
}

}  // namespace cairn::llm
