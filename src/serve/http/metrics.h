// Counters, gauges and histograms in Prometheus' text format 0.0.4.
#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::serve {

using Labels = std::vector<std::pair<std::string, std::string>>;

// Only goes up. Any thread.
class Counter {
 public:
  void add(double n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// Goes up and down. Any thread.
class Gauge {
 public:
  void set(double v) { value_.store(v, std::memory_order_relaxed); }
  void add(double n) { value_.fetch_add(n, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// How often values fell under each bound, their number and their sum. Any thread.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds);  // rising; the last bucket, without a bound, comes by itself
  void observe(double v);
  uint64_t count() const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }
  const std::vector<double>& bounds() const { return bounds_; }
  std::vector<uint64_t> cumulative() const;  // values at most each bound; one more element than bounds

 private:
  std::vector<double> bounds_;
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;
  std::atomic<double> sum_{0};
};

// SGLang's buckets, in seconds.
std::vector<double> ttft_buckets();  // time to first token
std::vector<double> itl_buckets();   // time between two tokens
std::vector<double> e2e_buckets();   // whole requests

// All metrics of a server. Made once at the start and kept; the references live as long as the registry. The same name
// with other labels is another child of one family, and must be of the same kind.
class Registry {
 public:
  // `labels` that every sample carries: the model's name, ...
  explicit Registry(Labels labels = {}) : common_(std::move(labels)) {}

  Counter& counter(const std::string& name, const std::string& help, Labels labels = {});
  Gauge& gauge(const std::string& name, const std::string& help, Labels labels = {});
  // A gauge that is asked when the text is made. `read` must not block for long.
  void gauge(const std::string& name, const std::string& help, std::function<double()> read, Labels labels = {});
  Histogram& histogram(const std::string& name, const std::string& help, std::vector<double> bounds,
                       Labels labels = {});

  std::string text() const;
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct Child {
    Labels labels;
    Counter counter;
    Gauge gauge;
    std::function<double()> read;
    std::unique_ptr<Histogram> histogram;
  };
  struct Family {
    std::string name, help, kind;
    std::deque<Child> children;  // a deque, so that references stay
  };
  Child& child(const std::string& name, const std::string& help, const char* kind, Labels labels, bool& is_new);

  Labels common_;
  mutable std::mutex mutex_;
  std::deque<Family> families_;
};

}  // namespace cairn::serve
