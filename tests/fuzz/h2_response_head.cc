// SPDX-License-Identifier: Apache-2.0
// HTTP/2 header blocks of responses, as nghttp2 would hand them over and as it never should: what is written in HTTP/1 has the
// fields that came, each on its own line, and no others but the one that says how long the body is.
#include "common/http/framing.h"
#include "tests/fuzz/pieces.h"
#include "tests/fuzz/require.h"
#include "worker/upstream/h2_response_head.h"

#include <string>

using namespace ladle;
using worker::H2ResponseHead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    std::string_view input = text_of(bytes, size);
    H2ResponseHead head(2048);
    std::size_t plain = 0; // fields that are written as they are
    while (!input.empty()) {
        const std::string_view name = next_piece(input);
        const std::string_view value = next_piece(input);
        head.add(name, value);
        plain += name.starts_with(':') ? 0 : 1;
    }
    if (head.fault() != H2ResponseHead::Fault::none) {
        return 0;
    }
    for (const auto rest : {H2ResponseHead::Rest::nothing, H2ResponseHead::Rest::body}) {
        const worker::BlockRef block = head.write(rest, H2ResponseHead::Asked::for_all);
        const std::string_view text(block->data, block->used);
        http::ResponseHead parsed(2000);
        if (parsed.parse(text, {8192, 8192}) != http::Progress::complete) {
            continue; // refused by the same parser as HTTP/1's
        }
        REQUIRE(parsed.size() == text.size());
        REQUIRE(parsed.status >= 100 && (parsed.status < 200) == head.is_interim());
        REQUIRE(parsed.fields.size() >= plain && parsed.fields.size() <= plain + 1);
        REQUIRE(!parsed.fields.has(http::FieldName::connection) && !parsed.fields.has(http::FieldName::upgrade));
        const auto framing = http::response_framing(parsed, http::Method::get);
        REQUIRE(!framing || framing->kind != http::BodyKind::until_close); // the frames always say where it ends
    }
    return 0;
}
