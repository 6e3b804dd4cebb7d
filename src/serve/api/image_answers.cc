#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "base/base64.h"
#include "serve/api/images.h"
#include "serve/http/reply.h"

namespace cairn::serve {
namespace {

// Base64 needs no escapes, and is long.
void write_file_text(JsonWriter& w, std::string_view key, std::string_view file) {
  w.key(key).raw("\"" + base64(file) + "\"");
}

std::string size_text(const ImageSize& size) { return fmt::format("{}x{}", size.width, size.height); }

void write_cache(JsonWriter& w, const std::optional<CacheReport>& cache) {
  if (!cache) return;
  w.key("cache").begin_object().field("tag", cache->tag).field("trace", cache->trace);
  w.field("cached_steps", cache->cached_steps()).end_object();
}

std::string named(const ImageAnswer& head, const char* what) {
  return std::string(head.route == ImageAnswer::Route::kEdit ? "image_edit." : "image_generation.") + what;
}

// "2025-01-31T12:00:00.123Z"
std::string utc(double seconds) {
  const auto ms = static_cast<int64_t>(std::llround(seconds * 1e3));
  const std::time_t whole = ms / 1000;
  std::tm t{};
  gmtime_r(&whole, &t);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour,
                     t.tm_min, t.tm_sec, ms % 1000);
}

}  // namespace

int64_t CacheReport::cached_steps() const { return std::ranges::count(trace, '0'); }

std::string images_json(const ImageAnswer& head, const std::vector<MadeImage>& images,
                        const std::optional<ImageUsage>& usage) {
  JsonWriter w;
  w.begin_object().field("created", head.created).key("data").begin_array();
  for (const auto& image : images) {
    w.begin_object();
    write_file_text(w, "b64_json", image.file);
    if (image.seed) w.field("seed", *image.seed);
    write_cache(w, image.cache);
    w.end_object();
  }
  w.end_array().field("output_format", head.output_format).field("size", size_text(head.size));
  if (usage) {
    const int64_t input = usage->text_tokens + usage->image_tokens;
    w.key("usage").begin_object().field("input_tokens", input).key("input_tokens_details").begin_object();
    w.field("text_tokens", usage->text_tokens).field("image_tokens", usage->image_tokens).end_object();
    w.field("output_tokens", usage->output_tokens).field("total_tokens", input + usage->output_tokens).end_object();
  }
  return w.end_object().take();
}

std::string progress_event(const ImageAnswer& head, const ImageProgress& p) {
  const std::string type = named(head, "progress");
  JsonWriter w;
  w.begin_object().field("type", type).field("index", p.index).field("step", p.step).field("steps", p.steps);
  return sse(type, w.field("computed", p.computed).field("seconds", p.seconds).end_object().take());
}

std::string partial_image_event(const ImageAnswer& head, int64_t index, int64_t partial_image, std::string_view file) {
  const std::string type = named(head, "partial_image");
  JsonWriter w;
  write_file_text(w.begin_object().field("type", type), "b64_json", file);
  w.field("partial_image_index", partial_image).field("index", index).field("size", size_text(head.size));
  w.field("output_format", head.output_format).field("created_at", head.created);
  return sse(type, w.end_object().take());
}

std::string completed_event(const ImageAnswer& head, const MadeImage& image) {
  const std::string type = named(head, "completed");
  JsonWriter w;
  write_file_text(w.begin_object().field("type", type), "b64_json", image.file);
  w.field("index", image.index);
  if (image.seed) w.field("seed", *image.seed);
  w.field("size", size_text(head.size)).field("output_format", head.output_format).field("created_at", head.created);
  write_cache(w, image.cache);
  return sse(type, w.field("seconds", image.seconds).end_object().take());
}

std::string image_error_event(const ApiError& e) { return sse("error", error_body(e)); }

std::string native_images_json(const NativeImageAnswer& answer) {
  JsonWriter w;
  w.begin_object().key("images").begin_array();
  for (const auto& image : answer.images) w.raw("\"" + base64(image.file) + "\"");
  w.end_array();
  if (answer.stats) {
    w.key("stats").begin_object().key("cache_stats").begin_array();
    for (const auto& image : answer.images) {
      if (!image.cache) continue;
      w.begin_object().field("cache_options", image.cache->tag).key("cached_steps").begin_array();
      for (size_t step = 0; step < image.cache->trace.size(); ++step)
        if (image.cache->trace[step] == '0') w.value(step);
      w.end_array();
      if (!answer.parallelism.is_null()) w.key("parallelism_config").raw(answer.parallelism.dump());
      w.end_object();
    }
    w.end_array().end_object();
  }
  w.field("time_cost", answer.ended - answer.began).field("inference_start_time", utc(answer.began));
  return w.field("inference_end_time", utc(answer.ended)).end_object().take();
}

}  // namespace cairn::serve
