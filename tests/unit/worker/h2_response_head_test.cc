// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/h2_response_head.h"

#include "common/http/head.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <utility>

using namespace ladle::worker;
using Fault = H2ResponseHead::Fault;
using Rest = H2ResponseHead::Rest;
using Asked = H2ResponseHead::Asked;

namespace {

using ResponseLines = std::initializer_list<std::pair<std::string_view, std::string_view>>;

H2ResponseHead response_head_of(ResponseLines fields)
{
    H2ResponseHead head(4096);
    for (const auto& [name, value] : fields) {
        head.add(name, value);
    }
    return head;
}

std::string text_of(const H2ResponseHead& head, Rest rest = Rest::body, Asked asked = Asked::for_all)
{
    REQUIRE(head.fault() == Fault::none);
    const BlockRef block = head.write(rest, asked);
    return {block->data, block->used};
}

} // namespace

TEST_CASE("an HTTP/2 response head is written as the HTTP/1.1 head that says the same")
{
    CHECK(text_of(response_head_of({{":status", "200"}, {"content-length", "3"}, {"x", "y"}})) ==
          "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx: y\r\n\r\n");
    CHECK(text_of(response_head_of({{":status", "299"}, {"content-length", "3"}})) == "HTTP/1.1 299 \r\ncontent-length: 3\r\n\r\n");
    CHECK(text_of(response_head_of({{":status", "103"}, {"link", "<a>"}})) == "HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n");
}

TEST_CASE("what frames say of a body's length is said in the head")
{
    const H2ResponseHead head = response_head_of({{":status", "200"}});
    CHECK(text_of(head, Rest::body) == "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    CHECK(text_of(head, Rest::nothing) == "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    CHECK(text_of(head, Rest::nothing, Asked::for_head) == "HTTP/1.1 200 OK\r\n\r\n");
    CHECK(text_of(response_head_of({{":status", "204"}}), Rest::nothing) == "HTTP/1.1 204 No Content\r\n\r\n");
    CHECK(text_of(response_head_of({{":status", "304"}}), Rest::nothing) == "HTTP/1.1 304 Not Modified\r\n\r\n");
}

TEST_CASE("a malformed response head has a fault")
{
    CHECK(response_head_of({{"x", "y"}}).fault() == Fault::malformed);
    CHECK(response_head_of({}).fault() == Fault::malformed);
    CHECK(response_head_of({{":status", "200"}, {":status", "200"}}).fault() == Fault::malformed);
    CHECK(response_head_of({{"x", "y"}, {":status", "200"}}).fault() == Fault::malformed);
    CHECK(response_head_of({{":status", "200"}, {":path", "/"}}).fault() == Fault::malformed);
    for (const std::string_view status : {"", "20", "2000", "2x0", "099", "-10", "+20"}) {
        CHECK(response_head_of({{":status", status}}).fault() == Fault::malformed);
    }
    for (const std::string_view name : {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "X-Upper",
                                        "x y", "x:", ""}) {
        CHECK(response_head_of({{":status", "200"}, {name, "y"}}).fault() == Fault::malformed);
    }
    for (const std::string_view value : {std::string_view("a\r\nb: c"), std::string_view("a\nb"), std::string_view("a\0b", 3)}) {
        CHECK(response_head_of({{":status", "200"}, {"x", value}}).fault() == Fault::malformed);
    }
}

TEST_CASE("a response head that is too large takes no more memory")
{
    H2ResponseHead head(100);
    CHECK(head.add(":status", "200"));
    CHECK(head.add("x", std::string(50, 'y')));
    CHECK_FALSE(head.add("x", std::string(50, 'y')));
    CHECK(head.fault() == Fault::too_large);
    head.clear();
    CHECK(head.add(":status", "200"));
    CHECK(head.fault() == Fault::none);
}
