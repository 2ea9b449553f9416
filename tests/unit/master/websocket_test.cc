// SPDX-License-Identifier: Apache-2.0
#include "master/demo/websocket.h"

#include <doctest/doctest.h>

TEST_CASE("the WebSocket handshake answers as RFC 6455 section 1.3 shows")
{
    CHECK(ladle::master::cli::websocket_accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}
