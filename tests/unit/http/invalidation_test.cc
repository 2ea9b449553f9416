// SPDX-License-Identifier: Apache-2.0
#include "common/http/invalidation.h"

#include "tests/unit/http/field_text.h"

using namespace ladle::http;

namespace {

std::string invalidated(std::string_view lines)
{
    const FieldText response(lines);
    const Invalidated found = find_invalidated("http://a.example/b/c?d", response.fields);
    std::string out;
    for (std::size_t i = 0; i < found.size; ++i) {
        out += (i == 0 ? "" : " ") + found.urls[i];
    }
    return out;
}

} // namespace

TEST_CASE("references are resolved: the examples of RFC 3986 §5.4")
{
    struct Case {
        const char* reference;
        const char* expected;
    };
    for (const Case& c : {Case{"g", "/b/c/g"},
                          Case{"./g", "/b/c/g"},
                          Case{"g/", "/b/c/g/"},
                          Case{"/g", "/g"},
                          Case{"?y", "/b/c/d;p?y"},
                          Case{"g?y", "/b/c/g?y"},
                          Case{"#s", "/b/c/d;p?q"},
                          Case{"g#s", "/b/c/g"},
                          Case{"g?y#s", "/b/c/g?y"},
                          Case{";x", "/b/c/;x"},
                          Case{"g;x", "/b/c/g;x"},
                          Case{"g;x?y#s", "/b/c/g;x?y"},
                          Case{"", "/b/c/d;p?q"},
                          Case{".", "/b/c/"},
                          Case{"./", "/b/c/"},
                          Case{"..", "/b/"},
                          Case{"../", "/b/"},
                          Case{"../g", "/b/g"},
                          Case{"../..", "/"},
                          Case{"../../", "/"},
                          Case{"../../g", "/g"},
                          Case{"../../../g", "/g"},
                          Case{"../../../../g", "/g"},
                          Case{"/./g", "/g"},
                          Case{"/../g", "/g"},
                          Case{"g.", "/b/c/g."},
                          Case{".g", "/b/c/.g"},
                          Case{"g..", "/b/c/g.."},
                          Case{"..g", "/b/c/..g"},
                          Case{"./../g", "/b/g"},
                          Case{"./g/.", "/b/c/g/"},
                          Case{"g/./h", "/b/c/g/h"},
                          Case{"g/../h", "/b/c/h"},
                          Case{"g;x=1/./y", "/b/c/g;x=1/y"},
                          Case{"g;x=1/../y", "/b/c/y"},
                          Case{"g?y/./x", "/b/c/g?y/./x"},
                          Case{"g?y/../x", "/b/c/g?y/../x"}}) {
        CAPTURE(c.reference);
        CHECK(resolve_reference("http://a/b/c/d;p?q", c.reference) == std::string("http://a") + c.expected);
    }
    CHECK(resolve_reference("http://a/b/c/d;p?q", "//g") == "http://g/");
    CHECK(resolve_reference("http://a/b", "HTTPS://G:443/./x") == "https://g/x");
    CHECK(resolve_reference("http://a/b", "http://g?y") == "http://g/?y");
    for (const char* bad : {"g:h", "http:g", "http:", "mailto:x@y", "http://", "//", "http://u@g/", "javascript:alert(1)"}) {
        CAPTURE(bad);
        CHECK(resolve_reference("http://a/b", bad).empty());
    }
    CHECK(resolve_reference("nonsense", "/a").empty());
}

TEST_CASE("origins (RFC 9110 §4.3.1)")
{
    CHECK(is_same_origin("http://a/x", "HTTP://A:80/y"));
    CHECK(is_same_origin("https://a:443/x", "https://a/y"));
    CHECK_FALSE(is_same_origin("http://a/", "https://a/"));
    CHECK_FALSE(is_same_origin("http://a/", "http://a:81/"));
    CHECK_FALSE(is_same_origin("http://a/", "http://b/"));
    CHECK_FALSE(is_same_origin("http://a/", "/a"));
}

TEST_CASE("which responses invalidate (RFC 9111 §4.4)")
{
    for (const Method method : {Method::post, Method::put, Method::delete_, Method::patch, Method::other}) {
        CHECK(is_invalidating(method, 200));
        CHECK(is_invalidating(method, 303));
        CHECK_FALSE(is_invalidating(method, 404));
        CHECK_FALSE(is_invalidating(method, 500));
        CHECK_FALSE(is_invalidating(method, 103));
    }
    for (const Method method : {Method::get, Method::head, Method::options, Method::trace}) {
        CHECK_FALSE(is_invalidating(method, 200));
    }
}

TEST_CASE("what is invalidated (RFC 9111 §4.4)")
{
    CHECK(invalidated("A: b") == "http://a.example/b/c?d");
    CHECK(invalidated("Location: x\nContent-Location: /y") == "http://a.example/b/c?d http://a.example/b/x http://a.example/y");
    CHECK(invalidated("Location: http://A.example:80/x#z") == "http://a.example/b/c?d http://a.example/x");
    CHECK(invalidated("Location: http://b.example/x\nContent-Location: https://a.example/x") ==
          "http://a.example/b/c?d"); // other origins
    CHECK(invalidated("Location: c?d\nContent-Location: /b/c?d") == "http://a.example/b/c?d");
}
