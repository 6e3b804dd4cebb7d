#include "text/spiece.h"

#include <bit>
#include <cstring>

#include "text/unicode.h"

namespace cairn::text {
namespace {

// One field of a protobuf message; `bytes` for strings and messages, `number` for the others.
struct Field {
  uint64_t number = 0;
  std::string_view bytes;
  uint32_t tag = 0;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }

  Result<Field> next() {
    Field f;
    const uint64_t key = TRY(varint());
    f.tag = static_cast<uint32_t>(key >> 3);
    switch (key & 7) {
      case 0:
        f.number = TRY(varint());
        return f;
      case 1:
        return fixed(f, 8);
      case 2: {
        const uint64_t size = TRY(varint());
        if (size > rest_.size()) return corrupt("sentencepiece model: a field runs past the end");
        f.bytes = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return f;
      }
      case 5:
        return fixed(f, 4);
      default:
        return corrupt("sentencepiece model: not a protobuf file");
    }
  }

 private:
  Result<uint64_t> varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    return corrupt("sentencepiece model: the file is cut short");
  }
  Result<Field> fixed(Field f, size_t size) {
    if (rest_.size() < size) return corrupt("sentencepiece model: the file is cut short");
    std::memcpy(&f.number, rest_.data(), size);
    rest_.remove_prefix(size);
    return f;
  }
  std::string_view rest_;
};

template <class Visit>
Result<void> each_field(std::string_view message, Visit visit) {
  for (Reader r(message); !r.done();) TRY_VOID(visit(TRY(r.next())));
  return {};
}

Result<SentencePieceModel::Piece> read_piece(std::string_view message) {
  SentencePieceModel::Piece p;
  TRY_VOID(each_field(message, [&](const Field& f) -> Result<void> {
    if (f.tag == 1) p.text = f.bytes;
    if (f.tag == 2) p.score = static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(f.number)));
    if (f.tag == 3) p.type = static_cast<int64_t>(f.number);
    return {};
  }));
  if (invalid_utf8_at(p.text) != std::string::npos) return corrupt("sentencepiece model: a piece is not UTF-8");
  return p;
}

}  // namespace

Result<SentencePieceModel> parse_sentencepiece(std::string_view bytes) {
  SentencePieceModel model;
  TRY_VOID(each_field(bytes, [&](const Field& f) -> Result<void> {
    if (f.tag == 1) model.pieces.push_back(TRY(read_piece(f.bytes)));
    if (f.tag == 2)  // trainer_spec
      return each_field(f.bytes, [&](const Field& g) -> Result<void> {
        if (g.tag == 3) model.model_type = static_cast<int64_t>(g.number);
        if (g.tag == 35) model.byte_fallback = g.number != 0;
        if (g.tag == 40) model.unk_id = static_cast<int64_t>(g.number);
        return {};
      });
    if (f.tag == 3)  // normalizer_spec
      return each_field(f.bytes, [&](const Field& g) -> Result<void> {
        if (g.tag == 2) model.charsmap = g.bytes;
        return {};
      });
    return {};
  }));
  if (model.pieces.empty()) return corrupt("sentencepiece model: it holds no pieces");
  return model;
}

}  // namespace cairn::text
