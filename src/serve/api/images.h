// The picture routes: POST /v1/images/generations and /v1/images/edits as OpenAI has them, with the parameters of
// diffusion models beside, and POST /generate of a picture model as cache-dit's server had it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "serve/http/http.h"
#include "serve/http/json_writer.h"

namespace cairn::serve {

struct ImageSize {
  int64_t width = 0, height = 0;  // pixels, each in 1..16384; which ones a model can make, it says itself
};

// What is not given is left to the model's own defaults.
struct ImageRequest {
  std::string model, prompt, user;
  std::optional<std::string> negative_prompt;
  std::optional<ImageSize> size;
  int64_t n = 1;
  std::string output_format = "png";          // or "jpeg", "webp"
  std::optional<int64_t> output_compression;  // 0..100, the encoder's quality; not for png
  bool stream = false;
  int64_t partial_images = 0;  // pictures to show on the way, when it streams
  std::optional<int64_t> num_inference_steps, seed;
  std::optional<double> guidance_scale, true_cfg_scale, strength;
  std::vector<double> sigmas;       // the noise at each step, from most to least; empty: the solver's own
  Json cache;                       // null, a boolean, the name of a preset, or an object of cache options
  std::vector<std::string> images;  // files to start from, as they were sent: not decoded, not looked at
};
Parsed<ImageRequest> parse_image_generation(const Json& body);
// A form as OpenAI's client sends it, with files named image or image[]; or JSON, with "image" as base64 or data URI,
// or a list of those. Pictures are never fetched from elsewhere.
Parsed<ImageRequest> parse_image_edit(const HttpRequest& request);

struct NativeImageRequest {
  ImageRequest picture;
  bool include_stats = false;
};
// Errors are 400 with this server's error body, where cache-dit's server said 422.
Parsed<NativeImageRequest> parse_image_generate(const Json& body);

// What step caching did for one picture.
struct CacheReport {
  std::string tag;    // cache-dit's name for the options
  std::string trace;  // a character per step: 1 is a computed step, 0 a cached one
  int64_t cached_steps() const;
};

// A picture as a file, in the format of its answer.
struct MadeImage {
  std::string file;
  int64_t index = 0;
  std::optional<int64_t> seed;
  double seconds = 0;
  std::optional<CacheReport> cache;
};
// What all pictures of one answer have in common.
struct ImageAnswer {
  enum class Route { kGeneration, kEdit };
  Route route = Route::kGeneration;
  int64_t created = 0;  // seconds since 1970
  std::string output_format = "png";
  ImageSize size;
};
struct ImageUsage {
  int64_t text_tokens = 0, image_tokens = 0;  // of the prompt, and of pictures to start from
  int64_t output_tokens = 0;
};

std::string images_json(const ImageAnswer& head, const std::vector<MadeImage>& images,
                        const std::optional<ImageUsage>& usage = {});

// Events of a stream, whole with their names: image_generation.… or image_edit.… after the route. The stream ends by
// closing, without [DONE].
struct ImageProgress {
  int64_t index = 0, step = 0, steps = 0;  // `step` of `steps` are done
  bool computed = true;                    // this one was computed, not cached
  double seconds = 0;                      // since the request's picture began
};
std::string progress_event(const ImageAnswer& head, const ImageProgress& progress);
std::string partial_image_event(const ImageAnswer& head, int64_t index, int64_t partial_image, std::string_view file);
std::string completed_event(const ImageAnswer& head, const MadeImage& image);
std::string image_error_event(const ApiError& e);

struct NativeImageAnswer {
  std::vector<MadeImage> images;
  double began = 0, ended = 0;  // seconds since 1970
  bool stats = false;
  Json parallelism;  // beside the stats; null when one device did it
};
std::string native_images_json(const NativeImageAnswer& answer);

}  // namespace cairn::serve
