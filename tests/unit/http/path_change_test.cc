// SPDX-License-Identifier: Apache-2.0
//
// What strip, rewrite and redirect make of a path, and what no path can make of them.
#include "common/http/path_change.h"

#include <doctest/doctest.h>

#include <string>

using namespace ladle::http;

namespace {

QueryText query_of(std::string_view target)
{
    const std::size_t mark = target.find('?');
    return mark == std::string_view::npos ? QueryText{} : QueryText{target.substr(mark + 1), true};
}

std::string rewritten(const std::string& regex, std::string_view to, std::string_view target)
{
    PathChange change;
    if (!regex.empty()) {
        change.expression = std::make_shared<const RE2>(regex);
    }
    change.to = PathTemplate::parse(to, PathTemplate::For::rewrite).value();
    change.has_rewrite = true;
    std::string out;
    return change.apply(target.substr(0, target.find('?')), query_of(target), out) ? out : "unchanged";
}

std::string stripped(const std::string& strip, std::string_view target)
{
    PathChange change;
    change.strip = strip;
    std::string out;
    return change.apply(target.substr(0, target.find('?')), query_of(target), out) ? out : "unchanged";
}

std::string redirected(const std::string& regex, std::string_view to, std::string_view target)
{
    Redirection redirection;
    if (!regex.empty()) {
        redirection.expression = std::make_shared<const RE2>(regex);
    }
    redirection.to = PathTemplate::parse(to, PathTemplate::For::redirect).value();
    return redirection.apply(target.substr(0, target.find('?')), query_of(target));
}

std::string refusal(std::string_view text, PathTemplate::For use)
{
    const auto parsed = PathTemplate::parse(text, use);
    return parsed ? "good" : parsed.error();
}

} // namespace

TEST_CASE("strip: a beginning is taken off where a segment ends")
{
    CHECK(stripped("/v2", "/v2/a/b") == "/a/b");
    CHECK(stripped("/v2", "/v2") == "/");
    CHECK(stripped("/v2", "/v2/") == "/");
    CHECK(stripped("/v2", "/v2?a=1") == "/?a=1");
    CHECK(stripped("/v2", "/v2/x?") == "/x?");
    CHECK(stripped("/v2", "/v20/x") == "unchanged");
    CHECK(stripped("/v2", "/x/v2") == "unchanged");
    CHECK(stripped("/v2", "*") == "unchanged");
    CHECK(stripped("/v2", "/v2//evil.test/x") == "/evil.test/x");
}

TEST_CASE("rewrite: groups of the expression stand in the new path")
{
    CHECK(rewritten("^/old/(.*)", "/new/$1", "/old/a/b") == "/new/a/b");
    CHECK(rewritten("/(\\w+)/(\\w+)", "/$2/$1", "/a/b") == "/b/a");
    CHECK(rewritten("/old/(.*)", "/new/$1", "/other") == "unchanged");
    CHECK(rewritten("/old", "/new", "/older") == "unchanged");
    CHECK(rewritten("", "/app$0", "/x") == "/app/x");
    CHECK(rewritten("/(a)?b", "/x$1y", "/b") == "/xy");
    CHECK(rewritten("/c/(.*)", "/$$1/$1", "/c/5") == "/$1/5");
}

TEST_CASE("rewrite: the query is kept, behind the template's own, or dropped by a question mark")
{
    CHECK(rewritten("/p/(.*)", "/page", "/p/1?a=2") == "/page?a=2");
    CHECK(rewritten("/p/(.*)", "/page?id=$1", "/p/1") == "/page?id=1");
    CHECK(rewritten("/p/(.*)", "/page?id=$1", "/p/1?a=2") == "/page?id=1&a=2");
    CHECK(rewritten("/p/(.*)", "/page?", "/p/1?a=2") == "/page");
}

TEST_CASE("rewrite: what a path holds becomes no other argument, no host and no parent folder")
{
    CHECK(rewritten("/p/(.*)", "/page?id=$1", "/p/1&admin=1;x+y=") == "/page?id=1%26admin%3D1%3Bx%2By%3D");
    CHECK(rewritten("/p/(.*)", "/page?id=$1", "/p/a%26b") == "/page?id=a%26b");
    CHECK(rewritten("/p/(.*)", "/$1", "/p//evil.test/") == "/evil.test/");
    CHECK(rewritten("/p/(.*)", "$1", "/p/x") == "/x");
    for (const char* path : {"/user-../admin/keys", "/user-a/../../b", "/user-..", "/user-./.."}) {
        CHECK(rewritten("/user-(.*)", "/users/$1", path) == "unchanged");
    }
    CHECK(rewritten("/p/a(..)b", "/x/$1/y", "/p/a..b") == "unchanged");
    CHECK(rewritten("/p/(.*)%2Fx", "/x/$1%/y", "/p/1%2Fx") == "unchanged");
    CHECK(rewritten("/p(.)2Fx", "/x/$1/y", "/p%2Fx") == "unchanged");
    CHECK(rewritten("/user-(.*)", "/users/$1", "/user-a..b/c") == "/users/a..b/c");
}

TEST_CASE("redirect: the host is the template's, whatever the path")
{
    CHECK(redirected("", "https://new.test$0", "/a?b=1") == "https://new.test/a?b=1");
    CHECK(redirected("", "/new", "/a?b=1") == "/new?b=1");
    CHECK(redirected("", "https://new.test", "/a") == "https://new.test/");
    CHECK(redirected("", "https://new.test?x=1", "/a?y=2") == "https://new.test/?x=1&y=2");
    CHECK(redirected("/x(.*)", "https://new.test$1", "/x.evil.test/") == "https://new.test/.evil.test/");
    CHECK(redirected("/x(.*)", "https://new.test$1", "/x@evil.test/") == "https://new.test/@evil.test/");
    CHECK(redirected("/x/(.*)", "/$1", "/x//evil.test") == "/evil.test");
    CHECK(redirected("/x/(.*)", "/$1", "/x/\\evil.test") == "/%5Cevil.test");
    CHECK(redirected("/x/(.*)", "$1", "/x//evil.test") == "/evil.test");
}

TEST_CASE("template: what could become another host, header or argument is refused")
{
    using For = PathTemplate::For;
    CHECK(refusal("/a/$1?b=$2", For::rewrite) == "good");
    CHECK(refusal("https://a.test:8443/$1", For::redirect) == "good");
    for (const std::string_view bad : {"", "a", "http://a.test/", "/a b", "/a\r\nX: y", "/a#b", "/\xC3\xA9", "/$", "/$a"}) {
        CAPTURE(bad);
        CHECK(refusal(bad, For::rewrite) != "good");
    }
    for (const std::string_view bad : {"", "ftp://a.test/", "https://$1/", "https://a$1.test", "https://u@a.test/", "a.test",
                                       "https://", "javascript://a.test/"}) {
        CAPTURE(bad);
        CHECK(refusal(bad, For::redirect) != "good");
    }
    CHECK(redirected("", "//a.test/", "/") == "/a.test/");
    CHECK(refusal(std::string(3000, '/'), For::rewrite) != "good");
    std::string many = "/";
    for (int i = 0; i < 17; ++i) {
        many += "$1";
    }
    CHECK(refusal(many, For::rewrite) == "it has more than 16 captures");
}
