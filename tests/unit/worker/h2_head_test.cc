// SPDX-License-Identifier: Apache-2.0
#include "worker/client/h2_head.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <utility>

using namespace ladle::worker;

namespace {

using Lines = std::initializer_list<std::pair<std::string_view, std::string_view>>;

H2Head head_of(Lines fields)
{
    H2Head head(4096);
    for (const auto& [name, value] : fields) {
        head.add(name, value);
    }
    return head;
}

H2Head get_with(Lines more, std::string_view path = "/", std::string_view scheme = "http")
{
    H2Head head = head_of({{":method", "GET"}, {":scheme", scheme}, {":authority", "a.test"}, {":path", path}});
    for (const auto& [name, value] : more) {
        head.add(name, value);
    }
    return head;
}

std::string text_of(const H2Head& head, H2Head::Rest rest = H2Head::Rest::nothing, H2Head::Channel channel = H2Head::Channel::plain)
{
    REQUIRE(head.fault() == H2Head::Fault::none);
    const BlockRef block = head.write(rest, channel);
    return {block->data, block->used};
}

} // namespace

TEST_CASE("an HTTP/2 head is written as the HTTP/1.1 head that says the same")
{
    CHECK(text_of(get_with({{"x", "y"}}, "/a?b")) == "GET /a?b HTTP/1.1\r\nHost: a.test\r\nx: y\r\n\r\n");
    CHECK(text_of(get_with({{"cookie", "a=1"}, {"x", "y"}, {"cookie", "b=2"}})) ==
          "GET / HTTP/1.1\r\nHost: a.test\r\nx: y\r\nCookie: a=1; b=2\r\n\r\n");
    CHECK(text_of(head_of({{":method", "OPTIONS"}, {":scheme", "http"}, {":path", "*"}, {"host", "b.test"}})) ==
          "OPTIONS * HTTP/1.1\r\nHost: b.test\r\n\r\n");
}

TEST_CASE("a body without a length is announced as chunked, one with a length as it is")
{
    CHECK(text_of(get_with({}), H2Head::Rest::body) == "GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    CHECK(text_of(get_with({{"content-length", "3"}}), H2Head::Rest::body) ==
          "GET / HTTP/1.1\r\nHost: a.test\r\ncontent-length: 3\r\n\r\n");
}

TEST_CASE("an https target on a plain connection stays one")
{
    CHECK(text_of(get_with({}, "/x", "https")).starts_with("GET https://a.test/x HTTP/1.1\r\n"));
    CHECK(text_of(get_with({}, "/x", "https"), H2Head::Rest::nothing, H2Head::Channel::secured).starts_with("GET /x HTTP/1.1\r\n"));
}

TEST_CASE("an extended CONNECT is written as an upgrade")
{
    const H2Head head = head_of(
        {{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":authority", "a.test"}, {":path", "/chat"}});
    const std::string text = text_of(head, H2Head::Rest::body);
    CHECK(text.starts_with("GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"));
    CHECK(text.find("\r\nSec-WebSocket-Key: ") != std::string::npos);
    CHECK(text.ends_with("==\r\n\r\n"));
    CHECK(text != text_of(head, H2Head::Rest::body)); // the key is random
}

TEST_CASE("what could be read in two ways is a fault")
{
    using Fault = H2Head::Fault;
    CHECK(get_with({{"host", "b.test"}}).fault() == Fault::two_hosts);
    CHECK(get_with({{"host", "a.test"}, {"host", "a.test"}}).fault() == Fault::two_hosts);
    CHECK(get_with({{"host", "A.test"}}).fault() == Fault::none);
    CHECK(get_with({{"x", "1\r\ny: 2"}}).fault() == Fault::malformed);
    CHECK(get_with({{"x", "1\n2"}}).fault() == Fault::malformed);
    CHECK(get_with({{"x", std::string_view("1\0", 2)}}).fault() == Fault::malformed);
    CHECK(get_with({{"x: y\r\nz", "1"}}).fault() == Fault::malformed);
    CHECK(get_with({{"", "1"}}).fault() == Fault::malformed);
    CHECK(get_with({{"x y", "1"}}).fault() == Fault::malformed);
    CHECK(get_with({{"X", "1"}}).fault() == Fault::malformed);
    CHECK(get_with({{":odd", "1"}}).fault() == Fault::malformed);
    CHECK(get_with({}, "/a b").fault() == Fault::malformed);
    CHECK(get_with({}, "/ HTTP/1.1\r\nX: y").fault() == Fault::malformed);
    CHECK(get_with({}, "a").fault() == Fault::malformed);
    CHECK(get_with({}, "*").fault() == Fault::malformed);
    CHECK(get_with({}, "http://b.test/").fault() == Fault::malformed);
    CHECK(get_with({}, "").fault() == Fault::malformed);
    CHECK(get_with({}, "/", "ftp").fault() == Fault::malformed);
    CHECK(get_with({{"connection", "close"}}).fault() == Fault::malformed);
    CHECK(get_with({{"transfer-encoding", "chunked"}}).fault() == Fault::malformed);
    CHECK(get_with({{"upgrade", "websocket"}}).fault() == Fault::malformed);
    CHECK(head_of({{":method", "CONNECT"}, {":authority", "a.test:80"}}).fault() == Fault::none); // refused by admit
    CHECK(head_of({{":method", "CONNECT"}, {":authority", "a.test:80"}, {":path", "/"}}).fault() == Fault::malformed);
    CHECK(get_with({{":protocol", "websocket"}}).fault() == Fault::bad_protocol);
    CHECK(head_of({{":scheme", "http"}, {":authority", "a.test"}, {":path", "/"}}).fault() == Fault::malformed);
}

TEST_CASE("a head beyond its limit is told to stop, and stays too large")
{
    H2Head head = get_with({});
    const std::string long_value(5000, 'x');
    CHECK_FALSE(head.add("x", long_value));
    CHECK_FALSE(head.add("y", "z"));
    CHECK(head.fault() == H2Head::Fault::too_large);
}
