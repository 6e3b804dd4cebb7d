#include "kv/hash.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace cairn::kv {
namespace {

static_assert(std::endian::native == std::endian::little, "words and tokens are hashed as little-endian bytes");

// The state of SipHash-2-4-128, fed with whole words.
class Sip {
 public:
  explicit Sip(const Hash& key)
      : a_(key.low ^ 0x736f6d6570736575),
        b_(key.high ^ 0x646f72616e646f6d ^ 0xee),
        c_(key.low ^ 0x6c7967656e657261),
        d_(key.high ^ 0x7465646279746573) {}

  void word(uint64_t w) {
    d_ ^= w;
    round();
    round();
    a_ ^= w;
  }

  // `last`: the bytes that fill no word, with the length modulo 256 in the top byte.
  Hash finish(uint64_t last) {
    word(last);
    c_ ^= 0xee;
    for (int i = 0; i < 4; ++i) round();
    Hash out;
    out.low = a_ ^ b_ ^ c_ ^ d_;
    b_ ^= 0xdd;
    for (int i = 0; i < 4; ++i) round();
    out.high = a_ ^ b_ ^ c_ ^ d_;
    return out;
  }

 private:
  void round() {
    a_ += b_;
    c_ += d_;
    b_ = std::rotl(b_, 13) ^ a_;
    d_ = std::rotl(d_, 16) ^ c_;
    a_ = std::rotl(a_, 32);
    c_ += b_;
    a_ += d_;
    b_ = std::rotl(b_, 17) ^ c_;
    d_ = std::rotl(d_, 21) ^ a_;
    c_ = std::rotl(c_, 32);
  }
  uint64_t a_, b_, c_, d_;
};

// Feeds `data`, before which `earlier` bytes (whole words) were fed, and finishes.
Hash absorb(Sip& sip, std::span<const std::byte> data, size_t earlier) {
  size_t at = 0;
  for (; at + 8 <= data.size(); at += 8) {
    uint64_t w;
    std::memcpy(&w, data.data() + at, 8);
    sip.word(w);
  }
  uint64_t last = 0;
  if (at < data.size()) std::memcpy(&last, data.data() + at, data.size() - at);
  return sip.finish(last | static_cast<uint64_t>(earlier + data.size()) << 56);
}

}  // namespace

std::string Hash::hex() const {
  std::string out;
  for (const uint64_t word : {low, high})
    for (int i = 0; i < 8; ++i) out += fmt::format("{:02x}", word >> (8 * i) & 0xff);
  return out;
}

Hash siphash(const Hash& key, std::span<const std::byte> data) {
  Sip sip(key);
  return absorb(sip, data, 0);
}

Hash Identity::hash() const {
  std::string all;
  // Lengths in front, so that no two identities give one text.
  for (const std::string* part : {&model, &layout, &adapter, &salt}) all += fmt::format("{}:{}", part->size(), *part);
  return siphash({0x6e72696163, 1}, std::as_bytes(std::span(all)));
}

Hash chained(const Hash& identity, const Hash& previous, std::span<const Token> tokens) {
  Sip sip(identity);
  sip.word(previous.low);
  sip.word(previous.high);
  return absorb(sip, std::as_bytes(tokens), 16);
}

std::vector<Hash> chain(const Hash& identity, std::span<const Token> tokens, int64_t block_size) {
  const auto size = static_cast<size_t>(block_size);
  std::vector<Hash> out;
  out.reserve(tokens.size() / size);
  for (size_t at = 0; at + size <= tokens.size(); at += size)
    out.push_back(chained(identity, out.empty() ? identity : out.back(), tokens.subspan(at, size)));
  return out;
}

}  // namespace cairn::kv
