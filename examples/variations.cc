// A picture, and one that starts from it with another prompt: variations [MODEL_FOLDER]
#include <cairn/models/registry.h>

#include <cstdio>

namespace {

cairn::Result<void> draw(const std::string& model) {
  auto pipe = TRY(cairn::models::load_pipeline(model));
  pipe.enable_cache({.threshold = 0.12, .warmup = 4, .taylorseer = true});
  auto first = TRY(pipe.begin({.prompts = {"yellow star"}, .steps = 12, .seeds = {7}}));
  while (!first.done()) first.advance();
  const auto star = first.pictures().front();
  auto second = TRY(pipe.begin({.prompts = {"red star"}, .steps = 12, .seeds = {7}, .image = star, .strength = 0.7}));
  while (!second.done()) second.advance();
  TRY_VOID(cairn::image::save("yellow.png", star));
  TRY_VOID(cairn::image::save("red.png", second.pictures().front()));
  std::printf("%s\n%s\n", first.cache().stats().tag().c_str(), second.cache().stats().tag().c_str());
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const auto drawn = draw(argc > 1 ? argv[1] : CAIRN_WEIGHTS "/cairn-emoji");
  if (drawn) return 0;
  std::fprintf(stderr, "%s\n", drawn.error().what.c_str());
  return 1;
}
