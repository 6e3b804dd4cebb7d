// cairn bench: picks what to measure.
#include "app/bench.h"

#include "base/strings.h"

namespace cairn::app {

Result<int> bench(const Arguments& args) {
  const std::string subject = args.empty() ? "" : args[0];
  if (subject == "dit") return bench_dit({args.begin() + 1, args.end()});
  if (subject == "one-batch") return bench_one_batch({args.begin() + 1, args.end()});
  if (subject.empty() || subject.starts_with('-'))
    return invalid(
        "bench needs to know what to measure: cairn bench dit (a diffusion transformer's parts) or cairn bench "
        "one-batch (a language model's speed); --help lists the flags of each");
  return invalid("bench knows no \"" + subject + "\"" + did_you_mean(subject, {"dit", "one-batch"}) +
                 " (dit: a diffusion transformer's parts; one-batch: a language model's speed)");
}

}  // namespace cairn::app
