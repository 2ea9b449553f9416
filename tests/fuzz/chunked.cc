// SPDX-License-Identifier: Apache-2.0
// The chunked coding: cut anywhere it decodes to the same body, the same end and the same trailers.
#include "common/http/chunked.h"
#include "tests/fuzz/require.h"

#include <string>

using namespace ladle::http;

namespace {

struct Decoded {
    ChunkedDecoder::Step last = ChunkedDecoder::Step::more;
    std::string body;
    std::size_t used = 0;
    std::string trailers;
    bool trailers_valid = false;
};

/// Feeds the input in pieces of at most `step` bytes.
Decoded decode(std::string_view input, std::size_t step)
{
    ChunkedDecoder decoder;
    Decoded out;
    for (std::size_t at = 0;
         at < input.size() && out.last != ChunkedDecoder::Step::end && out.last != ChunkedDecoder::Step::refused;) {
        std::string_view piece = input.substr(at, step);
        at += piece.size();
        for (;;) {
            const ChunkedDecoder::Next next = decoder.next(piece);
            REQUIRE(next.used <= piece.size());
            out.last = next.step;
            out.used += next.used;
            out.body += next.data;
            piece.remove_prefix(next.used);
            if (next.step != ChunkedDecoder::Step::data) {
                break;
            }
        }
        REQUIRE(out.last != ChunkedDecoder::Step::more || piece.empty());
    }
    if (out.last == ChunkedDecoder::Step::end) {
        out.trailers = decoder.trailer_bytes();
        Fields fields;
        out.trailers_valid = decoder.parse_trailers(fields);
        for (const Field& field : fields) {
            REQUIRE(!out.trailers_valid || (is_token(fields.name(field)) && is_one_line(fields.value(field))));
        }
    }
    return out;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const std::string_view input = text_of(bytes, size);
    const Decoded whole = decode(input, size + 1);
    for (const std::size_t step : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{7}}) {
        const Decoded pieces = decode(input, step);
        REQUIRE(pieces.last == whole.last);
        if (whole.last == ChunkedDecoder::Step::end) {
            REQUIRE(pieces.used == whole.used && pieces.body == whole.body);
            REQUIRE(pieces.trailers == whole.trailers && pieces.trailers_valid == whole.trailers_valid);
        }
    }
    return 0;
}
