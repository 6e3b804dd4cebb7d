#include "app/tune_grid.h"

#include <fmt/core.h>

#include <algorithm>

#include "diffusion/cache/mask.h"

namespace cairn::app {
namespace {

struct Named {
  std::string name;
  Json::Object keys;
};

// The weakest first: with equal pictures and speed, the simpler configuration is kept.
std::vector<Named> predictors(bool quick) {
  std::vector<Named> all{
      {"none", {}},
      {"TaylorSeer1", {{"enable_taylorseer", true}, {"enable_encoder_taylorseer", true}, {"taylorseer_order", 1}}},
      {"DMD", {{"enable_dmd", true}}}};
  if (quick) return all;
  all.push_back(
      {"TaylorSeer2", {{"enable_taylorseer", true}, {"enable_encoder_taylorseer", true}, {"taylorseer_order", 2}}});
  all.push_back({"FoCa", {{"enable_foca", true}, {"enable_encoder_foca", true}}});
  return all;
}

class Grid {
 public:
  explicit Grid(bool quick) : predictors_(predictors(quick)) {}

  void add_with_predictors(const std::string& name, const Json::Object& keys) {
    for (const auto& predictor : predictors_) add(name, keys, predictor);
  }
  void add(const std::string& name, Json::Object keys, const Named& predictor) {
    keys.insert(keys.end(), predictor.keys.begin(), predictor.keys.end());
    Json json(std::move(keys));
    auto config = or_throw(diffusion::parse_cache_config(json));
    out.push_back({predictor.keys.empty() ? name : name + " " + predictor.name, predictor.name, std::move(json),
                   std::move(config)});
  }
  std::vector<Candidate> out;

 private:
  std::vector<Named> predictors_;
};

}  // namespace

std::vector<Candidate> cache_grid(int64_t steps, int64_t depth, bool quick) {
  Grid grid(quick);
  const int64_t warmup = std::max<int64_t>(1, steps / 7);
  for (const char* policy : {"medium", "fast", "ultra", "slow"}) {
    if (!diffusion::named_mask(policy, steps)) continue;  // there are none for very short requests
    for (const char* how : {"static", "dynamic"}) {
      if (quick && how == std::string_view("dynamic")) continue;
      grid.add_with_predictors(fmt::format("SCM {} {}", policy, how), {{"Fn_compute_blocks", 1},
                                                                       {"residual_diff_threshold", 0.24},
                                                                       {"max_warmup_steps", warmup},
                                                                       {"num_inference_steps", steps},
                                                                       {"steps_computation_mask", policy},
                                                                       {"steps_computation_policy", how}});
    }
  }
  const int64_t some = std::max<int64_t>(2, depth / 7);
  for (const auto& [front, back] :
       {std::pair{int64_t{1}, int64_t{0}}, {some, int64_t{0}}, {some, std::max<int64_t>(1, some / 2)}}) {
    if (front + back >= depth || (quick && front > 1)) continue;
    for (const int64_t continuous : {3, -1}) {
      for (const double threshold : {0.12, 0.24, 0.08, 0.4, 0.16}) {
        if (quick && (continuous < 0 || threshold == 0.16)) continue;
        grid.add_with_predictors(
            fmt::format("F{}B{} R{} MC{}", front, back, threshold, std::max<int64_t>(0, continuous)),
            {{"Fn_compute_blocks", front},
             {"Bn_compute_blocks", back},
             {"residual_diff_threshold", threshold},
             {"max_warmup_steps", warmup},
             {"max_continuous_cached_steps", continuous}});
      }
    }
  }
  if (!quick && depth > 1)
    for (const double threshold : {0.05, 0.1, 0.2})
      grid.add(fmt::format("DBPrune F1B0 R{}", threshold),
               {{"cache_type", "DBPrune"},
                {"Fn_compute_blocks", 1},
                {"residual_diff_threshold", threshold},
                {"max_warmup_steps", warmup}},
               {"none", {}});
  return std::move(grid.out);
}

}  // namespace cairn::app
