// SPDX-License-Identifier: Apache-2.0
#include "common/http/framing.h"

#include <doctest/doctest.h>

#include <string>

using namespace ladle::http;

namespace {

std::expected<Framing, FramingError> request_framing(const std::string& fields, const char* version = "HTTP/1.1")
{
    static std::string bytes;
    bytes = std::string("POST / ") + version + "\r\n" + fields + "\r\n";
    RequestHead head;
    REQUIRE(head.parse(bytes, {}) == Progress::complete);
    return request_framing(head);
}

std::expected<Framing, FramingError> response_framing(const std::string& line, const std::string& fields,
                                                      Method method = Method::get)
{
    static std::string bytes;
    bytes = line + "\r\n" + fields + "\r\n";
    ResponseHead head;
    REQUIRE(head.parse(bytes, {}) == Progress::complete);
    return response_framing(head, method);
}

void check_error(const std::expected<Framing, FramingError>& framing, FramingError wanted)
{
    REQUIRE_FALSE(framing.has_value());
    CHECK(framing.error() == wanted);
}

} // namespace

TEST_CASE("a request's length is decided in exactly one way")
{
    CHECK(request_framing("")->kind == BodyKind::none);
    CHECK(request_framing("Content-Length: 0\r\n")->kind == BodyKind::length);
    CHECK(request_framing("Content-Length: 0042\r\n")->length == 42);
    CHECK(request_framing("Content-Length: 9223372036854775807\r\n")->length == 9223372036854775807u);
    CHECK(request_framing("Transfer-Encoding: Chunked\r\n")->kind == BodyKind::chunked);
}

TEST_CASE("ambiguous lengths are errors")
{
    check_error(request_framing("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), FramingError::length_and_coding);
    check_error(request_framing("Content-Length: 5\r\nContent-Length: 5\r\n"), FramingError::repeated_length);
    for (const char* odd : {"+5", "-5", "5,5", "5 5", "0x5", "", "5a", "9223372036854775808", "18446744073709551621", "5.0"}) {
        CAPTURE(odd);
        check_error(request_framing(std::string("Content-Length: ") + odd + "\r\n"), FramingError::bad_length);
    }
    for (const char* coding :
         {"identity", "gzip, chunked", "chunked, chunked", "chunked, identity", "xchunked", "chunked;q=1", "", "\"chunked\""}) {
        CAPTURE(coding);
        check_error(request_framing(std::string("Transfer-Encoding: ") + coding + "\r\n"), FramingError::unknown_coding);
    }
    check_error(request_framing("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), FramingError::unknown_coding);
    check_error(request_framing("Transfer-Encoding: chunked\r\n", "HTTP/1.0"), FramingError::coding_in_http_1_0);
}

TEST_CASE("a framing field of a request has plain blanks around its value")
{
    CHECK(request_framing("Content-Length:5\r\n")->length == 5);
    for (const char* line : {"Content-Length:  5", "Content-Length:\t5", "Content-Length: 5 ", "Content-Length: 5\t",
                             "Transfer-Encoding:  chunked", "Transfer-Encoding: chunked "}) {
        CAPTURE(line);
        check_error(request_framing(std::string(line) + "\r\n"), FramingError::odd_blanks);
    }
    CHECK(response_framing("HTTP/1.1 200 OK", "Content-Length:   7\r\n")->length == 7); // old servers pad it
}

TEST_CASE("a response's length follows RFC 9112 section 6.3")
{
    CHECK(response_framing("HTTP/1.1 200 OK", "")->kind == BodyKind::until_close);
    CHECK(response_framing("HTTP/1.1 200 OK", "Content-Length: 7\r\n")->length == 7);
    CHECK(response_framing("HTTP/1.1 200 OK", "Transfer-Encoding: chunked\r\n")->kind == BodyKind::chunked);
    CHECK(response_framing("HTTP/1.1 200 OK", "Content-Length: 7\r\n", Method::head)->kind == BodyKind::none);
    CHECK(response_framing("HTTP/1.1 304 Not Modified", "Content-Length: 7\r\n")->kind == BodyKind::none);
    CHECK(response_framing("HTTP/1.1 204 No Content", "Content-Length: 0\r\n")->kind == BodyKind::none);
    CHECK(response_framing("HTTP/1.1 103 Early Hints", "Link: x\r\n")->kind == BodyKind::none);
}

TEST_CASE("a response that contradicts itself is an error")
{
    check_error(response_framing("HTTP/1.1 204 No Content", "Content-Length: 7\r\n"), FramingError::body_not_allowed);
    check_error(response_framing("HTTP/1.1 204 No Content", "Transfer-Encoding: chunked\r\n"), FramingError::body_not_allowed);
    check_error(response_framing("HTTP/1.1 100 Continue", "Content-Length: 0\r\n"), FramingError::body_not_allowed);
    check_error(response_framing("HTTP/1.1 200 OK", "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n"),
                FramingError::length_and_coding);
    check_error(response_framing("HTTP/1.0 200 OK", "Transfer-Encoding: chunked\r\n"), FramingError::coding_in_http_1_0);
    check_error(response_framing("HTTP/1.1 200 OK", "Content-Length: 7\r\nContent-Length: 8\r\n", Method::head),
                FramingError::repeated_length);
}
