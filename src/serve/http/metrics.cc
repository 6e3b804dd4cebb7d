#include "serve/http/metrics.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/result.h"

namespace cairn::serve {
namespace {

bool valid_name(std::string_view name, bool colons) {
  const auto letter = [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colons && c == ':');
  };
  return !name.empty() && letter(name[0]) &&
         std::ranges::all_of(name, [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || (quotes && c == '"')) out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

std::string number(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", v);
}

// {a="x",b="y"}, with `le` as one more label when given.
std::string braces(const Labels& common, const Labels& own, const std::string& le = "") {
  std::string out;
  const auto add = [&](const std::string& name, const std::string& value) {
    out += fmt::format("{}{}=\"{}\"", out.empty() ? "" : ",", name, escaped(value, true));
  };
  for (const auto& [name, value] : common) add(name, value);
  for (const auto& [name, value] : own) add(name, value);
  if (!le.empty()) add("le", le);
  return out.empty() ? "" : "{" + out + "}";
}

}  // namespace

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(std::make_unique<std::atomic<uint64_t>[]>(bounds_.size() + 1)) {
  check(!bounds_.empty() && std::ranges::is_sorted(bounds_, std::less_equal<>()), "a histogram's bounds rise");
}

void Histogram::observe(double v) {
  if (std::isnan(v)) return;  // would spoil the sum for good
  const auto at = std::ranges::lower_bound(bounds_, v) - bounds_.begin();
  counts_[static_cast<size_t>(at)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(v, std::memory_order_relaxed);
}

uint64_t Histogram::count() const { return cumulative().back(); }

std::vector<uint64_t> Histogram::cumulative() const {
  std::vector<uint64_t> out(bounds_.size() + 1);
  uint64_t sum = 0;
  for (size_t i = 0; i < out.size(); ++i) out[i] = sum += counts_[i].load(std::memory_order_relaxed);
  return out;
}

std::vector<double> ttft_buckets() { return {.1, .2, .4, .6, .8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400}; }
std::vector<double> itl_buckets() {
  return {.002, .004, .006, .008, .01, .015, .02, .025, .03, .035, .04, .06, .08, .1, .2, .4, .6, .8, 1, 2, 4, 6, 8};
}
std::vector<double> e2e_buckets() {
  std::vector<double> out = ttft_buckets();
  out.insert(out.end(), {600, 1200, 1800, 2400});
  return out;
}

Registry::Child& Registry::child(const std::string& name, const std::string& help, const char* kind, Labels labels,
                                 bool& is_new) {
  check(valid_name(name, true), "a metric's name is made of letters, digits, _ and :");
  for (const auto& [label, _] : labels) check(valid_name(label, false) && label != "le", "a label's name");
  auto family = std::ranges::find(families_, name, &Family::name);
  if (family == families_.end()) {
    families_.push_back({name, help, kind, {}});
    family = families_.end() - 1;
  }
  check(family->kind == kind, "one metric of two kinds");
  for (Child& c : family->children)
    if (c.labels == labels) return is_new = false, c;
  is_new = true;
  Child& c = family->children.emplace_back();
  c.labels = std::move(labels);
  return c;
}

Counter& Registry::counter(const std::string& name, const std::string& help, Labels labels) {
  const std::lock_guard lock(mutex_);
  bool is_new = false;
  return child(name, help, "counter", std::move(labels), is_new).counter;
}

Gauge& Registry::gauge(const std::string& name, const std::string& help, Labels labels) {
  const std::lock_guard lock(mutex_);
  bool is_new = false;
  return child(name, help, "gauge", std::move(labels), is_new).gauge;
}

void Registry::gauge(const std::string& name, const std::string& help, std::function<double()> read, Labels labels) {
  const std::lock_guard lock(mutex_);
  bool is_new = false;
  child(name, help, "gauge", std::move(labels), is_new).read = std::move(read);
}

Histogram& Registry::histogram(const std::string& name, const std::string& help, std::vector<double> bounds,
                               Labels labels) {
  const std::lock_guard lock(mutex_);
  bool is_new = false;
  Child& c = child(name, help, "histogram", std::move(labels), is_new);
  if (is_new) c.histogram = std::make_unique<Histogram>(std::move(bounds));
  return *c.histogram;
}

std::string Registry::text() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const Family& family : families_) {
    out +=
        fmt::format("# HELP {} {}\n# TYPE {} {}\n", family.name, escaped(family.help, false), family.name, family.kind);
    for (const Child& c : family.children) {
      if (!c.histogram) {
        const double v = family.kind == "counter" ? c.counter.value() : c.read ? c.read() : c.gauge.value();
        out += fmt::format("{}{} {}\n", family.name, braces(common_, c.labels), number(v));
        continue;
      }
      const Histogram& h = *c.histogram;
      const auto counts = h.cumulative();
      for (size_t i = 0; i < counts.size(); ++i) {
        const std::string le = i < h.bounds().size() ? number(h.bounds()[i]) : "+Inf";
        out += fmt::format("{}_bucket{} {}\n", family.name, braces(common_, c.labels, le), counts[i]);
      }
      out += fmt::format("{}_sum{} {}\n", family.name, braces(common_, c.labels), number(h.sum()));
      out += fmt::format("{}_count{} {}\n", family.name, braces(common_, c.labels), counts.back());
    }
  }
  return out;
}

}  // namespace cairn::serve
