#include <algorithm>
#include <array>
#include <bit>

#include "text/byte_level.h"
#include "text/model.h"
#include "text/unicode.h"

namespace cairn::text {
namespace {

constexpr size_t kCachedWord = 64;  // bytes: longer pieces hardly come twice
constexpr size_t kCachedWords = 1 << 16;

struct Merge {
  uint32_t rank;
  Id merged;
};

// (left id, right id) -> merge, by open addressing: this look-up is what BPE spends its time on.
class MergeTable {
 public:
  explicit MergeTable(size_t count) : slots_(std::bit_ceil(count * 2 + 2)) {}

  void set(Id left, Id right, Merge m) {
    Slot& s = slot(key(left, right));
    s = {key(left, right), m};
  }
  const Merge* find(Id left, Id right) const {
    const Slot& s = const_cast<MergeTable*>(this)->slot(key(left, right));
    return s.key == kFree ? nullptr : &s.merge;
  }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};
  struct Slot {
    uint64_t key = kFree;
    Merge merge{};
  };
  static uint64_t key(Id left, Id right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  Slot& slot(uint64_t k) {
    const size_t mask = slots_.size() - 1;
    size_t i = static_cast<size_t>((k * 0x9e3779b97f4a7c15u) >> 32) & mask;
    while (slots_[i].key != kFree && slots_[i].key != k) i = (i + 1) & mask;
    return slots_[i];
  }
  std::vector<Slot> slots_;
};

struct Options {
  std::string unk_token, prefix, suffix;  // continuing_subword_prefix and end_of_word_suffix
  bool fuse_unk = false, byte_fallback = false, ignore_merges = false;
};

class Bpe final : public Model {
 public:
  Bpe(Vocabulary v, MergeTable merges, Options options, bool raw_bytes)
      : Model(std::move(v)), merges_(std::move(merges)), options_(std::move(options)), raw_bytes_(raw_bytes) {
    if (const auto id = vocabulary_.find(options_.unk_token); id && !options_.unk_token.empty()) unk_ = *id;
    if (options_.byte_fallback) bytes_ = byte_tokens(vocabulary_);
    for (size_t b = 0; b < 256; ++b)
      for (size_t place = 0; place < 4; ++place) {
        std::string spelt;
        if (raw_bytes_) {
          append_byte_level(spelt, std::string(1, static_cast<char>(b)));
        } else if (b < 0x80) {
          spelt = static_cast<char>(b);
        }
        single_[place][b] = spelt.empty() ? -1 : decorated(spelt, place);
      }
  }

  Result<void> tokenize(std::string_view piece, size_t base, Scratch& s, Output& out) const override {
    const bool cached = !out.tracked && piece.size() <= kCachedWord;
    if (cached)
      if (const auto it = s.words.find(piece); it != s.words.end()) {
        out.ids.insert(out.ids.end(), it->second.begin(), it->second.end());
        return {};
      }
    const size_t from = out.ids.size();
    if (const auto whole = options_.ignore_merges ? find_word(piece) : std::nullopt) {
      out.add(*whole, base);
    } else {
      TRY_VOID(start(piece, s));
      merge(s);
      for (int32_t i = s.symbols.empty() ? -1 : 0; i >= 0; i = s.symbols[static_cast<size_t>(i)].next) {
        const auto& symbol = s.symbols[static_cast<size_t>(i)];
        out.add(symbol.id, base + symbol.begin);
      }
    }
    if (cached && s.words.size() < kCachedWords)
      s.words.emplace(piece, std::vector<Id>(out.ids.begin() + static_cast<std::ptrdiff_t>(from), out.ids.end()));
    return {};
  }

 private:
  // Bit 0 of `place`: the first of its piece; bit 1: the last.
  Id decorated(std::string_view unit, size_t place) const {
    std::string spelt = place & 1 ? "" : options_.prefix;
    spelt += unit;
    if (place & 2) spelt += options_.suffix;
    return vocabulary_.find(spelt).value_or(-1);
  }

  std::optional<Id> find_word(std::string_view piece) const {
    if (!raw_bytes_) return vocabulary_.find(piece);
    std::string spelt;
    append_byte_level(spelt, piece);
    return vocabulary_.find(spelt);
  }

  // One symbol for each code point (or byte) of the piece. What the vocabulary lacks becomes its bytes, or <unk>, or
  // nothing.
  Result<void> start(std::string_view piece, Scratch& s) const {
    s.symbols.clear();
    const auto add = [&](Id id, size_t begin, size_t size) {
      const auto n = static_cast<int32_t>(s.symbols.size());
      s.symbols.push_back({id, n - 1, n + 1, static_cast<uint32_t>(begin), static_cast<uint32_t>(size)});
    };
    size_t unk_begin = 0, unk_size = 0;  // an unknown stretch that was not written yet
    for (size_t at = 0, size; at < piece.size(); at += size) {
      const auto lead = static_cast<uint8_t>(piece[at]);
      size = raw_bytes_ ? 1 : code_point_at(piece, at).size;
      const size_t place = (at == 0 ? 1u : 0u) | (at + size == piece.size() ? 2u : 0u);
      const Id id = size == 1 ? single_[place][lead] : decorated(piece.substr(at, size), place);
      if (id >= 0) {
        if (unk_size) add(unk_, unk_begin, unk_size);
        unk_size = 0;
        add(id, at, size);
        continue;
      }
      if (options_.byte_fallback && add_bytes(piece.substr(at, size), place, at, add)) continue;
      if (options_.unk_token.empty()) continue;
      if (unk_ < 0) return corrupt("the unknown token \"" + options_.unk_token + "\" is not in the vocabulary");
      if (unk_size && options_.fuse_unk) {
        unk_size += size;
        continue;
      }
      if (unk_size) add(unk_, unk_begin, unk_size);
      unk_begin = at, unk_size = size;
    }
    if (unk_size) add(unk_, unk_begin, unk_size);
    if (!s.symbols.empty()) s.symbols.back().next = -1;
    return {};
  }

  template <class Add>
  bool add_bytes(std::string_view unit, size_t place, size_t at, Add& add) const {
    std::string spelt = place & 1 ? "" : options_.prefix;
    spelt += unit;
    if (place & 2) spelt += options_.suffix;
    for (const char c : spelt)
      if (bytes_[static_cast<uint8_t>(c)] < 0) return false;
    for (const char c : spelt) add(bytes_[static_cast<uint8_t>(c)], at, 1);
    return true;
  }

  // Joins neighbours, the lowest rank first and the leftmost of equals, until no pair is in the table.
  void merge(Scratch& s) const {
    auto& symbols = s.symbols;
    auto& heap = s.heap;
    heap.clear();
    const auto later = [](const Scratch::Candidate& a, const Scratch::Candidate& b) {
      return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
    };
    const auto propose = [&](int32_t left) {
      if (left < 0) return false;
      const auto& a = symbols[static_cast<size_t>(left)];
      if (a.next < 0) return false;
      const auto& b = symbols[static_cast<size_t>(a.next)];
      const Merge* m = merges_.find(a.id, b.id);
      if (m) heap.push_back({m->rank, left, m->merged, a.size + b.size});
      return m != nullptr;
    };
    for (size_t i = 0; i + 1 < symbols.size(); ++i) propose(static_cast<int32_t>(i));
    std::make_heap(heap.begin(), heap.end(), later);
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), later);
      const auto c = heap.back();
      heap.pop_back();
      auto& a = symbols[static_cast<size_t>(c.left)];
      if (a.size == 0 || a.next < 0) continue;
      auto& b = symbols[static_cast<size_t>(a.next)];
      if (a.size + b.size != c.size) continue;
      a.id = c.merged;
      a.size = c.size;
      a.next = b.next;
      b.size = 0;
      if (a.next >= 0) symbols[static_cast<size_t>(a.next)].previous = c.left;
      if (propose(a.previous)) std::push_heap(heap.begin(), heap.end(), later);
      if (propose(c.left)) std::push_heap(heap.begin(), heap.end(), later);
    }
  }

  MergeTable merges_;
  Options options_;
  bool raw_bytes_;
  Id unk_ = -1;
  std::vector<Id> bytes_;
  std::array<std::array<Id, 256>, 4> single_;
};

// "a b" or ["a", "b"].
Result<std::pair<std::string_view, std::string_view>> halves(const Json& j) {
  if (const auto* s = j.as_string()) {
    const std::string_view text = *s;
    const size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos)
      return std::pair(text.substr(0, space), text.substr(space + 1));
  } else if (const auto* a = j.as_array(); a && a->size() == 2 && (*a)[0].as_string() && (*a)[1].as_string()) {
    return std::pair(std::string_view(*(*a)[0].as_string()), std::string_view(*(*a)[1].as_string()));
  }
  return corrupt("it must be two tokens");
}

Result<MergeTable> read_merges(const Json* j, const Vocabulary& v, const std::string& prefix) {
  const auto* list = j ? j->as_array() : nullptr;
  if (!list) return corrupt("the BPE model holds no list \"merges\"");
  MergeTable table(list->size());
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string where = "merge " + std::to_string(i);
    const auto pair = halves((*list)[i]);
    if (!pair) return tl::unexpected(within(where, pair.error()));
    const auto [left, right] = *pair;
    if (!right.starts_with(prefix)) return corrupt(where + " lacks the prefix of continuing pieces");
    const auto a = v.find(left), b = v.find(right),
               merged = v.find(std::string(left) + std::string(right.substr(prefix.size())));
    if (!a || !b || !merged)
      return corrupt(where + " (\"" + std::string(left) + "\", \"" + std::string(right) +
                     "\") names a token that is not in the vocabulary");
    table.set(*a, *b, {static_cast<uint32_t>(i), *merged});
  }
  return table;
}

}  // namespace

std::vector<Id> byte_tokens(const Vocabulary& v) {
  constexpr const char* digits = "0123456789ABCDEF";
  std::vector<Id> out(256, -1);
  for (size_t b = 0; b < 256; ++b)
    out[b] = v.find(std::string("<0x") + digits[b >> 4] + digits[b & 15] + ">").value_or(-1);
  return out;
}

Result<std::unique_ptr<const Model>> parse_bpe(const Json& j, bool raw_bytes) {
  const auto on = [&](std::string_view key) {
    const Json* v = j.find(key);
    return v && v->as_bool() && *v->as_bool();
  };
  Options options{j.text("unk_token"),          j.text("continuing_subword_prefix"),
                  j.text("end_of_word_suffix"), on("fuse_unk"),
                  on("byte_fallback"),          on("ignore_merges")};
  const Json* vocab = j.find("vocab");
  if (!vocab) return corrupt("the BPE model holds no \"vocab\"");
  Vocabulary v = TRY(Vocabulary::from_json(*vocab));
  MergeTable merges = TRY(read_merges(j.find("merges"), v, options.prefix));
  return std::make_unique<const Bpe>(std::move(v), std::move(merges), std::move(options), raw_bytes);
}

}  // namespace cairn::text
