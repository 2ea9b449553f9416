// SPDX-License-Identifier: Apache-2.0
// Request heads: cut anywhere they parse alike; framing, target and authority of what is accepted are free of line breaks.
#include "common/http/framing.h"
#include "common/http/head.h"
#include "common/http/target.h"
#include "tests/fuzz/require.h"

#include <string>

using namespace ladle::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const std::string_view input = text_of(bytes, size);
    RequestHead whole;
    const Progress progress = whole.parse(input, {});
    RequestHead pieces;
    Progress piecewise = Progress::incomplete;
    for (std::size_t at = 0; at <= size && piecewise == Progress::incomplete; ++at) {
        piecewise = pieces.parse(input.substr(0, at), {});
    }
    REQUIRE(piecewise == progress);
    if (progress != Progress::complete) {
        return 0;
    }
    REQUIRE(pieces.size() == whole.size() && whole.size() <= size);
    REQUIRE(pieces.fields.size() == whole.fields.size());
    REQUIRE(pieces.target() == whole.target() && pieces.method_text() == whole.method_text());
    REQUIRE(is_token(whole.method_text()) && is_one_line(whole.target()) && whole.target().find(' ') == std::string_view::npos);
    for (const Field& field : whole.fields) {
        REQUIRE(is_token(whole.fields.name(field)));
        REQUIRE(is_field_value(whole.fields.value(field)) && is_one_line(whole.fields.value(field)));
    }
    if (const auto framing = request_framing(whole)) {
        REQUIRE(!(whole.fields.has(FieldName::content_length) && whole.fields.has(FieldName::transfer_encoding)));
        REQUIRE(whole.fields.count(FieldName::content_length) <= 1 && whole.fields.count(FieldName::transfer_encoding) <= 1);
        REQUIRE(framing->kind != BodyKind::until_close);
        REQUIRE((framing->kind == BodyKind::chunked) == whole.fields.has(FieldName::transfer_encoding));
    }
    if (const auto target = parse_target(whole)) {
        std::string path;
        normalise_path(target->path, path);
        if (const auto authority = find_authority(whole, *target)) {
            REQUIRE(authority->empty() || is_authority(*authority));
            REQUIRE(!authority->empty() || whole.version == Version::http_1_0);
        }
    }
    return 0;
}
