// JSON schema -> grammar. Where the texts are fewer than the valid ones:
// - Members come in the order of `properties`; others, where allowed, come after them.
// - An object with `properties` and an array with `prefixItems` have no further members unless the schema says so
//   (`additionalProperties`, `items`), as structured outputs elsewhere have it.
// - A keyword such as minLength without a `type` means the type that it speaks of.
// - Further keys are written without escapes; numbers are as JsonParts says; blanks are few.
#include "text/grammar/json_schema.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "text/grammar/json_keywords.h"
#include "text/grammar/json_parts.h"
#include "text/grammar/json_shape.h"
#include "text/regex.h"

namespace cairn::text::grammar {
namespace {

constexpr size_t kLongestName = 400;  // bytes of a property's name

class Compiler {
 public:
  Compiler(const Json& root, Ir& ir) : schemas_(root), parts_(ir), ir_(ir) {}

  Result<RuleId> whole(const Json& root) {
    const RuleId start = rule_of({{&root, "#"}});
    while (!todo_.empty()) {
      const auto [rule, all] = std::move(todo_.back());
      todo_.pop_back();
      std::vector<NodeId> options;
      for (const Shape& shape : TRY(schemas_.ways(all))) options.push_back(TRY(value(shape)));
      ir_.define(rule, ir_.choice(options));
      if (ir_.overfull()) break;
    }
    return start;
  }

 private:
  // One rule for each set of schemas, which is what makes recursive schemas finite.
  RuleId rule_of(const Conjunction& all) {
    std::vector<const Json*> key;
    for (const Place& p : all) key.push_back(p.schema);
    std::ranges::sort(key);
    key.erase(std::unique(key.begin(), key.end()), key.end());
    const auto [it, is_new] = rules_.try_emplace(std::move(key), 0);
    if (is_new) {
      it->second = ir_.declare(all.front().path);
      todo_.emplace_back(it->second, all);
    }
    return it->second;
  }
  NodeId value(const Conjunction& all) { return all.empty() ? parts_.any_value() : ir_.call(rule_of(all)); }

  Result<NodeId> value(const Shape& s) {
    if (s.values) return listed(s);
    const uint8_t types = s.effective_types();
    const bool limited = s.limits_strings() || s.limits_numbers() || s.limits_arrays() || s.limits_objects();
    if (types == kAnyType && !limited) return parts_.any_value();
    std::vector<NodeId> options;
    if (types & kNull) options.push_back(ir_.literal("null"));
    if (types & kBoolean) options.push_back(ir_.choice({ir_.literal("true"), ir_.literal("false")}));
    if (types & kReal) {
      options.push_back(parts_.number(s.range));
    } else if (types & kInteger) {
      options.push_back(parts_.integer(s.range));
    }
    if (types & kString) options.push_back(TRY(string(s)));
    if (types & kArray) options.push_back(TRY(array(s)));
    if (types & kObject) options.push_back(TRY(object(s)));
    return ir_.choice(options);
  }

  Result<NodeId> listed(const Shape& s) {
    std::vector<NodeId> options;
    for (const Json& v : *s.values) {
      const uint8_t type = type_of(v);
      if (!(type & s.types)) continue;
      const bool limited = (type == kString && s.limits_strings()) || (type == kArray && s.limits_arrays()) ||
                           (type == kObject && s.limits_objects()) ||
                           ((type & (kInteger | kReal)) && s.limits_numbers());
      if (limited) return not_supported(s.values_path, "a list of values beside other limits on them");
      options.push_back(ir_.literal(v.dump()));
    }
    return ir_.choice(options);
  }

  Result<NodeId> string(const Shape& s) {
    if (s.min_length > s.max_length) return ir_.never();
    if (!s.limits_strings()) return parts_.any_string();
    if (s.patterns.empty()) return parts_.string(s.min_length, s.max_length);
    auto out = parts_.string(s.patterns, s.min_length, s.max_length);
    if (!out) return tl::unexpected(within("JSON schema, " + s.patterns_path, out.error()));
    return out;
  }

  Result<NodeId> array(const Shape& s) {
    if (!s.unique_path.empty() && s.max_items > 1)
      return not_supported(s.unique_path, "the keyword \"uniqueItems\" (with a maxItems above 1)");
    size_t prefix = 0;
    bool more_given = false, has_prefix = false;
    for (const auto& part : s.arrays) {
      if (part.prefix) prefix = std::max(prefix, part.prefix->size()), has_prefix = true;
      more_given |= part.items.has_value();
    }
    if (prefix > 500) return not_supported(s.arrays.front().prefix_path, "a list of more than 500 schemas");
    const auto item = [&](size_t i) {
      Conjunction all;
      for (const auto& part : s.arrays) {
        if (part.prefix && i < part.prefix->size()) {
          all.push_back({&(*part.prefix)[i], fmt::format("{}/{}", part.prefix_path, i)});
        } else if (part.items) {
          all.push_back(*part.items);
        }
      }
      return value(all);
    };
    const uint32_t fixed = static_cast<uint32_t>(prefix);
    const uint32_t most = has_prefix && !more_given ? std::min(s.max_items, fixed) : s.max_items;
    if (s.min_items > most) return ir_.never();
    if (prefix == 0) return parts_.list('[', item(0), ']', s.min_items, most);

    // From the back: what may follow the first i items.
    const NodeId comma = ir_.sequence({ir_.literal(","), parts_.blanks()});
    NodeId rest = ir_.empty();
    if (most > fixed)
      rest = ir_.repeat(ir_.sequence({comma, item(prefix)}), s.min_items > fixed ? s.min_items - fixed : 0,
                        most == kNoLimit ? kNoLimit : most - fixed);
    for (uint32_t i = std::min(fixed, most); i-- > 0;) {
      rest = ir_.sequence({i == 0 ? ir_.empty() : comma, item(i), i + 1 == most ? ir_.empty() : rest});
      if (i == 0) rest = ir_.sequence({rest, parts_.blanks()});
      if (s.min_items <= i) rest = ir_.optional(rest);
    }
    return ir_.sequence({ir_.literal("["), parts_.blanks(), rest, ir_.literal("]")});
  }

  struct Member {
    NodeId pair;
    bool required;
  };

  NodeId pair(NodeId key, NodeId member) { return ir_.sequence({key, ir_.literal(":"), parts_.blanks(), member}); }

  Result<std::vector<Member>> members(const Shape& s, std::vector<std::string>& names) {
    std::vector<Member> out;
    const auto add = [&](const std::string& name, const std::string& path) -> Result<void> {
      if (std::ranges::find(names, name) != names.end()) return {};
      if (name.size() > kLongestName)
        return not_supported(path, fmt::format("a name longer than {} bytes", kLongestName));
      names.push_back(name);
      const bool required = std::ranges::find(s.required, name) != s.required.end();
      const auto all = s.member(name);
      if (!all && !required) return {};
      out.push_back({all ? pair(ir_.literal(Json(name).dump()), value(*all)) : ir_.never(), required});
      return {};
    };
    for (const auto& part : s.objects)
      if (part.properties)
        for (const auto& [name, schema] : *part.properties) TRY_VOID(add(name, part.path + "/properties"));
    for (const std::string& name : s.required) TRY_VOID(add(name, "required"));
    return out;
  }

  // A member that is not declared; nothing when there may be none.
  Result<std::optional<NodeId>> extra(const Shape& s, const std::vector<std::string>& names) {
    const Shape::ObjectPart* patterned = nullptr;
    bool given = false, declared = false, refused = false;
    Conjunction all;
    for (const auto& part : s.objects) {
      if (part.properties && !part.properties->empty()) declared = true;
      if (part.patterns && !part.patterns->empty()) {
        const std::string path = part.path + "/patternProperties";
        if (patterned || part.patterns->size() > 1) return not_supported(path, "more than one pattern for keys");
        patterned = &part;
      }
      if (!part.additional) continue;
      const bool* b = part.additional->schema->as_bool();
      if (&part != patterned) refused |= b && !*b;
      given = true;
      if (&part != patterned) all.push_back(*part.additional);
    }
    if (refused) return std::nullopt;
    if (!patterned) {
      if (!given && declared) return std::nullopt;
      return pair(parts_.other_key(names), value(all));
    }
    const std::string path = patterned->path + "/patternProperties";
    if (const auto& other = patterned->additional)
      if (const bool* b = other->schema->as_bool(); !b || *b)
        return not_supported(patterned->path + "/additionalProperties", "a schema beside patternProperties");
    const auto& [pattern, schema] = patterned->patterns->front();
    if (auto known = Pattern::regex(pattern); !known)
      return tl::unexpected(within("JSON schema, " + path, known.error()));
    all.push_back({&schema, path + "/" + pattern});
    auto key = parts_.matching_key(pattern, names);
    if (!key) return tl::unexpected(within("JSON schema, " + path, key.error()));
    return pair(*key, value(all));
  }

  // What may follow when `count` declared members were written and no further one of them comes.
  NodeId further(const Shape& s, std::optional<NodeId> more, uint32_t count) {
    const bool enough = count >= s.min_properties;
    // Further keys may repeat, so that they count as one towards the least.
    if (!more || count >= s.max_properties) return enough ? ir_.empty() : ir_.never();
    if (!enough && count + 1 < s.min_properties) return ir_.never();
    const uint32_t least = enough ? 0 : 1, most = s.max_properties == kNoLimit ? kNoLimit : s.max_properties - count;
    const NodeId next = ir_.sequence({ir_.literal(","), parts_.blanks(), *more});
    if (count > 0) return ir_.repeat(next, least, most);
    const NodeId some = ir_.sequence({*more, ir_.repeat(next, 0, most == kNoLimit ? kNoLimit : most - 1)});
    return least == 0 ? ir_.optional(some) : some;
  }

  Result<NodeId> object(const Shape& s) {
    std::vector<std::string> names;
    const auto declared = TRY(members(s, names));
    const auto more = TRY(extra(s, names));
    if (s.min_properties > declared.size() + (more ? 1 : 0) && more && s.min_properties <= s.max_properties)
      return not_supported(s.objects.empty() ? "#" : s.objects.front().path,
                           "a minProperties above the number of declared properties and one");
    const auto size = static_cast<uint32_t>(declared.size());
    // A state for each number of members that were written, as far as it matters.
    const uint32_t counted = s.max_properties != kNoLimit ? size : std::min(size, std::max(1u, s.min_properties));
    std::vector<NodeId> after(counted + 1);
    for (uint32_t k = 0; k <= counted; ++k) after[k] = further(s, more, k);
    const NodeId comma = ir_.sequence({ir_.literal(","), parts_.blanks()});
    for (size_t i = declared.size(); i-- > 0;) {
      std::vector<NodeId> before(counted + 1);
      for (uint32_t k = 0; k <= std::min<size_t>(counted, i); ++k) {
        std::vector<NodeId> options;
        if (k < s.max_properties)
          options.push_back(
              ir_.sequence({k == 0 ? ir_.empty() : comma, declared[i].pair, after[std::min(k + 1, counted)]}));
        if (!declared[i].required) options.push_back(after[k]);
        const RuleId rule = ir_.declare("members");
        ir_.define(rule, ir_.choice(options));
        before[k] = ir_.call(rule);
        if (ir_.overfull()) return ir_.never();
      }
      after = std::move(before);
    }
    const RuleId all = ir_.declare("members");
    ir_.define(all, after[0]);
    return ir_.sequence({ir_.literal("{"), parts_.blanks(), ir_.call(all), parts_.blanks(), ir_.literal("}")});
  }

  Schemas schemas_;
  JsonParts parts_;
  Ir& ir_;
  std::map<std::vector<const Json*>, RuleId> rules_;
  std::vector<std::pair<RuleId, Conjunction>> todo_;
};

}  // namespace

Result<RuleId> read_json_schema(std::string_view schema, Ir& ir) {
  const auto root = Json::parse(schema);
  if (!root) return tl::unexpected(Error{Code::kInvalidArgument, "JSON schema: " + root.error().what});
  return Compiler(*root, ir).whole(*root);
}

}  // namespace cairn::text::grammar
