// A picture, with a step cache: generate [MODEL_FOLDER]
#include <cairn/models/registry.h>

#include <cstdio>

int main(int argc, char** argv) {
  auto pipe = cairn::models::load_pipeline(argc > 1 ? argv[1] : CAIRN_WEIGHTS "/cairn-emoji");
  if (!pipe) return std::fprintf(stderr, "%s\n", pipe.error().what.c_str()), 1;
  pipe->enable_cache({});  // DBCache with its defaults
  auto run = pipe->begin({.prompts = {"rocket on a blue background"}, .seeds = {7}});
  if (!run) return std::fprintf(stderr, "%s\n", run.error().what.c_str()), 1;
  while (!run->done()) run->advance();
  const auto saved = cairn::image::save("rocket.png", run->pictures().front());
  if (!saved) return std::fprintf(stderr, "%s\n", saved.error().what.c_str()), 1;
  std::printf("%s\n", run->cache().stats().summary().c_str());
}
