#include "serve/api/images.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "base/base64.h"
#include "base/strings.h"
#include "serve/api/multipart.h"
#include "serve/api/request_reader.h"

namespace cairn::serve {
namespace {

constexpr int64_t kMostSide = 16384;
constexpr size_t kMostPromptBytes = 64 << 10, kMostImages = 16, kMostSigmas = 1000;
constexpr const char* kNoFetching = "must be base64 or a data URI: this server fetches nothing from elsewhere";

void read_prompt(RequestReader& r, ImageRequest& out) {
  r("prompt", out.prompt, "what to paint", required());
  r("negative_prompt", out.negative_prompt, "what not to paint");
  if (r.ok() && trim(out.prompt).empty()) r.fail("prompt", "is empty");
  if (out.prompt.size() > kMostPromptBytes) r.fail("prompt", fmt::format("longer than {} bytes", kMostPromptBytes));
  if (out.negative_prompt.value_or("").size() > kMostPromptBytes)
    r.fail("negative_prompt", fmt::format("longer than {} bytes", kMostPromptBytes));
}

// The parameters of diffusion models, under diffusers' names.
void read_diffusion(RequestReader& r, ImageRequest& out) {
  r("num_inference_steps", out.num_inference_steps, "denoising steps", between(1, 1000));
  r("guidance_scale", out.guidance_scale, "how closely to follow the prompt", between(0, 100));
  r("true_cfg_scale", out.true_cfg_scale, "classifier-free guidance of guidance-distilled models", between(0, 100));
  r("seed", out.seed, "the same seed gives the same picture", at_least(0));
  r("sigmas", out.sigmas, "the noise at each step", between(0, 1e6));
  if (out.sigmas.size() > kMostSigmas) r.fail("sigmas", fmt::format("more than {} steps", kMostSigmas));
  if (r.ok() && !std::ranges::is_sorted(out.sigmas, std::greater<>())) r.fail("sigmas", "must fall from step to step");
  if (r.ok() && !out.sigmas.empty() &&
      out.num_inference_steps.value_or(out.sigmas.size()) != static_cast<int64_t>(out.sigmas.size()))
    r.fail("sigmas", fmt::format("has {} steps, and num_inference_steps says {}; leave one out", out.sigmas.size(),
                                 *out.num_inference_steps));
  if (const Json* cache = r.find("cache")) {
    if (!cache->as_bool() && !cache->as_string() && !cache->as_object())
      r.fail("cache", fmt::format("expected true, false, the name of a preset or an object, got {}", cache->kind()));
    out.cache = *cache;
  }
}

std::optional<ImageSize> size_of(std::string_view text) {
  ImageSize out;
  const char *end = text.data() + text.size(), *at = text.data();
  const auto number = [&](int64_t& into) {
    const auto [next, error] = std::from_chars(at, end, into);
    at = next;
    return error == std::errc() && into >= 1 && into <= kMostSide;
  };
  if (!number(out.width) || at == end || *at++ != 'x' || !number(out.height) || at != end) return std::nullopt;
  return out;
}

// What both of OpenAI's routes have.
void read_openai(RequestReader& r, ImageRequest& out) {
  std::string size = "auto", response_format = "b64_json", background = "auto";
  r("model", out.model, "which model")("user", out.user, "whom the request is for");
  read_prompt(r, out);
  r("n", out.n, "pictures", between(1, 10));
  r("size", size, "WIDTHxHEIGHT in pixels, or auto");
  if (size != "auto" && !(out.size = size_of(size)))
    r.fail("size", fmt::format("expected auto or WIDTHxHEIGHT with sides of 1 to {}, such as 1024x768, got \"{}\"",
                               kMostSide, size.substr(0, 40)));
  r("response_format", response_format, "how a picture is sent");
  if (response_format == "url")
    r.fail("response_format", "url is not supported, because nothing is kept here; ask for b64_json");
  else if (response_format != "b64_json")
    r.fail("response_format", fmt::format("\"{}\" is not b64_json", response_format.substr(0, 40)));
  r("output_format", out.output_format, "of the files", one_of({"png", "jpeg", "webp"}));
  r("output_compression", out.output_compression, "the encoder's quality, for jpeg and webp", between(0, 100));
  if (out.output_format == "png" && out.output_compression.value_or(100) != 100)
    r.fail("output_compression", "is for jpeg and webp; png loses nothing");
  r("background", background, "of the picture", one_of({"auto", "opaque", "transparent"}));
  if (background == "transparent") r.fail("background", "transparent is not supported; pictures are opaque");
  r("stream", out.stream, "progress and pictures as server-sent events");
  r("partial_images", out.partial_images, "pictures to show on the way", between(0, 3));
  if (out.partial_images > 0 && !out.stream) r.fail("partial_images", "is allowed only with \"stream\": true");
  r.ignore({"quality", "style", "moderation", "metadata"});
  read_diffusion(r, out);
}

// One picture out of JSON: a data URI, or bare base64.
void read_picture(RequestReader& r, const std::string& name, const Json& value, std::vector<std::string>& out) {
  const std::string* sent = value.as_string();
  if (!sent) return r.fail(name, fmt::format("expected a picture as base64 or data URI, got {}", value.kind()));
  std::string_view text = *sent;
  if (text.starts_with("http://") || text.starts_with("https://") || text.starts_with("file:"))
    return r.fail(name, kNoFetching);
  if (text.starts_with("data:")) {
    const size_t comma = text.find(',');
    if (comma == std::string_view::npos || !text.substr(0, comma).ends_with(";base64"))
      return r.fail(name, "a data URI must be data:TYPE;base64,…");
    text.remove_prefix(comma + 1);
  }
  auto bytes = from_base64(text);
  if (!bytes) return r.fail(name, bytes.error().what);
  if (bytes->empty()) return r.fail(name, "is empty");
  out.push_back(*std::move(bytes));
}

void read_pictures(RequestReader& r, const std::string& name, std::vector<std::string>& out) {
  const Json* value = r.find(name);
  if (!value || !r.ok()) return;
  const auto* list = value->as_array();
  if (list && list->size() > kMostImages) return r.fail(name, fmt::format("more than {} pictures", kMostImages));
  for (size_t i = 0; list && i < list->size() && r.ok(); ++i)
    read_picture(r, fmt::format("{}[{}]", name, i), (*list)[i], out);
  if (!list) read_picture(r, name, *value, out);
}

Parsed<ImageRequest> read_edit(const Json& body, std::vector<std::string> files) {
  ImageRequest out;
  out.images = std::move(files);
  RequestReader r(body);
  read_openai(r, out);
  r("strength", out.strength, "how far to go from the picture", between(0, 1));
  read_pictures(r, "image", out.images);
  r.ignore({"input_fidelity"});
  r.unsupported({"mask"});
  if (r.ok() && out.images.empty()) r.fail("image", "is missing");
  if (out.images.size() > kMostImages) r.fail("image", fmt::format("more than {} pictures", kMostImages));
  if (auto error = r.finish()) return tl::unexpected<ApiError>(*std::move(error));
  return out;
}

// The text of a form's field as the JSON that it stands for: forms know texts only. What is no JSON stays a text, and
// the reader says what it expected.
Json form_value(const std::string& name, const std::string& text) {
  constexpr std::string_view kNotTexts[] = {"n",
                                            "output_compression",
                                            "stream",
                                            "partial_images",
                                            "seed",
                                            "guidance_scale",
                                            "true_cfg_scale",
                                            "num_inference_steps",
                                            "strength",
                                            "sigmas",
                                            "cache"};
  if (std::ranges::find(kNotTexts, name) == std::end(kNotTexts)) return text;
  auto value = Json::parse(text);
  return value ? *std::move(value) : Json(text);
}

Parsed<ImageRequest> read_form(const HttpRequest& request) {
  auto parts = parse_form(request.header("content-type"), request.body);
  if (!parts) return tl::unexpected(std::move(parts).error());
  Json body(Json::Object{});
  std::vector<std::string> files;
  for (FormPart& part : *parts) {
    // PHP's way of saying that a name repeats, which OpenAI's client uses.
    const bool listed = part.name.ends_with("[]");
    if (listed) part.name.resize(part.name.size() - 2);
    const std::string shown = part.name.substr(0, 100);
    if (part.filename && part.name == "image") {
      if (part.data.empty()) return refused("image", "image: the file is empty");
      files.push_back(std::move(part.data));
      continue;
    }
    if (part.filename && part.name != "mask") return refused(shown, shown + ": no file is expected here");
    if (!part.filename && !valid_utf8(part.data)) return refused(shown, shown + ": is not valid UTF-8");
    Json value = part.filename ? Json(true) : form_value(part.name, part.data);
    const Json* earlier = body.find(part.name);
    if (listed) {
      Json::Array list = earlier && earlier->as_array() ? *earlier->as_array() : Json::Array{};
      list.push_back(std::move(value));
      body.set(part.name, std::move(list));
    } else if (earlier) {
      return refused(shown, shown + ": is given twice");
    } else {
      body.set(part.name, std::move(value));
    }
  }
  return read_edit(body, std::move(files));
}

}  // namespace

Parsed<ImageRequest> parse_image_generation(const Json& body) {
  ImageRequest out;
  RequestReader r(body);
  read_openai(r, out);
  for (const char* name : {"image", "strength"})
    if (r.find(name)) r.fail(name, "is for POST /v1/images/edits");
  if (auto error = r.finish()) return tl::unexpected<ApiError>(*std::move(error));
  return out;
}

Parsed<ImageRequest> parse_image_edit(const HttpRequest& request) {
  if (lower_ascii(request.header("content-type")).starts_with("multipart/")) return read_form(request);
  const auto body = json_body(request);
  if (!body) return tl::unexpected(body.error());
  return read_edit(*body, {});
}

Parsed<NativeImageRequest> parse_image_generate(const Json& body) {
  NativeImageRequest out;
  ImageRequest& p = out.picture;
  RequestReader r(body);
  read_prompt(r, p);
  std::optional<int64_t> width, height;
  std::string output_format = "base64";
  r("width", width, "pixels", between(1, kMostSide))("height", height, "pixels", between(1, kMostSide));
  if (width.has_value() != height.has_value()) r.fail(width ? "height" : "width", "width and height go together");
  if (width && height) p.size = ImageSize{*width, *height};
  r("num_images", p.n, "pictures", between(1, 4));
  r("include_stats", out.include_stats, "what step caching did");
  r("output_format", output_format, "how a picture is sent");
  if (output_format != "base64") r.fail("output_format", "must be base64: clients write no files here");
  r("strength", p.strength, "how far to go from the picture", between(0, 1));
  read_diffusion(r, p);
  read_pictures(r, "image_urls", p.images);
  if (r.ok() && p.strength && p.images.empty()) r.fail("strength", "is for pictures that start from image_urls");
  r.unsupported({"num_frames"}, Json(1));
  r.unsupported({"output_dir"});
  r.ignore({"fps"});
  if (auto error = r.finish()) return tl::unexpected<ApiError>(*std::move(error));
  return out;
}

}  // namespace cairn::serve
