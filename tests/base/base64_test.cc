#include "base/base64.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

TEST(Base64, WritesTheVectorsOfTheStandardAndReadsThemBack) {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(base64(bytes), text);
    EXPECT_EQ(from_base64(text).value(), bytes);
  }
}

TEST(Base64, ReadsEveryByteItWrote) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  for (size_t n = 0; n <= all.size(); ++n) EXPECT_EQ(from_base64(base64(all.substr(n))).value(), all.substr(n));
}

TEST(Base64, ReadsLineBreaksAndMissingPadding) {
  EXPECT_EQ(from_base64("Zm9v\r\nYg").value(), "foob");
  EXPECT_EQ(from_base64("Zm8").value(), "fo");
}

TEST(Base64, RefusesWhatIsNone) {
  for (const char* text :
       {"Z", "Zg=", "Zg===", "=", "====", "Zg==Zg==", "Zm=v", "Zm9v!", "Zm9v-_", "Zm 9v", "Zm9v=", "Zh=="})
    EXPECT_FALSE(from_base64(text)) << text;
  EXPECT_EQ(from_base64("Zm9*").error().what, "not base64 at character 4");
}

}  // namespace
}  // namespace cairn
