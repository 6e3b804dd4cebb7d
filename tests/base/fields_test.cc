#include "base/fields.h"

#include <gmock/gmock.h>

namespace cairn {
namespace {

using testing::HasSubstr;

struct Inner {
  int64_t depth = 3;
  void fields(auto& f) { f("depth", depth, "levels", between(0, 10)); }
};

struct Options {
  int64_t heads = 0;
  double scale = 1.5;
  std::optional<double> limit;
  std::string mode = "fast";
  std::vector<int64_t> axes{1, 2};
  Inner inner;

  void fields(auto& f) {
    f("heads", heads, "attention heads", required().between(1, 64));
    f("scale", scale, "softmax scale", alias({"softmax_scale"}))("limit", limit, "cap", at_least(0));
    f("mode", mode, "how", one_of({"fast", "slow"}))("axes", axes)("inner", inner);
  }
};

Result<Options> from(const char* text) { return read<Options>(*Json::parse(text), "options"); }
std::string error_of(const char* text) {
  const auto r = from(text);
  return r ? "" : r.error().what;
}

TEST(Fields, ReadsWhatIsThereAndKeepsDefaultsOfTheRest) {
  const auto o = from(R"({"heads":4,"limit":0.5,"inner":{"depth":2},"axes":[7]})");
  ASSERT_TRUE(o) << o.error().what;
  EXPECT_EQ(o->heads, 4);
  EXPECT_EQ(o->scale, 1.5);
  EXPECT_EQ(o->limit, 0.5);
  EXPECT_EQ(o->inner.depth, 2);
  EXPECT_EQ(o->axes, std::vector<int64_t>{7});
}

TEST(Fields, AliasesNameTheSameMember) { EXPECT_EQ(from(R"({"heads":1,"softmax_scale":2})")->scale, 2); }

TEST(Fields, ErrorsNameThePathAndTheValue) {
  EXPECT_THAT(error_of(R"({})"), HasSubstr("options.heads: is missing"));
  EXPECT_THAT(error_of(R"({"heads":0})"), HasSubstr("options.heads: must lie in [1, 64], got 0"));
  EXPECT_THAT(error_of(R"({"heads":1.5})"), HasSubstr("expected an integer, got 1.5"));
  EXPECT_THAT(error_of(R"({"heads":"4"})"), HasSubstr("expected an integer, got a string"));
  EXPECT_THAT(error_of(R"({"heads":1,"inner":{"depth":11}})"), HasSubstr("options.inner.depth"));
  EXPECT_THAT(error_of(R"({"heads":1,"axes":[1,"x"]})"), HasSubstr("options.axes[1]"));
}

TEST(Fields, UnknownKeysOfferTheNearest) {
  EXPECT_THAT(error_of(R"({"heads":1,"sclae":2})"), HasSubstr("unknown key options.sclae, did you mean scale?"));
}

TEST(Fields, ChoicesOfferTheNearest) {
  EXPECT_THAT(error_of(R"({"heads":1,"mode":"fats"})"), HasSubstr("none of fast, slow, did you mean fast?"));
}

TEST(Fields, NullClearsAnOptionalAndKeepsOtherDefaults) {
  const auto o = from(R"({"heads":1,"limit":null,"scale":null})");
  ASSERT_TRUE(o) << o.error().what;
  EXPECT_FALSE(o->limit);
  EXPECT_EQ(o->scale, 1.5);
}

TEST(Fields, WritingReadsBackTheSame) {
  Options o;
  o.heads = 9;
  o.limit = 0.25;
  EXPECT_EQ(read<Options>(write(o))->limit, 0.25);
  EXPECT_EQ(write(o).dump(), R"({"heads":9,"scale":1.5,"limit":0.25,"mode":"fast","axes":[1,2],"inner":{"depth":3}})");
}

TEST(Fields, ListingKnowsTypesAndDefaults) {
  const auto fields = list_fields<Options>();
  ASSERT_EQ(fields.size(), 6u);
  EXPECT_EQ(fields[1].name, "scale");
  EXPECT_EQ(fields[1].type, "float");
  EXPECT_EQ(fields[1].fallback, "1.5");
  EXPECT_EQ(fields[4].type, "list of int");
}

}  // namespace
}  // namespace cairn
