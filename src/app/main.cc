#include <fmt/core.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <system_error>

#include "app/commands.h"
#include "base/strings.h"
#include "tensor/tensor.h"

namespace cairn::app {

namespace {

struct Command {
  const char *name, *help;
  Result<int> (*run)(const Arguments&);
};

constexpr Command kCommands[] = {{"generate", "make pictures from text", generate},
                                 {"tune", "find the step cache that fits a wanted quality or speed", tune},
                                 {"metrics", "compare pictures: PSNR, SSIM, MSE", metrics},
                                 {"inspect", "show what a picture or a model holds", inspect},
                                 {"chat", "talk to a language model", chat},
                                 {"complete", "continue a text", complete},
                                 {"serve", "serve models over HTTP, with a page for the browser", serve},
                                 {"render", "show a conversation as a model reads it", render},
                                 {"tokenize", "text to token ids, and back", tokenize},
                                 {"bench", "measure the parts of a model", bench},
                                 {"doctor", "check this machine and its accelerators, and how to mend them", doctor}};

constexpr const char* kOutOfMemory = "out of memory: make smaller or fewer pictures, or use --vae-tiling";

Result<int> show_commands(const Arguments&) {
  fmt::print("Cairn makes pictures and text, and does not do work twice.\n\nUsage: cairn COMMAND [FLAGS]\n\n");
  for (const auto& c : kCommands) fmt::print("  {:<10} {}\n", c.name, c.help);
  fmt::print(
      "\nTry: cairn generate \"rocket on a blue background\"\n`cairn COMMAND --help` lists a command's flags.\n");
  return 0;
}

void on_interrupt(int) {
  if (interrupted.exchange(true)) std::_Exit(130);  // a second Ctrl-C does not wait for the step to end
}

int report(const std::string& what, int status) {
  std::fputs(fmt::format("cairn: {}\n", what).c_str(), stderr);  // fmt::print would throw where nobody listens
  return status;
}

// What a command printed has arrived, or the command failed.
int delivered(int status) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
  return report(fmt::format("cannot write the output: {}", std::strerror(errno)), 1);
}

int run(const Command& command, const Arguments& args) {
  try {
    const auto status = command.run(args);
    if (status) return delivered(*status);
    if (status.error().code == Code::kCancelled) return report(status.error().what, 130);
    return report(status.error().what, 1);
  } catch (const Failure& e) { return report(e.what(), 1); } catch (const std::bad_alloc&) {
    return report(kOutOfMemory, 3);
  } catch (const std::system_error& e) {
    return report(e.what(), 1);  // names what failed and why: of the file system, of a thread
  } catch (const std::exception& e) {
    if (const auto tensors = cairn::tensor_error(e)) {
      return report(tensors->out_of_memory ? kOutOfMemory : "tensor library: " + tensors->what, 3);
    }
    return report(fmt::format("this is a defect of cairn, please report it: {}", e.what()), 70);
  }
}

}  // namespace
}  // namespace cairn::app

int main(int argc, char** argv) {
  using namespace cairn::app;
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGPIPE, SIG_IGN);
  const Arguments words(argv + 1, argv + argc);
  if (words.empty() || words[0] == "help" || words[0] == "--help" || words[0] == "-h")
    return run({"help", "", show_commands}, {});
  std::vector<std::string> names;
  for (const auto& c : kCommands) {
    if (words[0] == c.name) return run(c, Arguments(words.begin() + 1, words.end()));
    names.emplace_back(c.name);
  }
  return report("unknown command \"" + words[0] + "\"" + cairn::did_you_mean(words[0], names) +
                    " (cairn without arguments lists them)",
                2);
}
