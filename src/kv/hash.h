// Content addresses of blocks of keys and values: a block's hash covers every token up to its end and the identity
// under which its numbers were computed, so equal hashes mean interchangeable blocks, on any machine.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace cairn::kv {

using Token = int32_t;  // an id of the model's vocabulary

struct Hash {
  uint64_t low = 0, high = 0;
  auto operator<=>(const Hash&) const = default;
  std::string hex() const;  // 32 digits, in the order of the bytes
};

// What besides the tokens decides the numbers in a block, and who may share them.
struct Identity {
  std::string model;    // name and revision of the weights
  std::string layout;   // dtype, block layout, block size, parallel sharding
  std::string adapter;  // LoRA; empty for none
  std::string salt;     // tenants with different salts never share a block
  Hash hash() const;
};

// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012).
Hash siphash(const Hash& key, std::span<const std::byte> data);

// The address of the block that holds `tokens` and follows the block `previous` (the identity's hash for a first
// block). The identity is the key: without its salt nobody can construct two prompts with one address.
Hash chained(const Hash& identity, const Hash& previous, std::span<const Token> tokens);

// The addresses of all whole blocks of `tokens`: what a tier is asked for.
std::vector<Hash> chain(const Hash& identity, std::span<const Token> tokens, int64_t block_size);

}  // namespace cairn::kv

template <>
struct std::hash<cairn::kv::Hash> {
  size_t operator()(const cairn::kv::Hash& h) const noexcept { return static_cast<size_t>(h.low); }
};
