// SPDX-License-Identifier: Apache-2.0
// HTTP/2 header blocks, as nghttp2 would hand them over and as it never should: what is written in HTTP/1 has the fields that came,
// each on its own line, and no others but those that are known to be added.
#include "common/http/head.h"
#include "tests/fuzz/pieces.h"
#include "tests/fuzz/require.h"
#include "worker/client/h2_head.h"

#include <string>
#include <vector>

using namespace ladle;
using worker::H2Head;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    std::string_view input = text_of(bytes, size);
    H2Head head(2048);
    std::size_t plain = 0; // fields that are written as they are
    bool has_cookie = false;
    while (!input.empty()) {
        const std::string_view name = next_piece(input);
        const std::string_view value = next_piece(input);
        head.add(name, value);
        has_cookie = has_cookie || name == "cookie";
        plain += !name.starts_with(':') && name != "cookie" && name != "host" ? 1 : 0;
    }
    if (head.fault() != H2Head::Fault::none) {
        return 0;
    }
    for (const H2Head::Rest rest : {H2Head::Rest::nothing, H2Head::Rest::body}) {
        const worker::BlockRef block = head.write(rest, H2Head::Channel::plain);
        const std::string_view text(block->data, block->used);
        http::RequestHead parsed(2000);
        if (parsed.parse(text, {8192, 8192}) != http::Progress::complete) {
            continue; // refused by the same parser as HTTP/1's
        }
        REQUIRE(parsed.size() == text.size());
        REQUIRE(parsed.fields.count(http::FieldName::host) == 1);
        REQUIRE(parsed.fields.size() <= 1 + plain + (has_cookie ? 1 : 0) + (head.is_extended_connect() ? 3 : 1));
        REQUIRE(head.is_extended_connect() || !parsed.fields.has(http::FieldName::upgrade));
        REQUIRE(rest == H2Head::Rest::body || !parsed.fields.has(http::FieldName::transfer_encoding));
    }
    return 0;
}
