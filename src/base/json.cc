#include "base/json.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/file.h"

namespace cairn {
namespace {

constexpr size_t kMaxDepth = 256;

// Builds a Json from the events of nlohmann's parser, on a stack of its own, so that depth is ours to bound.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  Json root;
  std::string error;

  bool null() override { return put(Json()); }
  bool boolean(bool v) override { return put(Json(v)); }
  bool number_integer(number_integer_t v) override { return put(Json(int64_t{v})); }
  bool number_unsigned(number_unsigned_t v) override {
    if (v > static_cast<number_unsigned_t>(std::numeric_limits<int64_t>::max()))
      return put(Json(static_cast<double>(v)));
    return put(Json(static_cast<int64_t>(v)));
  }
  bool number_float(number_float_t v, const string_t&) override { return put(Json(double{v})); }
  bool string(string_t& v) override { return put(Json(std::move(v))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json(Json::Object{})); }
  bool start_array(std::size_t) override { return open(Json(Json::Array{})); }
  bool key(string_t& v) override {
    keys_.back() = std::move(v);
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& e) override {
    error = e.what();
    if (const auto at = error.find("at line"); at != std::string::npos) error = error.substr(at);
    return false;
  }

 private:
  bool put(Json v) {
    if (stack_.empty()) {
      root = std::move(v);
    } else if (auto* a = stack_.back().as_array()) {
      a->push_back(std::move(v));
    } else {
      stack_.back().as_object()->emplace_back(std::move(keys_.back()), std::move(v));
    }
    return true;
  }
  bool open(Json v) {
    if (stack_.size() >= kMaxDepth) {
      error = "nested deeper than " + std::to_string(kMaxDepth) + " levels";
      return false;
    }
    stack_.push_back(std::move(v));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    Json v = std::move(stack_.back());
    if (auto* o = v.as_object()) keep_last(*o);
    stack_.pop_back();
    keys_.pop_back();
    return put(std::move(v));
  }

  // Of a repeated key the last value counts, at the place of the first.
  static void keep_last(Json::Object& o) {
    std::unordered_map<std::string_view, size_t> place;
    bool repeated = false;
    for (size_t i = 0; i < o.size(); ++i) {
      const auto [first, is_new] = place.try_emplace(o[i].first, i);
      if (is_new) continue;
      o[first->second].second = std::move(o[i].second);
      repeated = true;
    }
    if (!repeated) return;
    Json::Object kept;
    for (size_t i = 0; i < o.size(); ++i)
      if (place.at(o[i].first) == i) kept.push_back(o[i]);
    o = std::move(kept);
  }

  std::vector<Json> stack_;
  std::vector<std::string> keys_;
};

nlohmann::ordered_json foreign(const Json& j) {
  if (const auto* b = j.as_bool()) return *b;
  if (const auto* i = j.as_int()) return *i;
  if (j.is_number()) return std::isfinite(j.number()) ? nlohmann::ordered_json(j.number()) : nlohmann::ordered_json();
  if (const auto* s = j.as_string()) return *s;
  if (const auto* a = j.as_array()) {
    auto out = nlohmann::ordered_json::array();
    for (const auto& v : *a) out.push_back(foreign(v));
    return out;
  }
  if (const auto* o = j.as_object()) {
    auto out = nlohmann::ordered_json::object();
    for (const auto& [k, v] : *o) out[k] = foreign(v);
    return out;
  }
  return nullptr;
}

}  // namespace

Result<Json> Json::parse(std::string_view text) {
  Builder builder;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder))
    return corrupt("not valid JSON: " + builder.error);
  return std::move(builder.root);
}

Result<Json> Json::read(const std::string& path) {
  const std::string text = TRY(read_file(path));
  auto j = parse(text);
  if (!j) return tl::unexpected(within(path, std::move(j).error()));
  return j;
}

double Json::number() const {
  if (const auto* i = as_int()) return static_cast<double>(*i);
  const auto* d = std::get_if<double>(&value_);
  return d ? *d : 0;
}

const Json* Json::find(std::string_view key) const {
  const auto* o = as_object();
  if (!o) return nullptr;
  for (auto m = o->rbegin(); m != o->rend(); ++m)
    if (m->first == key) return &m->second;
  return nullptr;
}

void Json::set(std::string_view key, Json value) {
  if (is_null()) value_ = Object{};
  auto* o = as_object();
  check(o != nullptr, "Json::set on a value that is no object");
  for (auto& [k, v] : *o)
    if (k == key) {
      v = std::move(value);
      return;
    }
  o->emplace_back(std::string(key), std::move(value));
}

std::string Json::text(std::string_view key, std::string_view otherwise) const {
  const Json* v = find(key);
  const std::string* s = v ? v->as_string() : nullptr;
  return s ? *s : std::string(otherwise);
}

const char* Json::kind() const {
  constexpr const char* names[] = {"null", "a boolean", "an integer", "a number", "a string", "a list", "an object"};
  return names[value_.index()];
}

std::string Json::dump(int indent) const {
  return foreign(*this).dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace cairn
