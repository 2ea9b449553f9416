// SPDX-License-Identifier: Apache-2.0
#include "common/http/cookies.h"

#include <doctest/doctest.h>

#include <string>

using namespace ladle;

namespace {

std::string without(std::string value, std::string_view name)
{
    value.resize(http::remove_cookie(value.data(), value.size(), name));
    return value;
}

} // namespace

TEST_CASE("cookies: one is taken out of a field wherever it stands, and the others stay as they were")
{
    CHECK(without("srv=1", "srv").empty());
    CHECK(without("srv=1; a=2", "srv") == "a=2");
    CHECK(without("a=2; srv=1", "srv") == "a=2");
    CHECK(without("a=2; srv=1; b=3", "srv") == "a=2; b=3");
    CHECK(without("a=2;srv=1;b=3;c", "srv") == "a=2;b=3;c");
    CHECK(without("srv=1; srv=2; a=srv=3", "srv") == "a=srv=3");
    CHECK(without("a=2; b=\"x y\"", "srv") == "a=2; b=\"x y\"");
    CHECK(without("  srv = 1", "srv") == "srv = 1"); // its name ends in a blank: another one, as servers see it
    CHECK(without("srv", "srv").empty());
    CHECK(without("srv=;", "srv").empty());
    CHECK(without(";;srv=1;;", "srv").find("srv") == std::string::npos);
    CHECK(without("", "srv").empty());
    CHECK(without("srvx=1; SRV=2", "srv") == "srvx=1; SRV=2");
}
