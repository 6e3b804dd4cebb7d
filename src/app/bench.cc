// cairn bench: picks what to measure.
#include "app/bench.h"

#include "base/strings.h"

namespace cairn::app {

Result<int> bench(const Arguments& args) {
  struct Subject {
    const char *name, *help;
    Result<int> (*run)(const Arguments&);
  };
  constexpr Subject kSubjects[] = {{"dit", "a diffusion transformer's parts", bench_dit},
                                   {"offline", "a language model's engine, many requests at once", bench_offline},
                                   {"one-batch", "a language model's bare speed", bench_one_batch},
                                   {"serving", "a server, over HTTP", bench_serving}};
  const std::string subject = args.empty() ? "" : args[0];
  std::vector<std::string> names, lines;
  for (const Subject& s : kSubjects) {
    if (subject == s.name) return s.run({args.begin() + 1, args.end()});
    names.emplace_back(s.name);
    lines.push_back(std::string(s.name) + " (" + s.help + ")");
  }
  if (subject.empty() || subject.starts_with('-'))
    return invalid("bench needs to know what to measure: cairn bench " + join(lines, ", ") +
                   "; --help lists the flags of each");
  return invalid("bench knows no \"" + subject + "\"" + did_you_mean(subject, names) + "; it measures " +
                 join(lines, ", "));
}

}  // namespace cairn::app
