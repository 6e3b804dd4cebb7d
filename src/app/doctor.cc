// cairn doctor: is this machine set up as it should be, and what to do where it is not.
#include <fmt/core.h>

#include <algorithm>

#include "app/commands.h"
#include "app/doctor_checks.h"
#include "app/flags.h"
#include "base/strings.h"

namespace cairn::app {
namespace {

struct DoctorOptions {
  bool json = false, strict = false;

  void fields(auto& f) {
    f("json", json, "print JSON instead of the table");
    f("strict", strict, "warnings fail, too");
  }
};

constexpr const char* kVerdicts[] = {"ok", "warn", "fail", "skip"};
const char* name_of(Verdict v) { return kVerdicts[static_cast<size_t>(v)]; }

// What files and variables hold must reach a terminal, and JSON, as text.
std::string printable(const std::string& text) {
  const bool utf8 = valid_utf8(text);
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7f || (byte > 0x7f && !utf8) ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  constexpr size_t kMost = 300;
  if (out.size() <= kMost) return out;
  size_t end = kMost;
  while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xc0) == 0x80) --end;  // not inside a character
  return out.substr(0, end) + "…";
}

int64_t count(const std::vector<Check>& checks, Verdict v) {
  return std::ranges::count_if(checks, [v](const Check& c) { return c.answer.verdict == v; });
}

Json to_json(const std::vector<Check>& checks) {
  Json::Array list;
  for (const Check& c : checks)
    list.push_back(Json::Object{{"topic", c.topic},
                                {"name", c.name},
                                {"status", name_of(c.answer.verdict)},
                                {"found", c.answer.found},
                                {"mend", c.answer.mend}});
  Json summary(Json::Object{});
  for (const Verdict v : {Verdict::kOk, Verdict::kWarn, Verdict::kFail, Verdict::kSkip})
    summary.set(name_of(v), count(checks, v));
  return Json::Object{{"checks", std::move(list)}, {"summary", std::move(summary)}};
}

// One topic. Questions that mean nothing here share a line for each reason.
void print(std::span<const Check> topic, size_t width) {
  fmt::print("{}\n", topic[0].topic);
  std::vector<std::pair<std::string, std::vector<std::string>>> skipped;
  for (const Check& c : topic) {
    const Answer& a = c.answer;
    if (a.verdict == Verdict::kSkip) {
      const auto same = std::ranges::find(skipped, a.found, [](const auto& s) { return s.first; });
      if (same == skipped.end())
        skipped.push_back({a.found, {c.name}});
      else
        same->second.push_back(c.name);
      continue;
    }
    fmt::print("  {:<4}  {:<{}}  {}\n", name_of(a.verdict), c.name, width, a.found);
    if (!a.mend.empty()) fmt::print("  {:<4}  {:<{}}  mend: {}\n", "", "", width, a.mend);
  }
  for (const auto& [found, names] : skipped) fmt::print("  skip  {}: {}\n", join(names, ", "), found);
}

void print(const std::vector<Check>& checks) {
  size_t width = 0;
  for (const Check& c : checks)
    if (c.answer.verdict != Verdict::kSkip) width = std::max(width, c.name.size());
  for (size_t i = 0; i < checks.size();) {
    size_t end = i;
    while (end < checks.size() && checks[end].topic == checks[i].topic) ++end;
    print(std::span(checks).subspan(i, end - i), width);
    i = end;
  }
  const int64_t failed = count(checks, Verdict::kFail), warned = count(checks, Verdict::kWarn);
  fmt::print("\n{} ok, {} to look at, {} failed\n", count(checks, Verdict::kOk), warned, failed);
}

}  // namespace

Result<int> doctor(const Arguments& args) {
  Flags flags("cairn doctor [--strict] [--json]",
              "Checks the settings of this machine, the program, and the software of its accelerators, and says how to "
              "mend what is not as it should be. Changes nothing. The exit status is 1 when a check failed.");
  DoctorOptions o;
  flags.add("Output", o);
  if (!TRY(flags.parse(args))) return 0;
  auto checks = examine(Machine::here());
  for (Check& c : checks) {
    c.answer.found = printable(c.answer.found);
    c.answer.mend = printable(c.answer.mend);
  }
  if (o.json)
    fmt::print("{}\n", to_json(checks).dump(2));
  else
    print(checks);
  return count(checks, Verdict::kFail) > 0 || (o.strict && count(checks, Verdict::kWarn) > 0) ? 1 : 0;
}

}  // namespace cairn::app
