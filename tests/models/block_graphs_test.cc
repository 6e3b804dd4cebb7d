// Graphs of a denoiser's blocks on an accelerator.
#include "diffusion/block_graphs.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "models/golden.h"
#include "models/registry.h"

namespace cairn {
namespace {

class BlockGraphs : public ::testing::TestWithParam<Dtype> {};
INSTANTIATE_TEST_SUITE_P(Dtypes, BlockGraphs, ::testing::Values(kF32, kBF16),
                         [](const auto& i) { return dtype_name(i.param); });

// Front, middle and back of the stack are replayed as the gate's verdicts want them, and a neighbour changes nothing.
TEST_P(BlockGraphs, ReplayedBlocksAreTheBlocks) {
  if (device_under_test().is_cpu()) GTEST_SKIP() << "of an accelerator's graphs";
  const Inference no_gradients;
  const auto pipe = or_throw(models::load_pipeline(testing::source_path("weights/cairn-emoji"),
                                                   {.dtype = GetParam(), .device = device_under_test(), .loras = {}}));
  for (const char* keys :
       {R"({"Fn_compute_blocks":11,"residual_diff_threshold":0.0,"max_warmup_steps":1})",
        R"({"Fn_compute_blocks":1,"Bn_compute_blocks":1,"residual_diff_threshold":0.2,"max_warmup_steps":3,)"
        R"("enable_taylorseer":true})",
        R"({"cache_type":"DBPrune","Fn_compute_blocks":2,"residual_diff_threshold":0.1,"max_warmup_steps":2})"}) {
    diffusion::Request r;
    r.prompts = {"rocket"};
    r.seeds = {1};
    r.steps = 16;
    r.cache = *diffusion::parse_cache_config(*Json::parse(keys));
    auto replayed = *pipe.begin(r);
    r.graphs = false;
    auto eager = *pipe.begin(r);
    while (!eager.done()) {
      replayed.advance();
      eager.advance();
    }
    EXPECT_GT(replayed.graphs()->replays(), 10) << keys << " " << replayed.graphs()->refused();
    EXPECT_EQ(eager.graphs(), nullptr);
    EXPECT_TRUE(on_host(replayed.latents()).equal(on_host(eager.latents()))) << keys;
    EXPECT_EQ(replayed.cache().stats().stacks.at(0).main.trace, eager.cache().stats().stacks.at(0).main.trace);
  }
}

}  // namespace
}  // namespace cairn
