// SPDX-License-Identifier: Apache-2.0
#include "common/http/vary.h"

#include "tests/unit/http/field_text.h"

using namespace ladle::http;

namespace {

std::string vary(std::string_view lines)
{
    const FieldText text(lines);
    std::string out = "rest of another use";
    switch (read_vary(text.fields, out)) {
    case VaryKind::none:
        return "none";
    case VaryKind::any:
        return "any";
    case VaryKind::names:
        return out;
    }
    return {};
}

std::string variant(std::string_view names, std::string_view lines, Normalise normalise = Normalise::yes)
{
    const FieldText text(lines);
    std::string out;
    append_variant(names, text.fields, normalise, out);
    return out;
}

std::string preferences(std::string_view value)
{
    std::string out;
    append_preferences(value, out);
    return out;
}

} // namespace

TEST_CASE("Vary becomes a canonical list of names (RFC 9110 §12.5.5)")
{
    CHECK(vary("A: b") == "none");
    CHECK(vary("Vary:") == "none");
    CHECK(vary("Vary: Foo") == "foo");
    CHECK(vary("Vary: Foo, bar,FOO ,, Baz") == "bar,baz,foo");
    CHECK(vary("Vary: Origin\nVary: Accept-Encoding") == "accept-encoding,origin");
}

TEST_CASE("a Vary with * anywhere, or with nonsense, never matches (RFC 9111 §4.1)")
{
    for (const char* lines : {"Vary: *", "Vary: *, *", "Vary: *\nVary: *", "Vary: , *", "Vary:\nVary: *", "Vary: *, Foo",
                              "Vary: Foo, *", "Vary: foo bar", "Vary: \"foo\""}) {
        CAPTURE(lines);
        CHECK(vary(lines) == "any");
    }
    std::string many = "Vary: a0";
    for (int i = 1; i < 33; ++i) {
        many += ", a" + std::to_string(i);
    }
    CHECK(vary(many) == "any");
}

TEST_CASE("requests with the same selecting fields ask for the same variant (RFC 9111 §4.1)")
{
    CHECK(variant("foo", "Foo: 1") == variant("foo", "fOO: 1\nOther: 2"));
    CHECK(variant("foo", "Foo: 1") != variant("foo", "Foo: 2"));
    CHECK(variant("foo", "Foo: 1") != variant("foo", "Bar: 1"));
    CHECK(variant("foo", "Foo:") != variant("foo", "Bar: 1")); // empty and absent differ
    CHECK(variant("bar,foo", "Foo: 1\nBar: 2") == variant("bar,foo", "Bar: 2\nFoo: 1"));
    CHECK(variant("bar,foo", "Foo: 1\nBar: 2") != variant("bar,foo", "Foo: 2\nBar: 1"));
    CHECK(variant("bar,foo", "Foo: 1") == "bar\nfoo:1\n");
    CHECK(variant("foo", "Foo: 1, 2") == variant("foo", "Foo: 1\nFoo: 2"));
    CHECK(variant("foo", "Foo: 1,2") == variant("foo", "Foo:   1, 2  "));
    CHECK(variant("foo", "Foo: 1, 2") != variant("foo", "Foo: 2, 1"));
    CHECK(variant("foo", "Foo: \"a, b\"") != variant("foo", "Foo: \"a,b\""));
    CHECK(variant("cookie", "Cookie: a=1; b=2") == variant("cookie", "Cookie: a=1\nCookie: b=2"));
    CHECK(variant("user-agent", "User-Agent: a, b") != variant("user-agent", "User-Agent: a,b"));
    CHECK(variant("foo", "Foo: 1, 2", Normalise::no) != variant("foo", "Foo: 1,2", Normalise::no));
    CHECK(variant("foo", "Foo: 1, 2", Normalise::no) == variant("foo", "Foo: 1\nFoo: 2", Normalise::no));
}

TEST_CASE("Accept-Encoding and Accept-Language lose what says nothing")
{
    CHECK(preferences("gzip;q=0.5, BR") == "br>gzip");
    CHECK(preferences("br, gzip;Q=0.500") == "br>gzip"); // parameter names are without case
    CHECK(preferences("gzip, deflate, br, zstd") == "br,deflate,gzip,zstd");
    CHECK(preferences("br;q=1.0, gzip;q=1.000, *;q=0") == "br,gzip,!*");
    CHECK(preferences("identity;q=0, gzip") == "gzip,!identity");
    CHECK(preferences("x-gzip, gzip") == "gzip");
    CHECK(preferences("") == "");
    CHECK(preferences("en, de") == preferences(" de ,en"));
    CHECK(preferences("eN, De") == preferences("en, de"));
    CHECK(preferences("en;q=0.8, de") == "de>en");
    CHECK(preferences("en;q=0.8, de") != preferences("de;q=0.8, en"));
    CHECK(preferences("de, en-GB;q=0.8, en;q=0.7") == preferences("en;q=0.3,de,en-gb;q=0.9"));
    CHECK(preferences("en;q=2, de") == "en;q=2,de");        // malformed: kept in its order
    CHECK(preferences("en;level=1,de") == "en;level=1,de"); // same
    const std::string gzip = variant("accept-encoding", "Accept-Encoding: gzip, br");
    CHECK(gzip == variant("accept-encoding", "Accept-Encoding: br\nAccept-Encoding: gzip"));
    CHECK(gzip == "accept-encoding:br,gzip\n");
    CHECK(gzip != variant("accept-encoding", "Accept-Encoding: gzip, br", Normalise::no));
    CHECK(variant("accept-encoding", "Accept-Encoding:") != variant("accept-encoding", "A: b"));
}
