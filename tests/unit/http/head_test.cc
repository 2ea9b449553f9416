// SPDX-License-Identifier: Apache-2.0
#include "common/http/head.h"

#include <doctest/doctest.h>

#include <string>

using namespace ladle::http;

namespace {

constexpr HeadLimits kLimits{1024, 128};

HeadError refusal(std::string bytes)
{
    RequestHead head;
    return head.parse(bytes, kLimits) == Progress::refused ? head.error : HeadError::none;
}

HeadError response_refusal(std::string bytes)
{
    ResponseHead head;
    return head.parse(bytes, kLimits) == Progress::refused ? head.error : HeadError::none;
}

} // namespace

TEST_CASE("a request head gives its parts")
{
    const std::string bytes = "POST /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nX-Empty:\r\ncontent-LENGTH: \t5 \r\n\r\nhello";
    RequestHead head;
    REQUIRE(head.parse(bytes, kLimits) == Progress::complete);
    CHECK(head.size() == bytes.size() - 5);
    CHECK(head.method == Method::post);
    CHECK(head.method_text() == "POST");
    CHECK(head.target() == "/a/b?c=d");
    CHECK(head.version == Version::http_1_1);
    CHECK(head.fields.size() == 3);
    CHECK(head.fields.value_of(FieldName::host) == "example.com");
    CHECK(head.fields.value_of(FieldName::content_length) == "5");
    REQUIRE(head.fields.find("x-empty") != nullptr);
    CHECK(head.fields.value(*head.fields.find("x-empty")).empty());
}

TEST_CASE("a head is the same however its bytes arrive, even when they move")
{
    const std::string whole = "GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1; y=2\r\n\r\n";
    RequestHead head;
    for (std::size_t n = 1; n < whole.size(); ++n) {
        const std::string part = whole.substr(0, n); // a new place each time
        REQUIRE(head.parse(part, kLimits) == Progress::incomplete);
    }
    REQUIRE(head.parse(whole, kLimits) == Progress::complete);
    CHECK(head.fields.value_of(FieldName::cookie) == "x=1; y=2");
    CHECK(head.target() == "/");
}

TEST_CASE("one empty line before the request line is ignored, two are not")
{
    RequestHead head;
    const std::string bytes = "\r\nGET / HTTP/1.0\r\n\r\n";
    CHECK(head.parse(bytes, kLimits) == Progress::complete);
    CHECK(head.size() == bytes.size());
    CHECK(refusal("\r\n\r\nGET / HTTP/1.0\r\n\r\n") == HeadError::bad_request_line);
    RequestHead split;
    CHECK(split.parse("\r", kLimits) == Progress::incomplete);
    CHECK(split.parse("\r\n", kLimits) == Progress::incomplete);
    CHECK_FALSE(split.has_begun("\r\n"));
}

TEST_CASE("malformed request lines are refused")
{
    CHECK(refusal("GET  / HTTP/1.1\r\n") == HeadError::bad_request_line);
    CHECK(refusal("GET /  HTTP/1.1\r\n") == HeadError::bad_request_line);
    CHECK(refusal("GET / HTTP/1.1 \r\n") == HeadError::bad_request_line);
    CHECK(refusal("GET\t/ HTTP/1.1\r\n") == HeadError::bad_request_line);
    CHECK(refusal("GET /\r\n") == HeadError::bad_request_line);
    CHECK(refusal("GET / http/1.1\r\n") == HeadError::bad_request_line);
    CHECK(refusal("G@T / HTTP/1.1\r\n") == HeadError::bad_request_line);
    CHECK(refusal(" GET / HTTP/1.1\r\n") == HeadError::bad_request_line);
    CHECK(refusal("GET / HTTP/2.0\r\n") == HeadError::bad_version);
    CHECK(refusal("GET / HTTP/1.2\r\n") == HeadError::bad_version);
    CHECK(refusal("GET / HTTP/1.1\n") == HeadError::bare_line_feed);
    CHECK(refusal("GET /\r HTTP/1.1\r\n") == HeadError::bad_target);
    CHECK(refusal("GET /a#b HTTP/1.1\r\n") == HeadError::bad_target);
    CHECK(refusal(std::string("GET /a\0b HTTP/1.1\r\n", 20)) == HeadError::bad_target);
    CHECK(refusal("GET /\xc3\xa4 HTTP/1.1\r\n") == HeadError::bad_target);
    CHECK(refusal("\x16\x03\x01") == HeadError::bad_request_line); // a TLS hello
}

TEST_CASE("malformed field lines are refused")
{
    const std::string line = "GET / HTTP/1.1\r\n";
    CHECK(refusal(line + "Host : a\r\n") == HeadError::bad_field_line);
    CHECK(refusal(line + "Host\r\n") == HeadError::bad_field_line);
    CHECK(refusal(line + ": a\r\n") == HeadError::bad_field_line);
    CHECK(refusal(line + "Ho st: a\r\n") == HeadError::bad_field_line);
    CHECK(refusal(line + " Host: a\r\n") == HeadError::folded_line);
    CHECK(refusal(line + "A: b\r\n\tc\r\n") == HeadError::folded_line);
    CHECK(refusal(line + "A: b\rc\r\n") == HeadError::bad_field_value);
    CHECK(refusal(line + std::string("A: b\0c\r\n", 8)) == HeadError::bad_field_value);
    CHECK(refusal(line + "A: a long enough value for the wide path \x01 of it\r\n") == HeadError::bad_field_value);
    CHECK(refusal(line + "A: \x7f\r\n") == HeadError::bad_field_value);
    CHECK(refusal(line + "A: b\n\r\n") == HeadError::bare_line_feed);
    CHECK(refusal(line + "A: tabs\tand \xe4 are fine, and so is this length\r\n\r\n") == HeadError::none);
}

TEST_CASE("limits refuse as soon as they are passed")
{
    CHECK(refusal("GET /" + std::string(200, 'a') + " HTTP/1.1\r\n") == HeadError::target_too_long);
    CHECK(refusal("GET /" + std::string(400, 'a')) == HeadError::target_too_long);
    CHECK(refusal("GET / HTTP/1.1\r\nA: " + std::string(1100, 'a')) == HeadError::head_too_large);
    RequestHead few(2);
    const std::string three = "GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n";
    CHECK(few.parse(three, kLimits) == Progress::refused);
    CHECK(few.error == HeadError::too_many_fields);
}

TEST_CASE("more fields than stand inline are kept")
{
    RequestHead head(500);
    std::string bytes = "GET / HTTP/1.1\r\n";
    for (int i = 0; i < 300; ++i) {
        bytes += "X-" + std::to_string(i) + ": " + std::to_string(i * 7) + "\r\n";
    }
    bytes += "\r\n";
    REQUIRE(head.parse(bytes, {64 << 10, 128}) == Progress::complete);
    REQUIRE(head.fields.size() == 300);
    CHECK(head.fields.value(*head.fields.find("x-299")) == "2093");
}

TEST_CASE("a response head gives its parts")
{
    const std::string bytes = "HTTP/1.1 404 Not \xe4 Found\r\nServer: x\r\n\r\n";
    ResponseHead head;
    REQUIRE(head.parse(bytes, kLimits) == Progress::complete);
    CHECK(head.status == 404);
    CHECK(head.reason() == "Not \xe4 Found");
    CHECK(head.fields.value_of(FieldName::server) == "x");
}

TEST_CASE("malformed status lines are refused")
{
    for (const char* line :
         {"HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1  200 OK", "HTTP/1.1 600 OK", "HTTP/1.1 099 OK", "HTTP/2.0 200 OK",
          "HTTP/1.1 200", "ICY 200 OK okay", "HTTP/1.1 2x0 OK", "HTTP/1.1\t200 OK", " HTTP/1.1 200 OK", "HTTP/1.1 200 a\x01"}) {
        CAPTURE(line);
        CHECK(response_refusal(std::string(line) + "\r\n\r\n") == HeadError::bad_status_line);
    }
    CHECK(response_refusal("<html>") == HeadError::bad_status_line); // at once: no head will come
    CHECK(response_refusal("HTTP/1.1 200 \r\n\r\n") == HeadError::none);
    CHECK(response_refusal("HTTP/1.1 200 OK\r\nA : b\r\n\r\n") == HeadError::bad_field_line);
}

TEST_CASE("the end of a token and of a field value is found wherever it stands")
{
    for (std::size_t length = 0; length <= 40; ++length) {
        for (unsigned byte = 0; byte < 256; ++byte) {
            for (const std::size_t at : {length / 3, length}) {
                std::string text(length + 20, 'a');
                text[at] = static_cast<char>(byte);
                CAPTURE(byte);
                CAPTURE(at);
                CHECK(token_length(text) == (is_class(text[at], kToken) ? text.size() : at));
                CHECK(field_value_length(text) == (is_class(text[at], kFieldValue) ? text.size() : at));
                CHECK(token_length(text.substr(0, at)) == at);
                CHECK(field_value_length(std::string_view(text).substr(0, at + 1)) ==
                      (is_class(text[at], kFieldValue) ? at + 1 : at));
            }
        }
    }
    CHECK(token_length("X-_~Name: a") == 8);
}

TEST_CASE("names that only look like known ones by a bit are not known")
{
    const std::string bytes = "GET / HTTP/1.1\r\nH\x4fst: a\r\nvia: b\r\nVi\x41_: c\r\n\r\n";
    RequestHead head;
    REQUIRE(head.parse(bytes, kLimits) == Progress::complete);
    CHECK(head.fields.count(FieldName::host) == 1);
    CHECK(head.fields.count(FieldName::via) == 1);
    for (const char* line : {"Content\rLength: 5", "Ho\x13t: a",
                             "E\x14"
                             "ag: a",
                             "H\xcfst: a"}) {
        CAPTURE(line);
        CHECK(refusal("GET / HTTP/1.1\r\n" + std::string(line) + "\r\n\r\n") == HeadError::bad_field_line);
    }
}

TEST_CASE("known field names are found in any case, others are not")
{
    CHECK(find_field_name("HOST") == FieldName::host);
    CHECK(find_field_name("x-forwarded-FOR") == FieldName::x_forwarded_for);
    CHECK(find_field_name("hosts") == FieldName::other);
    CHECK(find_field_name("") == FieldName::other);
    for (unsigned id = 1; id <= static_cast<unsigned>(FieldName::x_request_id); ++id) {
        CHECK(find_field_name(spelling(static_cast<FieldName>(id))) == static_cast<FieldName>(id));
    }
}

TEST_CASE("lists are read over several fields")
{
    const std::string bytes = "GET / HTTP/1.1\r\nConnection: a, ,b\r\nConnection:\tClose ,x\r\n\r\n";
    RequestHead head;
    REQUIRE(head.parse(bytes, kLimits) == Progress::complete);
    CHECK(head.fields.list_has(FieldName::connection, "close"));
    CHECK(head.fields.list_has(FieldName::connection, "B"));
    CHECK_FALSE(head.fields.list_has(FieldName::connection, "clos"));
    CHECK(head.fields.count(FieldName::connection) == 2);
}
