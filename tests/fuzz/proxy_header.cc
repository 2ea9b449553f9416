// SPDX-License-Identifier: Apache-2.0
// The PROXY header: decided at its last byte and not before, never taken back, and what it says can be said again.
#include "common/http/proxy_header.h"
#include "tests/fuzz/require.h"

using namespace ladle::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const std::string_view input = text_of(bytes, size);
    ProxyHeader whole;
    const Progress outcome = parse_proxy_header(input, whole);
    REQUIRE((outcome == Progress::refused) == !whole.problem.empty());
    REQUIRE(outcome != Progress::incomplete || size < kMostProxyHeader);
    if (outcome != Progress::complete) {
        REQUIRE(whole.source.family == Endpoint::Family::unknown);
    }
    bool is_refused = false;
    const std::size_t end = outcome == Progress::complete ? whole.size : size;
    REQUIRE(end <= size);
    for (std::size_t cut = 0; cut <= end; ++cut) {
        ProxyHeader part;
        const Progress progress = parse_proxy_header(input.substr(0, cut), part);
        REQUIRE(!is_refused || progress == Progress::refused);
        is_refused = progress == Progress::refused;
        REQUIRE(cut == end || progress != Progress::complete);
        REQUIRE(cut == end || outcome != Progress::complete || !is_refused);
    }
    if (outcome != Progress::complete) {
        return 0;
    }
    for (const ProxyVersion version : {ProxyVersion::v1, ProxyVersion::v2}) {
        const std::string again = make_proxy_header(version, whole.source, whole.destination);
        ProxyHeader read;
        REQUIRE(again.size() <= kMostProxyLine);
        REQUIRE(parse_proxy_header(again + "x", read) == Progress::complete && read.size == again.size());
        REQUIRE(read.source == whole.source && read.destination == whole.destination);
    }
    return 0;
}
