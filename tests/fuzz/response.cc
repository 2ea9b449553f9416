// SPDX-License-Identifier: Apache-2.0
// Response heads: cut anywhere they parse alike; the framing of what is accepted is unambiguous.
#include "common/http/framing.h"
#include "common/http/head.h"
#include "tests/fuzz/require.h"

using namespace ladle::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const std::string_view input = text_of(bytes, size);
    ResponseHead whole;
    const Progress progress = whole.parse(input, {});
    ResponseHead pieces;
    Progress piecewise = Progress::incomplete;
    for (std::size_t at = 0; at <= size && piecewise == Progress::incomplete; ++at) {
        piecewise = pieces.parse(input.substr(0, at), {});
    }
    REQUIRE(piecewise == progress);
    if (progress != Progress::complete) {
        return 0;
    }
    REQUIRE(pieces.size() == whole.size() && pieces.status == whole.status && pieces.fields.size() == whole.fields.size());
    REQUIRE(whole.status >= 100 && whole.status <= 999 && is_one_line(whole.reason()));
    for (const Field& field : whole.fields) {
        REQUIRE(is_token(whole.fields.name(field)));
        REQUIRE(is_field_value(whole.fields.value(field)) && is_one_line(whole.fields.value(field)));
    }
    for (const Method method : {Method::get, Method::head, Method::post}) {
        if (const auto framing = response_framing(whole, method)) {
            REQUIRE(!(whole.fields.has(FieldName::content_length) && whole.fields.has(FieldName::transfer_encoding)));
            REQUIRE(whole.version == Version::http_1_1 || framing->kind != BodyKind::chunked);
            REQUIRE(method != Method::head || framing->kind == BodyKind::none);
        }
    }
    return 0;
}
