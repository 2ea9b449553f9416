// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/probe.h"

#include <doctest/doctest.h>

#include <string>

using namespace ladle::worker;

TEST_CASE("a HealthCheckResponse is read as protobuf, and nothing else is taken for one")
{
    const auto framed = [](const std::string& message) {
        return std::string("\0\0\0\0", 4) + static_cast<char>(message.size()) + message;
    };
    CHECK(parse_grpc_health(framed("\x08\x01")) == 1);
    CHECK(parse_grpc_health(framed("\x08\x02")) == 2);
    CHECK(parse_grpc_health(framed("")) == 0);                                    // the default, UNKNOWN, is not sent
    CHECK(parse_grpc_health(framed(std::string("\x12\x03xyz\x08\x01", 7))) == 1); // a field that we do not know
    CHECK(parse_grpc_health(framed("\x08\x09")) == -1);
    CHECK(parse_grpc_health(framed("\x08")) == -1);
    CHECK(parse_grpc_health(framed("\x12\x09x")) == -1);
    CHECK(parse_grpc_health(framed("\x0b\x01")) == -1);
    CHECK(parse_grpc_health(framed(std::string("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12))) == -1);
    CHECK(parse_grpc_health("") == -1);
    CHECK(parse_grpc_health(std::string("\1\0\0\0\2\x08\x01", 7)) == -1); // compressed, which was not offered
    CHECK(parse_grpc_health(std::string("\0\0\0\0\3\x08\x01", 7)) == -1); // cut
}
