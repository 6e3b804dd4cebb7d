// Runs tests/specs/api/*.test: requests to a server that echoes, and the answers byte for byte.
//
// A case is a title (#), a request line, the body, a line of four dashes, the status, and the answer. Lines of JSON are
// joined; those of a form, which begins with its boundary, end in CRLF. Answers in JSON are compared as values, in
// order; all others as text. Cases are apart by a line of ====.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "serve/api/echo_app.h"
#include "serve/client.h"

namespace cairn::serve {
namespace {

const std::string kSpecs = CAIRN_SOURCE_DIR "/tests/specs/api/";

std::vector<std::string> spec_files() {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(kSpecs)) out.push_back(entry.path().stem().string());
  std::ranges::sort(out);
  return out;
}

class Api : public testing::TestWithParam<std::string> {};

TEST_P(Api, AnswersAsWritten) {
  ServerOptions options;
  options.port = 0;
  const bool pictures = GetParam().starts_with("image");
  const auto server = value(Server::start(options, pictures ? EchoApp().picture_router() : EchoApp().router()));
  Client client(server->port());
  std::string title, request, body, expected;
  enum { kTitle, kBody, kStatus, kAnswer } at = kTitle;
  int status = 0, cases = 0;
  const auto finish = [&] {
    SCOPED_TRACE(title);
    const bool get = request.starts_with("GET ");
    const std::string path = request.substr(request.find(' ') + 1);
    // A form is written line by line, and a form's lines end in CRLF.
    const bool form = body.starts_with("--");
    const std::string type = form ? "multipart/form-data; boundary=" + body.substr(2, body.find("\r\n") - 2) : kJson;
    const Answer answer =
        get ? client.get(path, "X-Request-Id: t\r\n") : client.post(path, body, "X-Request-Id: t\r\n", type);
    EXPECT_TRUE(answer.whole);
    EXPECT_EQ(answer.status, status);
    const auto wanted = Json::parse(expected), got = Json::parse(answer.body);
    if (wanted && got) {
      EXPECT_EQ(got->dump(1), wanted->dump(1));
    } else {
      while (expected.ends_with("\n\n\n")) expected.pop_back();  // the blank line before ==== or the end of the file
      EXPECT_EQ(trim(answer.body), trim(expected));
    }
    ++cases;
    title = request = body = expected = "";
    at = kTitle;
  };
  for (const std::string& line : split(value(read_file(kSpecs + GetParam() + ".test")), '\n')) {
    if (line == "====")
      finish();
    else if (at == kAnswer)
      expected += line + "\n";
    else if (at == kStatus)
      status = std::stoi(line), at = kAnswer;
    else if (line == "----")
      at = kStatus;
    else if (at == kBody)
      body += line, body += body.starts_with("--") ? "\r\n" : "";
    else if (line.starts_with("# "))
      title = line;
    else if (!line.empty())
      request = line, at = kBody;
  }
  if (at == kAnswer) finish();
  EXPECT_GT(cases, 0);
}

INSTANTIATE_TEST_SUITE_P(Specs, Api, testing::ValuesIn(spec_files()), [](const auto& file) { return file.param; });

}  // namespace
}  // namespace cairn::serve
