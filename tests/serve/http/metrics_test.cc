#include "serve/http/metrics.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <thread>

#include "base/result.h"

namespace cairn::serve {
namespace {

TEST(Metrics, ArePrintedAsPrometheusReadsThem) {
  Registry registry(Labels{{"model_name", "a\"b\\c\nd"}});
  registry.counter("sglang:num_requests_total", "Requests\nso far.").add(3);
  registry.counter("sglang:num_requests_total", "", {{"code", "404"}}).add();
  registry.gauge("sglang:token_usage", "Share.").set(0.25);
  registry.gauge("up_seconds", "Asked.", [] { return std::numeric_limits<double>::infinity(); });
  EXPECT_EQ(registry.text(),
            "# HELP sglang:num_requests_total Requests\\nso far.\n"
            "# TYPE sglang:num_requests_total counter\n"
            "sglang:num_requests_total{model_name=\"a\\\"b\\\\c\\nd\"} 3\n"
            "sglang:num_requests_total{model_name=\"a\\\"b\\\\c\\nd\",code=\"404\"} 1\n"
            "# HELP sglang:token_usage Share.\n"
            "# TYPE sglang:token_usage gauge\n"
            "sglang:token_usage{model_name=\"a\\\"b\\\\c\\nd\"} 0.25\n"
            "# HELP up_seconds Asked.\n"
            "# TYPE up_seconds gauge\n"
            "up_seconds{model_name=\"a\\\"b\\\\c\\nd\"} +Inf\n");
}

TEST(Metrics, AHistogramCountsWhatIsAtMostEachBound) {
  Registry registry;
  Histogram& h = registry.histogram("t", "Times.", {0.1, 1});
  for (const double v : {0.05, 0.1, 0.5, 7.0, std::nan("")}) h.observe(v);
  EXPECT_EQ(registry.text(),
            "# HELP t Times.\n# TYPE t histogram\n"
            "t_bucket{le=\"0.1\"} 2\nt_bucket{le=\"1\"} 3\nt_bucket{le=\"+Inf\"} 4\n"
            "t_sum 7.65\nt_count 4\n");
  EXPECT_EQ(&registry.histogram("t", "Times.", {0.1, 1}), &h);
}

TEST(Metrics, RefuseWhatPrometheusCannotRead) {
  Registry registry;
  registry.counter("a", "x");
  EXPECT_THROW(registry.gauge("a", "x"), Bug);
  EXPECT_THROW(registry.counter("1a", "x"), Bug);
  EXPECT_THROW(registry.counter("b", "x", {{"a-b", "c"}}), Bug);
  EXPECT_THROW(registry.histogram("h", "x", {2, 1}), Bug);
}

TEST(Metrics, LoseNothingBetweenThreads) {
  Registry registry;
  Counter& counter = registry.counter("c", "x");
  Histogram& h = registry.histogram("h", "x", itl_buckets());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10'000; ++i) {
        counter.add();
        h.observe(t);
        if (i % 1000 == 0) registry.text();
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 40'000);
  EXPECT_EQ(h.count(), 40'000u);
  EXPECT_EQ(h.sum(), 60'000);
}

}  // namespace
}  // namespace cairn::serve
