// What bodies of the picture routes become, and which are refused.
#include "serve/api/images.h"

#include <gmock/gmock.h>

#include "base/base64.h"
#include "serve/api/multipart.h"
#include "serve/client.h"

namespace cairn::serve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Json json(const std::string& text) { return value(Json::parse(text)); }

constexpr const char* kForm = "multipart/form-data; boundary=x";

std::string part(const std::string& head, const std::string& data) {
  return "--x\r\nContent-Disposition: form-data; " + head + "\r\n\r\n" + data + "\r\n";
}
HttpRequest edit(const std::string& body, const std::string& type = kForm) {
  HttpRequest q;
  q.headers = {{"content-type", type}};
  q.body = body;
  return q;
}
std::string field(const std::string& name, const std::string& text) { return part("name=\"" + name + "\"", text); }
const std::string kPicture = part("name=\"image\"; filename=\"a.png\"\r\nContent-Type: image/png", "PNG");

template <class T>
void expect_refused(const Parsed<T>& got, const std::string& param, const std::string& message) {
  ASSERT_FALSE(got) << message;
  EXPECT_EQ(got.error().status, 400);
  EXPECT_EQ(got.error().param, param) << got.error().message;
  EXPECT_THAT(got.error().message, HasSubstr(message));
}

TEST(Form, ReadsPartsInTheirOrder) {
  const std::string bytes("a\r\n--y\0\xff--x\r\n\r\n", 16);
  const auto parts =
      value(parse_form("Multipart/Form-Data; charset=utf-8; boundary=\"x\"",
                       field("a", "") + field("a", "2") +
                           "--x \t\r\nCONTENT-DISPOSITION: form-data;name=b ; "
                           "filename=\"C:\\a \\\"b\\\".png\"\r\ncontent-type:image/png\r\nX-Other: 1\r\n\r\n" +
                           bytes + "\r\n--x--\r\n"));
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].data, "");
  EXPECT_EQ(parts[1].name, "a");
  EXPECT_EQ(parts[1].data, "2");
  EXPECT_FALSE(parts[1].filename);
  EXPECT_EQ(parts[2].name, "b");
  EXPECT_EQ(parts[2].filename, "C:\\a \"b\".png");
  EXPECT_EQ(parts[2].content_type, "image/png");
  EXPECT_EQ(parts[2].data, bytes);
}

TEST(Form, MayBeEmpty) { EXPECT_TRUE(value(parse_form(kForm, "--x--\r\n")).empty()); }

TEST(Form, RefusesWhatCouldBeReadInTwoWays) {
  const auto refused = [](const std::string& body, const std::string& message) {
    expect_refused(parse_form(kForm, body), "", message);
  };
  refused("", "does not begin with the boundary");
  refused("\r\n--x--", "does not begin with the boundary");
  refused("preamble\r\n--x--", "does not begin");
  refused("--x", "does not end its line");
  refused("--xy\r\n", "does not end its line");
  refused("--x\r\n", "no end of its header");
  refused("--x\r\n\r\n\r\n--x--", "no Content-Disposition");
  refused("--x\r\nContent-Disposition: form-data; name=a\r\n\r\n--x--", "no empty line");
  refused("--x\r\nContent-Disposition: form-data; name=a\r\n\r\n", "breaks off");
  refused("--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--", "breaks off");
  refused(field("a", "1") + "--x--\r\nmore", "behind the last boundary");
  refused(field("a", "b\r\n--xyz"), "part 2 of the form: its boundary does not end its line");
  refused("--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--", "no name");
  refused("--x\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n\r\n--x--", "no name");
  refused("--x\r\nContent-Disposition: attachment; name=a\r\n\r\n\r\n--x--", "must be form-data");
  refused(part("name=a; name=b", ""), "must be form-data");
  refused(part("name=\"a", ""), "must be form-data");
  refused(part("name", ""), "must be form-data");
  refused(part("name=a b", ""), "must be form-data");
  refused(part("name=\"\xff\"", ""), "not valid UTF-8");
  refused(part(std::string("name=\"a\0\"", 9), ""), "a control character");
  refused(part("name=a\r\nContent-Disposition: form-data; name=b", ""), "once");
  refused(part("name=a\r\nContent-Type: a/b\r\nContent-Type: a/c", ""), "two headers Content-Type");
  refused(part("name=a\r\n folded", ""), "not \"Name: value\"");
  refused(part("name=a\r\nContent-Transfer-Encoding: base64", ""), "base64 is not understood");
  refused(part("name=" + std::string(5000, 'a'), ""), "within 4096 bytes");
  std::string many;
  for (int i = 0; i < 65; ++i) many += field("a", "");
  refused(many + "--x--", "more than 64 parts");
}

TEST(Form, RefusesABoundaryThatIsNone) {
  for (const std::string type :
       {"multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"",
        "multipart/form-data; boundary=x; boundary=x", "multipart/mixed; boundary=x", "multipart/form-data boundary=x",
        "multipart/form-data; boundary=\"a\tb\"", "multipart/form-data; boundary=\"a \""})
    EXPECT_FALSE(parse_form(type, "--x--")) << type;
  EXPECT_FALSE(parse_form("multipart/form-data; boundary=" + std::string(71, 'x'), "--" + std::string(71, 'x') + "--"));
}

TEST(ImageRequest, HasOpenAisDefaultsAndLeavesTheRestToTheModel) {
  const auto r = value(parse_image_generation(json(R"({"prompt":"p"})")));
  EXPECT_EQ(r.n, 1);
  EXPECT_EQ(r.output_format, "png");
  EXPECT_FALSE(r.stream || r.size || r.seed || r.num_inference_steps || r.guidance_scale || r.negative_prompt);
  EXPECT_TRUE(r.cache.is_null());
}

TEST(ImageRequest, ReadsEveryParameter) {
  const auto r = value(parse_image_generation(json(R"({"model":"m","prompt":"p","negative_prompt":"","n":10,
    "size":"640x480","response_format":"b64_json","output_format":"jpeg","output_compression":80,"quality":"hd",
    "style":"vivid","background":"opaque","moderation":"auto","stream":true,"partial_images":3,"user":"u",
    "num_inference_steps":3,"guidance_scale":3.5,"true_cfg_scale":4,"seed":7,"sigmas":[1,0.5,0.25],
    "cache":{"Fn_compute_blocks":8}})")));
  EXPECT_EQ(r.size->width, 640);
  EXPECT_EQ(r.size->height, 480);
  EXPECT_EQ(r.negative_prompt, "");
  EXPECT_EQ(r.output_compression, 80);
  EXPECT_EQ(r.partial_images, 3);
  EXPECT_EQ(r.num_inference_steps, 3);
  EXPECT_EQ(r.guidance_scale, 3.5);
  EXPECT_EQ(r.true_cfg_scale, 4);
  EXPECT_EQ(r.seed, 7);
  EXPECT_THAT(r.sigmas, ElementsAre(1, 0.5, 0.25));
  EXPECT_EQ(r.cache.dump(), R"({"Fn_compute_blocks":8})");
}

TEST(ImageRequest, NamesTheParameterThatIsWrong) {
  const auto refused = [](const std::string& more, const std::string& param, const std::string& message) {
    expect_refused(parse_image_generation(json(R"({"prompt":"p",)" + more + "}")), param, message);
  };
  refused(R"("n":11)", "n", "[1, 10]");
  refused(R"("n":0)", "n", "[1, 10]");
  for (const char* size :
       {"big", "1024", "0x5", "5x", "x5", "-1x5", "5x5x5", "16385x1", "99999999999999999999x1", " 5x5"})
    refused("\"size\":\"" + std::string(size) + "\"", "size", "WIDTHxHEIGHT");
  refused(R"("response_format":"url")", "response_format", "ask for b64_json");
  refused(R"("output_format":"gif")", "output_format", "png");
  refused(R"("output_compression":50)", "output_compression", "png loses nothing");
  refused(R"("background":"transparent")", "background", "opaque");
  refused(R"("partial_images":1)", "partial_images", "stream");
  refused(R"("stream":true,"partial_images":4)", "partial_images", "[0, 3]");
  refused(R"("sigmas":[0.5,1])", "sigmas", "fall");
  refused(R"("sigmas":[1,0.5],"num_inference_steps":3)", "sigmas", "leave one out");
  refused(R"("sigmas":[-1])", "sigmas", "sigmas[0]: must lie in");
  refused(R"("cache":3)", "cache", "the name of a preset");
  refused(R"("seed":-1)", "seed", "at least 0");
  refused(R"("guidence_scale":3)", "guidence_scale", "did you mean guidance_scale?");
  refused(R"("strength":0.5)", "strength", "/v1/images/edits");
  refused(R"("image":"x")", "image", "/v1/images/edits");
  expect_refused(parse_image_generation(json("{}")), "prompt", "is missing");
  expect_refused(parse_image_generation(json(R"({"prompt":" "})")), "prompt", "is empty");
  expect_refused(parse_image_generation(Json(Json::Object{{"prompt", std::string(70000, 'a')}})), "prompt", "longer");
}

TEST(ImageEdit, ReadsAForm) {
  const auto r = value(parse_image_edit(edit(
      field("prompt", "7") + field("n", "2") + field("stream", "true") + field("strength", "0.5") +
      field("sigmas[]", "1") + field("sigmas[]", "0.5") + field("cache", "fast") + kPicture + kPicture + "--x--")));
  EXPECT_EQ(r.prompt, "7");  // a text, though it looks like a number
  EXPECT_EQ(r.n, 2);
  EXPECT_TRUE(r.stream);
  EXPECT_EQ(r.strength, 0.5);
  EXPECT_THAT(r.sigmas, ElementsAre(1, 0.5));
  EXPECT_EQ(r.cache, Json("fast"));
  EXPECT_THAT(r.images, ElementsAre("PNG", "PNG"));
  EXPECT_EQ(
      value(parse_image_edit(edit(field("prompt", "p") + field("cache", R"({"a":1})") + kPicture + "--x--"))).cache,
      json(R"({"a":1})"));
}

TEST(ImageEdit, ReadsJson) {
  const auto images = [](const std::string& image) {
    return value(parse_image_edit(edit(R"({"prompt":"p","image":)" + image + "}", kJson))).images;
  };
  EXPECT_THAT(images(R"("UE5H")"), ElementsAre("PNG"));
  EXPECT_THAT(images(R"(["UE5H","data:image/png;base64,UE4="])"), ElementsAre("PNG", "PN"));
}

TEST(ImageEdit, NamesTheFieldThatIsWrong) {
  const auto form = [](const std::string& parts, const std::string& param, const std::string& message) {
    expect_refused(parse_image_edit(edit(field("prompt", "p") + parts + "--x--")), param, message);
  };
  form("", "image", "is missing");
  form(kPicture + field("n", "two"), "n", "expected an integer, got a string");
  form(kPicture + field("n", "11"), "n", "[1, 10]");
  form(kPicture + field("n", "1") + field("n", "2"), "n", "given twice");
  form(kPicture + field("user", "\xff"), "user", "UTF-8");
  form(kPicture + field("promt", "a"), "promt", "did you mean prompt?");
  form(kPicture + part("name=mask; filename=m.png", "PNG"), "mask", "not supported");
  form(part("name=picture; filename=m.png", "PNG"), "picture", "no file is expected");
  form(part("name=image; filename=m.png", ""), "image", "empty");
  form(field("image", "https://example.com/a.png"), "image", "fetches nothing");
  std::string many;
  for (int i = 0; i < 17; ++i) many += kPicture;
  form(many, "image", "more than 16");
  const auto in_json = [](const std::string& image, const std::string& param, const std::string& message) {
    expect_refused(parse_image_edit(edit(R"({"prompt":"p","image":)" + image + "}", kJson)), param, message);
  };
  in_json("3", "image", "got an integer");
  in_json(R"([3])", "image[0]", "got an integer");
  in_json(R"("file:///etc/passwd")", "image", "fetches nothing");
  in_json(R"("data:image/png,abc")", "image", "data:TYPE;base64");
  in_json(R"("data:image/png;base64")", "image", "data:TYPE;base64");
  in_json(R"("a*")", "image", "not base64 at character 2");
  in_json(R"("")", "image", "is empty");
  in_json(R"([])", "image", "is missing");
  expect_refused(parse_image_edit(edit("{}", "text/plain")), "", "Content-Type");
}

TEST(NativeImageRequest, ReadsCacheDitsParametersAndRefusesTheRest) {
  const auto r = value(parse_image_generate(json(R"({"prompt":"p","negative_prompt":"n","width":64,"height":32,
    "num_inference_steps":4,"guidance_scale":7.5,"sigmas":null,"seed":null,"num_images":4,"image_urls":["UE5H"],
    "num_frames":1,"fps":16,"include_stats":true,"output_format":"base64","output_dir":null})")));
  EXPECT_EQ(r.picture.size->height, 32);
  EXPECT_EQ(r.picture.n, 4);
  EXPECT_TRUE(r.include_stats);
  EXPECT_THAT(r.picture.images, ElementsAre("PNG"));
  const auto refused = [](const std::string& more, const std::string& param, const std::string& message) {
    expect_refused(parse_image_generate(json(R"({"prompt":"p",)" + more + "}")), param, message);
  };
  refused(R"("width":64)", "height", "go together");
  refused(R"("num_images":5)", "num_images", "[1, 4]");
  refused(R"("num_frames":16)", "num_frames", "not supported");
  refused(R"("output_format":"path")", "output_format", "base64");
  refused(R"("image_urls":["http://a/b.png"])", "image_urls[0]", "fetches nothing");
  refused(R"("strength":1)", "strength", "image_urls");
}

TEST(CacheReport, CountsTheStepsThatWereCached) { EXPECT_EQ((CacheReport{"", "110100"}).cached_steps(), 3); }

}  // namespace
}  // namespace cairn::serve
