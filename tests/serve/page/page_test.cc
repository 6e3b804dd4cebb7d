// The page as a browser fetches it: from a server, with nothing missing and nothing from elsewhere.
#include "serve/page/page.h"

#include <gmock/gmock.h>

#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "serve/client.h"

namespace cairn::serve {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Site {
  std::unique_ptr<Server> server;
  explicit Site(const std::string& key = "") {
    Router router;
    add_page(router);
    router.add({"GET", "/secret", "behind the key",
                [](HttpRequest, auto reply) { reply->whole(200, "text/plain", "secret"); }});
    ServerOptions options;
    options.port = 0;
    options.api_key = key;
    server = value(Server::start(std::move(options), std::move(router)));
  }
  Answer get(const std::string& path, const std::string& headers = "") {
    return Client(server->port()).get(path, headers);
  }
};

std::map<std::string, std::string> files() {
  std::map<std::string, std::string> out;
  for (const Asset& asset : page_assets()) out.emplace(asset.path, asset.bytes);
  return out;
}

// What stands between `before` and the next quote, for each `before` in the text.
std::set<std::string> quoted_after(std::string_view text, std::string_view before) {
  std::set<std::string> out;
  for (size_t at = text.find(before); at != std::string_view::npos; at = text.find(before, at + 1)) {
    const size_t from = at + before.size();
    out.emplace(text.substr(from, text.find('"', from) - from));
  }
  return out;
}

TEST(Page, EveryAssetIsServedAsItIs) {
  Site site;
  EXPECT_GE(page_assets().size(), 8u);
  for (const Asset& asset : page_assets()) {
    const Answer answer = site.get(std::string(asset.path));
    EXPECT_EQ(answer.status, 200) << asset.path;
    EXPECT_EQ(answer.body, asset.bytes) << asset.path;
    EXPECT_EQ(header(answer.headers, "content-type"), asset.content_type);
    EXPECT_EQ(header(answer.headers, "etag"), asset.etag);
    EXPECT_EQ(header(answer.headers, "cache-control"), "no-cache");
    EXPECT_EQ(header(answer.headers, "x-content-type-options"), "nosniff");
    EXPECT_THAT(std::string(header(answer.headers, "content-security-policy")),
                HasSubstr("default-src 'self'; img-src 'self' data: blob:"));
    EXPECT_FALSE(asset.bytes.empty()) << asset.path;
  }
}

TEST(Page, EmbedsTheFilesByteForByte) {
  for (const Asset& asset : page_assets()) {
    const std::string name =
        asset.path == "/" ? "index.html" : std::string(asset.path.substr(asset.path.rfind('/') + 1));
    std::ifstream file(std::string(CAIRN_SOURCE_DIR) + "/src/serve/page/" + name, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    EXPECT_EQ(asset.bytes, bytes) << name;
  }
}

TEST(Page, IsAtTheRootAndIsHtml) {
  const Answer answer = Site().get("/");
  EXPECT_THAT(answer.body, StartsWith("<!doctype html>"));
  EXPECT_THAT(answer.body, HasSubstr("<html lang=\"en\""));
  EXPECT_THAT(answer.body, HasSubstr("name=\"viewport\""));
  EXPECT_EQ(header(answer.headers, "content-type"), "text/html; charset=utf-8");
}

TEST(Page, AKnownTagGetsNoBody) {
  Site site;
  Client client(site.server->port());
  const auto ask = [&](std::string_view path, const std::string& tags) {
    client.send("GET " + std::string(path) + " HTTP/1.1\r\nHost: t\r\nIf-None-Match: " + tags + "\r\n\r\n");
  };
  for (const Asset& asset : page_assets()) {
    const std::string tag(asset.etag);
    for (const std::string& sent : {tag, "W/" + tag, "\"old\" , " + tag, std::string("*")}) {
      ask(asset.path, sent);
      const Answer answer = client.answer(true);
      EXPECT_EQ(answer.status, 304) << asset.path << " " << sent;
      EXPECT_EQ(header(answer.headers, "etag"), tag);
    }
    // What comes next on the connection is the next answer, so the ones before had no body.
    for (const std::string& sent : {std::string("\"old\""), tag.substr(1, 16), std::string()}) {
      ask(asset.path, sent);
      EXPECT_EQ(client.answer().body, asset.bytes) << asset.path << " " << sent;
    }
  }
}

TEST(Page, TagsDiffer) {
  std::set<std::string_view> tags;
  for (const Asset& asset : page_assets()) tags.insert(asset.etag);
  EXPECT_EQ(tags.size(), page_assets().size());
}

TEST(Page, NeedsNoKeyWhereTheRestDoes) {
  Site site("k");
  for (const Asset& asset : page_assets()) EXPECT_EQ(site.get(std::string(asset.path)).status, 200) << asset.path;
  EXPECT_EQ(site.get("/secret").status, 401);
}

TEST(Page, AnswersHeadWithoutABody) {
  Site site;
  Client client(site.server->port());
  client.send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n");
  const Answer answer = client.answer(true);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(header(answer.headers, "content-length"), std::to_string(page_assets()[0].bytes.size()));
}

TEST(Page, RefersOnlyToFilesThatThereAre) {
  const auto all = files();
  std::set<std::string> used{"/"};
  for (const char* attribute : {"href=\"", "src=\""})
    for (const std::string& target : quoted_after(all.at("/"), attribute)) {
      if (target.starts_with('#')) continue;
      EXPECT_TRUE(all.contains(target)) << target;
      used.insert(target);
    }
  for (const auto& [path, text] : all)
    for (const std::string& target : quoted_after(text, " from \"./")) {
      EXPECT_TRUE(all.contains("/page/" + target)) << path << " imports " << target;
      used.insert("/page/" + target);
    }
  for (const auto& [path, text] : all) EXPECT_TRUE(used.contains(path)) << path << " is used by nothing";
}

TEST(Page, LoadsNothingFromElsewhere) {
  for (const auto& [path, text] : files()) {
    std::string rest = text;
    const std::string svg = "http://www.w3.org/2000/svg";  // a name, which nothing loads
    for (size_t at; (at = rest.find(svg)) != std::string::npos;) rest.erase(at, svg.size());
    for (const char* scheme : {"http://", "https://", "ws://", "wss://", "url(//", "\"//"})
      EXPECT_EQ(rest.find(scheme), std::string::npos) << path << " has " << scheme;
  }
}

TEST(Page, NeverMakesMarkupOfText) {
  for (const auto& [path, text] : files())
    for (const char* way : {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"})
      EXPECT_EQ(text.find(way), std::string::npos) << path << " has " << way;
}

TEST(Page, HasNothingThatThePolicyForbids) {
  const std::string page = files().at("/");
  EXPECT_EQ(page.find(" style=\""), std::string::npos);
  EXPECT_EQ(page.find("<style"), std::string::npos);
  EXPECT_EQ(page.find(" onclick="), std::string::npos);
  EXPECT_EQ(page.find("<script>"), std::string::npos);
}

TEST(Page, EveryLabelledIdExistsOnce) {
  const std::string page = files().at("/");
  const auto ids = quoted_after(page, " id=\"");
  for (const std::string& id : ids) {
    const std::string attribute = " id=\"" + id + "\"";
    EXPECT_EQ(page.find(attribute), page.rfind(attribute)) << id;
  }
  for (const char* attribute : {" for=\"", "aria-controls=\"", "aria-labelledby=\"", "aria-describedby=\""})
    for (const std::string& list : quoted_after(page, attribute))
      for (const std::string& id : split(list, ' ')) EXPECT_TRUE(ids.contains(id)) << attribute << id;
  for (const auto& [path, text] : files())
    for (const std::string& id : quoted_after(text, "byId(\"")) EXPECT_TRUE(ids.contains(id)) << path << " " << id;
}

}  // namespace
}  // namespace cairn::serve
