#include "llm/plan/story.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <sstream>

#include "base/strings.h"
#include "llm/plan/device.h"

namespace cairn::llm {
namespace {

using Options = std::map<std::string, std::string>;

std::vector<std::string> words(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

Options options(std::span<const std::string> from) {
  Options out;
  for (const std::string& word : from) {
    const size_t at = word.find('=');
    if (at == std::string::npos) throw std::runtime_error("expected name=value, got " + word);
    out[word.substr(0, at)] = word.substr(at + 1);
  }
  return out;
}

int64_t number(const Options& o, const std::string& name, int64_t otherwise) {
  const auto found = o.find(name);
  return found == o.end() ? otherwise : std::stoll(found->second);
}

class Story {
 public:
  void line(const std::string& text) {
    const auto all = words(text);
    const std::string what = all.at(0);
    const auto rest = std::span(all).subspan(1);
    if (what == "pool") return pool(options(rest));
    if (what == "config") return config(options(rest));
    if (!scheduler_) start();
    if (what == "submit") return submit(all.at(1), options(rest.subspan(1)));
    if (what == "refuse") return refuse(text);
    if (what == "cancel") return require(scheduler_->cancel(ids_.at(all.at(1))), "nothing to cancel");
    if (what == "flush") return require(scheduler_->flush_cache().has_value(), "the cache is in use");
    if (what == "drop") return drop(all.size() > 1);
    if (what == "expect") return expect(rest);
    if (what == "turn" || (what == "step" && all.size() > 1 && all[1].find('=') == std::string::npos)) {
      for (int64_t n = all.size() > 1 ? std::stoll(all[1]) : 1; n > 0; --n) {
        plan();
        if (what == "step" || rows_.empty() || underway_.size() == 2) commit({});
        check_invariants();
      }
      return;
    }
    if (what == "plan" || what == "step") plan();
    if (what == "run" && !underway_.empty()) result_ = run({});
    if (what == "commit" || what == "step") commit(options(rest));
    require(what == "plan" || what == "run" || what == "commit" || what == "step", "no such event: " + what);
  }
  void check_invariants() {
    if (!scheduler_) return;
    for (const std::string& fault : faults(*scheduler_)) ADD_FAILURE() << fault;
    if (testing::Test::HasFailure()) ADD_FAILURE() << "the cache:\n" << scheduler_->tree().draw();
  }

 private:
  static void require(bool ok, const std::string& what) {
    if (!ok) throw std::runtime_error(what);
  }
  void pool(const Options& o) {
    pool_ = std::make_unique<kv::BlockPool>(number(o, "blocks", 8), number(o, "size", 4));
    device_.emplace(*pool_);
  }
  void config(const Options& o) {
    Json::Object all;
    for (const auto& [name, value] : o) {
      const auto parsed = Json::parse(value);
      all.emplace_back(name, parsed ? *parsed : Json(value));
    }
    const auto ok = read_into(config_, Json(all));
    require(ok.has_value(), ok ? "" : ok.error().what);
  }
  void start() {
    require(pool_ != nullptr, "a spec begins with its pool");
    scheduler_ = std::make_unique<Scheduler>(config_, *pool_);
  }

  Request request(const std::string& name, const Options& o) {
    Request r;
    r.max_new_tokens = number(o, "max", 1);
    r.priority = number(o, "priority", 0);
    if (o.contains("recompute")) r.recompute_from = number(o, "recompute", 0);
    r.identity = kv::Identity{"", "", "", o.contains("salt") ? o.at("salt") : ""}.hash();
    const auto base = static_cast<Token>(1000 * (1 + prompts_.size()));
    for (int64_t i = 0; i < number(o, "prompt", 1); ++i) r.prompt.push_back(base + static_cast<Token>(i));
    if (o.contains("like")) {
      const auto parts = split(o.at("like"), ':');
      const auto& other = prompts_.at(parts.at(0));
      std::copy_n(other.begin(), std::stoll(parts.at(1)), r.prompt.begin());
    }
    prompts_[name] = r.prompt;
    return r;
  }
  void submit(const std::string& name, const Options& o) {
    const auto id = scheduler_->submit(request(name, o));
    require(id.has_value(), id ? "" : id.error().what);
    ids_[name] = *id;
    names_[*id] = name;
  }
  void refuse(const std::string& text) {
    const size_t at = text.find(": ");
    const auto all = words(text.substr(0, at));
    const auto id = scheduler_->submit(request(all.at(1), options(std::span(all).subspan(2))));
    require(!id, "it was accepted");
    require(id.error().what.find(text.substr(at + 2)) != std::string::npos, "it says: " + id.error().what);
  }

  void plan() {
    StepPlan next = scheduler_->plan();
    rows_.clear();
    retracted_.clear();
    for (const RequestId id : next.retracted) retracted_.push_back(names_.at(id));
    for (const PlanRow& row : next.rows) {
      const auto inputs = next.inputs(row);
      rows_.push_back(fmt::format("{} {}[{},{}){}{}", row.prefill ? "prefill" : "decode", names_.at(row.id), row.from,
                                  row.to, row.sample ? "*" : "",
                                  std::ranges::find(inputs, kLastSampled) != inputs.end() ? "?" : ""));
    }
    if (!next.empty()) underway_.push_back(std::move(next));
  }
  StepResult run(const std::vector<std::string>& stops) {
    return device_->run(underway_.front(),
                        [&](RequestId id, Token) { return std::ranges::find(stops, names_.at(id)) != stops.end(); });
  }
  void commit(const Options& o) {
    finished_.clear();
    if (underway_.empty()) return;
    const auto stops = o.contains("stop") ? split(o.at("stop"), ',') : std::vector<std::string>{};
    StepResult result = result_ ? *std::exchange(result_, {}) : run(stops);
    StepPlan plan = std::move(underway_.front());
    underway_.pop_front();
    const auto done = scheduler_->commit(std::move(plan), result);
    if (!done) return finished_.push_back("void");
    for (const Finished& f : *done) {
      finished_.push_back(names_.at(f.id) + (f.reason == FinishReason::kStop ? ":stop" : ":length"));
      // Whatever has happened to it: it must have said what it says alone.
      EXPECT_EQ(f.output, alone(prompts_.at(names_.at(f.id)), static_cast<int64_t>(f.output.size()),
                                [](Token) { return false; }));
    }
  }
  void drop(bool older) {
    require(!underway_.empty(), "no plan to drop");
    older ? underway_.pop_front() : underway_.pop_back();
  }

  void expect(std::span<const std::string> wanted) {
    std::vector<std::string> rows;
    bool listed = false;
    std::string kind;
    for (const std::string& word : wanted) {
      if (word == "nothing") {
        listed = true;
      } else if (word == "prefill" || word == "decode") {
        kind = word;
      } else if (const size_t at = word.find('='); at != std::string::npos) {
        EXPECT_EQ(counter(word.substr(0, at), word.substr(at + 1)), word.substr(at + 1)) << word;
      } else {
        listed = true;
        rows.push_back(kind + " " + word);
      }
    }
    if (listed) { EXPECT_EQ(join(rows_, ", "), join(rows, ", ")); }
  }
  std::string counter(const std::string& name, const std::string& wanted) const {
    const Scheduler& s = *scheduler_;
    if (name == "used") return std::to_string(pool_->used());
    if (name == "free") return std::to_string(pool_->free());
    if (name == "cached") return std::to_string(s.tree().blocks());
    if (name == "evictable") return std::to_string(s.tree().evictable());
    if (name == "running") return std::to_string(s.running());
    if (name == "waiting") return std::to_string(s.waiting());
    if (name == "retracted") return join(retracted_, ",");
    if (name == "finished") return join(finished_, ",");
    require(name == "hit", "no such counter: " + name);
    const std::string who = split(wanted, ':').at(0);
    const Sequence* found = s.find(ids_.at(who));
    return found ? fmt::format("{}:{}", who, found->cached) : who + " is gone";
  }

  SchedulerConfig config_;
  std::unique_ptr<kv::BlockPool> pool_;
  std::unique_ptr<Scheduler> scheduler_;
  std::optional<Device> device_;
  std::map<std::string, RequestId> ids_;
  std::map<RequestId, std::string> names_;
  std::map<std::string, std::vector<Token>> prompts_;
  std::deque<StepPlan> underway_;
  std::optional<StepResult> result_;
  std::vector<std::string> rows_, retracted_, finished_;
};

}  // namespace

void tell(const std::string& name, const std::string& text) {
  Story story;
  int number = 0;
  for (const std::string& raw : split(text, '\n')) {
    ++number;
    const std::string line(trim(raw.substr(0, raw.find('#'))));
    if (line.empty()) continue;
    SCOPED_TRACE(fmt::format("{}:{}: {}", name, number, line));
    try {
      story.line(line);
    } catch (const std::exception& e) { ADD_FAILURE() << e.what(); }
    story.check_invariants();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace cairn::llm
